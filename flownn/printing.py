"""How a tensor is printed: four digits, aligned columns, long ones shortened in the middle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flownn import dtypes

_PRECISION = 4
_THRESHOLD = 1000  # elements above which dims are shortened
_EDGE = 3  # elements kept at each end of a shortened dim
_WIDTH = 80  # columns


def tensor_text(array: np.ndarray[Any, Any], notes: list[str]) -> str:
    """``tensor([...], note, note)`` over as many lines as it takes.

    Args:
        array: The values, in host memory.
        notes: What to say after them, such as ``"dtype=flownn.float32"``.
    """
    start = "tensor("
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes = [f"size={tuple(array.shape)}", *notes]
    else:
        shortened = array.size > _THRESHOLD
        body = _body(array, len(start), shortened, _Format(_shown(array) if shortened else array))
    text = start + body
    for note in notes:
        room = _WIDTH - len(text.rpartition("\n")[2]) - 1
        text += (", " if len(note) + 2 <= room else ",\n" + " " * len(start)) + note
    return text + ")"


class _Format:
    """One format for all elements, as wide as the widest number needs; 0, inf and nan take what room there is."""

    def __init__(self, shown: np.ndarray[Any, Any]) -> None:
        values = shown.reshape(-1)
        self.floating = dtypes.category(shown.dtype) == dtypes.FLOATING
        self.whole = self.scientific = False
        if self.floating:
            values = values.astype(np.float64)
            values = values[np.isfinite(values) & (values != 0)]
            self.whole = bool((values == np.ceil(values)).all())
            if values.size:
                low, high = float(np.abs(values).min()), float(np.abs(values).max())
                self.scientific = high > 1e8 or high / low > 1000 or (low < 1e-4 and not self.whole)
        self.width = 0
        self.width = max((len(self(value)) for value in values), default=0)

    def __call__(self, value: Any) -> str:
        if not self.floating:
            return str(value).rjust(self.width)
        number = float(value)
        if not math.isfinite(number):
            text = str(number)
        elif self.scientific:
            text = f"{number:.{_PRECISION}e}"
        elif self.whole:
            text = f"{number:.0f}."
        else:
            text = f"{number:.{_PRECISION}f}"
        return text.rjust(self.width)


def _shown(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a shortened print shows."""
    for axis, size in enumerate(array.shape):
        if size > 2 * _EDGE:
            array = np.take(array, [*range(_EDGE), *range(size - _EDGE, size)], axis=axis)
    return array


def _body(array: np.ndarray[Any, Any], indent: int, shortened: bool, one: _Format) -> str:
    if array.ndim == 0:
        return one(array[()])
    cut = shortened and array.shape[0] > 2 * _EDGE
    rows = [*array[:_EDGE], None, *array[-_EDGE:]] if cut else list(array)
    if array.ndim > 1:
        inner = [" ..." if row is None else _body(row, indent + 1, shortened, one) for row in rows]
        inner = [text.strip() if row is None else text for text, row in zip(inner, rows, strict=True)]
        return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(inner) + "]"
    per_line = max(1, (_WIDTH - indent) // (one.width + 2))
    cells = [" ..." if row is None else one(row) for row in rows]
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
