"""Only the rows of a JPEG that a window needs: shorter files for the same decoder.

Any ordinary file may claim to be less high: the decoder then stops below the window (`cut_below`). Where there is a
restart marker after each row of blocks, it may also begin just above it: whoever knows where the markers are cuts out
the rows of a window and puts the file's own header in front with another height (`cut_rows`). The pixels are those of
decoding everything: only subsampled colour looks at the neighbouring row, and that is kept too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowdata.codec.jpeg import MAGIC, JpegLayout, read_layout
from flowdata.errors import RecordError

_BLOCK = 8  # pixels
_FIRST_RESTART = 0xD0  # the first of eight markers that take turns
_MARKER_BYTES = 2
_END = b"\xff\xd9"

RowOffsets = NDArray[np.signedinteger]


def unit_size(layout: JpegLayout) -> tuple[int, int]:
    """Height and width in pixels of a unit (MCU), what a restart interval counts."""
    if layout.components == 1:  # a scan of one component has units of one block, whatever its sampling factors
        return _BLOCK, _BLOCK
    across, down = map(max, zip(*layout.sampling, strict=True))
    return _BLOCK * down, _BLOCK * across


def row_offsets(data: bytes) -> RowOffsets | None:
    """Byte offset of each row of units in a JPEG file and, as last element, of the end marker.

    Args:
        data: The content of an image file.

    Returns:
        int32 offsets; None where it is no baseline JPEG with exactly one restart marker after each row but the last.

    Raises:
        RecordError: the file is damaged.
    """
    if not data.startswith(MAGIC):
        return None
    layout = read_layout(data)
    content = np.frombuffer(data, np.uint8)[layout.scan_at : layout.end_at]
    found = np.flatnonzero(content[:-1] == 0xFF)
    restarts = found[content[found + 1] & 0xF8 == _FIRST_RESTART] + layout.scan_at + _MARKER_BYTES
    offsets = np.array([layout.scan_at, *restarts, layout.end_at], np.int32)
    return offsets if _mismatch(data, layout, offsets) is None else None


def cut_rows(data: bytes, layout: JpegLayout, offsets: RowOffsets, top: int, height: int) -> tuple[bytes, int, int]:
    """A JPEG file that holds what the pixel rows ``top`` to ``top + height`` need.

    Args:
        data: A JPEG file with a restart marker after each row of units.
        layout: What :func:`flowdata.codec.jpeg.read_layout` found in it.
        offsets: What :func:`row_offsets` found in it.
        top: First pixel row.
        height: Number of pixel rows.

    Returns:
        The file, the pixel row with which it begins, and its height in pixels.

    Raises:
        RecordError: the offsets do not belong to the file.
    """
    if problem := _mismatch(data, layout, offsets):
        raise RecordError(problem)
    unit, _ = unit_size(layout)
    rows = len(offsets) - 1
    margin = _margin(layout)
    first, last = max(top // unit - margin, 0), min(-(-(top + height) // unit) + margin, rows)
    start = first * unit
    have = min(last * unit, layout.height) - start
    if have == layout.height:
        return data, 0, have
    begin, end = int(offsets[first]), int(offsets[last])
    cut = bytearray(data[: layout.scan_at])
    cut[layout.size_at : layout.size_at + 2] = have.to_bytes(2)
    cut += data[begin : end - (_MARKER_BYTES if last < rows else 0)]
    if first % 8:
        marks = (offsets[first + 1 : last] - (begin - layout.scan_at + 1)).tolist()
        for number, at in enumerate(marks):
            cut[at] = _FIRST_RESTART + number % 8
    return bytes(cut + _END), start, have


def cut_below(data: bytes, layout: JpegLayout, bottom: int) -> tuple[bytearray, int] | None:
    """A JPEG file whose header says that it ends a little below the pixel row ``bottom``.

    It has no end marker: what follows the last row that a decoder makes of it is all the data of the others, and a
    decoder that is not at the end of its data does not complain about them.

    Args:
        data: A JPEG file.
        layout: What :func:`flowdata.codec.jpeg.read_layout` found in it.
        bottom: Number of pixel rows from the top that are needed.

    Returns:
        The file and its height in pixels; None where nothing is below, or the file is not one of baseline gray or
        colour without restart markers.
    """
    if not (layout.baseline and layout.single_scan and layout.components in (1, 3) and not layout.restart_interval):
        return None
    unit, _ = unit_size(layout)
    have = (-(-bottom // unit) + _margin(layout)) * unit
    if have >= layout.height:
        return None
    cut = bytearray(data)
    del cut[layout.end_at :]
    cut[layout.size_at : layout.size_at + 2] = have.to_bytes(2)
    return cut, have


def _margin(layout: JpegLayout) -> int:
    """Rows of units beside those of a window that decide its pixels."""
    _, downs = zip(*layout.sampling, strict=True)
    return int(max(downs) > min(downs))


def _mismatch(data: bytes, layout: JpegLayout, offsets: RowOffsets) -> str | None:
    """Why the offsets are not those of the file's rows; None if they are."""
    high, wide = unit_size(layout)
    rows, units = -(-layout.height // high), -(-layout.width // wide)
    if not (layout.baseline and layout.single_scan and layout.restart_interval == units):
        return (
            f"row offsets need a baseline JPEG with a restart marker after each row of {units} units; this one has "
            f"restart interval {layout.restart_interval}"
        )
    if len(offsets) != rows + 1:
        return f"expected the offsets of {rows} rows and of the end of the JPEG, found {len(offsets)} numbers"
    if offsets[0] != layout.scan_at or offsets[-1] != layout.end_at or not (np.diff(offsets) > 0).all():
        return (
            f"expected row offsets that rise from {layout.scan_at} to {layout.end_at}, found them to go from "
            f"{offsets[0]} to {offsets[-1]}"
        )
    content = np.frombuffer(data, np.uint8)
    behind = offsets[1:-1]
    expected = _FIRST_RESTART + np.arange(rows - 1) % 8
    if not ((content[behind - 2] == 0xFF) & (content[behind - 1] == expected)).all():
        return "the row offsets do not lie behind the restart markers of the JPEG"
    return None
