"""How a tensor is printed: four digits, aligned columns, long ones shortened in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flownn import dtypes


@dataclass(frozen=True)
class _Options:
    precision: int = 4
    threshold: float = 1000  # elements above which dims are shortened
    edgeitems: int = 3  # elements kept at each end of a shortened dim
    linewidth: int = 80  # columns
    sci_mode: bool | None = None


_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}
_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed; what is not given stays.

    Args:
        precision: Digits after the point; 4 at first.
        threshold: Number of elements above which the middle of dims is left out; 1000 at first.
        edgeitems: Elements shown at each end of a shortened dim; 3 at first.
        linewidth: Columns of a line; 80 at first.
        profile: ``"default"``, ``"short"`` or ``"full"``: all of these at once, before the others.
        sci_mode: Numbers like 1.0000e+00 always or never; chosen by the values until it is given, and again after
            a ``profile``.

    Raises:
        ValueError: there is no such profile, or a negative number.
    """
    global _options
    if profile is not None and profile not in _PROFILES:
        raise ValueError(f"set_printoptions: expected profile one of {', '.join(_PROFILES)}, got {profile!r}")
    base = _options if profile is None else _PROFILES[profile]
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    numbers: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if any(value < (name in ("edgeitems", "linewidth")) for name, value in numbers.items()):
        raise ValueError(f"set_printoptions: expected numbers from 0, edgeitems and linewidth from 1, got {numbers}")
    _options = replace(base, **numbers, sci_mode=base.sci_mode if sci_mode is None else sci_mode)


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
        shortened = array.size > _options.threshold
        body = _body(array, len(start), shortened, _Format(_shown(array) if shortened else array))
    text = start + body
    for note in notes:
        room = _options.linewidth - len(text.rpartition("\n")[2]) - 1
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
            if _options.sci_mode is not None:
                self.scientific = _options.sci_mode
        self.width = 0
        self.width = max((len(self(value)) for value in values), default=0)

    def __call__(self, value: Any) -> str:
        if not self.floating:
            return str(value).rjust(self.width)
        number = float(value)
        if not math.isfinite(number):
            text = str(number)
        elif self.scientific:
            text = f"{number:.{_options.precision}e}"
        elif self.whole:
            text = f"{number:.0f}."
        else:
            text = f"{number:.{_options.precision}f}"
        return text.rjust(self.width)


def _shown(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a shortened print shows."""
    for axis, size in enumerate(array.shape):
        if size > 2 * _options.edgeitems:
            array = np.take(array, [*range(_options.edgeitems), *range(size - _options.edgeitems, size)], axis=axis)
    return array


def _body(array: np.ndarray[Any, Any], indent: int, shortened: bool, one: _Format) -> str:
    if array.ndim == 0:
        return one(array[()])
    cut = shortened and array.shape[0] > 2 * _options.edgeitems
    rows = [*array[: _options.edgeitems], None, *array[-_options.edgeitems :]] if cut else list(array)
    if array.ndim > 1:
        inner = [" ..." if row is None else _body(row, indent + 1, shortened, one) for row in rows]
        inner = [text.strip() if row is None else text for text, row in zip(inner, rows, strict=True)]
        return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(inner) + "]"
    per_line = max(1, (_options.linewidth - indent) // (one.width + 2))
    cells = [" ..." if row is None else one(row) for row in rows]
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
