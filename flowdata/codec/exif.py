"""The orientation that a camera noted in a file, and what it means for pixels and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

OrientationPolicy = Literal["ignore", "apply"]
ORIENTATION_POLICIES: tuple[OrientationPolicy, ...] = get_args(OrientationPolicy)

Image = NDArray[np.uint8]
Window = tuple[int, int, int, int]  # top, left, height, width in pixels
WindowOf = Callable[[int, int], Window]  # of an image's height and width

_ORIENTATION = 0x0112
_SHORT = 3
# value of the tag -> whether to exchange rows and columns, then whether to reverse the rows, then the columns
_STEPS = {
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


def orientation_in(exif: bytes) -> int:
    """The orientation, 1 to 8, in EXIF data (a TIFF header and directory); 1, upright, where it says nothing valid."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), len(exif) // 12)):
        at = directory + 2 + 12 * entry
        if number(at, 2) == _ORIENTATION and number(at + 2, 2) == _SHORT:
            value = number(at + 8, 2)
            return value if value in _STEPS else 1
    return 1


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width of the upright image of a stored one."""
    exchanged, _, _ = _STEPS[orientation]
    return (width, height) if exchanged else (height, width)


def upright(image: Image, orientation: int) -> Image:
    """The stored image (or a window of it) as it is to be seen."""
    if orientation == 1:
        return image
    exchanged, rows, columns = _STEPS[orientation]
    turned: Any = image.swapaxes(0, 1) if exchanged else image
    return np.ascontiguousarray(turned[:: -1 if rows else 1, :: -1 if columns else 1])


def stored_window(window: Window, height: int, width: int, orientation: int) -> Window:
    """Where a window of the upright image lies in the stored one, whose size is ``height`` by ``width``.

    >>> stored_window((0, 0, 2, 3), 10, 20, orientation=6)  # upright it is 20 high and 10 wide
    (7, 0, 3, 2)
    """
    exchanged, rows, columns = _STEPS[orientation]
    upright_height, upright_width = upright_size(height, width, orientation)
    top, left, high, wide = window
    if rows:
        top = upright_height - top - high
    if columns:
        left = upright_width - left - wide
    return (left, top, wide, high) if exchanged else (top, left, high, wide)
