"""Masks as runs of equal pixels, as COCO files hold those of crowds.

Runs go down the columns, from left to right, and begin with a run of zeros, which may be empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import RecordError

Mask = NDArray[np.uint8]


def encode(mask: NDArray[Any]) -> dict[str, list[int]]:
    """The runs of a mask (height, width), not 0 where the object is, as the value of ``segmentation``.

    >>> encode(np.array([[0, 1], [0, 1], [1, 1]]))
    {'counts': [2, 4], 'size': [3, 2]}
    """
    pixels = np.asarray(mask).ravel(order="F") != 0
    starts = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *starts.tolist(), len(pixels)]).tolist()
    if len(pixels) and pixels[0]:
        counts.insert(0, 0)
    return {"counts": counts, "size": list(mask.shape)}


def decode(segmentation: Any) -> Mask:
    """The mask, uint8 (height, width) of 0 and 1, of a ``segmentation`` with ``counts`` and ``size``.

    Args:
        segmentation: ``counts`` is a list of lengths, or the text that the COCO tools compress them to.

    Raises:
        RecordError: the value is of another form, or the runs are not as long as the image is large.

    Reference:
        ``pycocotools.mask.decode``, and for lists ``pycocotools.mask.frPyObjects``.

    >>> decode({"counts": [2, 4], "size": [3, 2]}).tolist()
    [[0, 1], [0, 1], [1, 1]]
    """
    try:
        height, width = map(int, segmentation["size"])
        counts = segmentation["counts"]
        lengths = np.array(_decompressed(counts) if isinstance(counts, (str, bytes)) else counts, np.int64)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        raise RecordError(f"run-length mask: expected counts and size, found {str(segmentation)[:60]}") from None
    if lengths.ndim != 1 or min(height, width) < 0 or (lengths < 0).any() or lengths.sum() != height * width:
        raise RecordError(
            f"run-length mask: expected runs of 0 or more pixels, {height} x {width} in all, found "
            f"{lengths.sum()} in {lengths.size} runs"
        )
    values = np.arange(len(lengths), dtype=np.uint8) & 1
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(width, height).T)


def _decompressed(text: str | bytes) -> list[int]:
    """Five bits a character, lowest first, and a bit that says more follow; from the fourth on, differences."""
    data = text.encode("ascii") if isinstance(text, str) else text
    lengths: list[int] = []
    position = 0
    while position < len(data):
        value = shift = 0
        while True:
            bits = data[position] - 48
            position += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            if not bits & 0x20:
                break
        if bits & 0x10:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
    return lengths
