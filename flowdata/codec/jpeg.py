"""The structure of JPEG files: where the headers, the rows of blocks and the end are.

Nothing is decoded here. The whole file is walked from marker to marker, so what is found wrong does not depend on
which part of the picture somebody wants.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

import numpy as np

from flowdata.codec.exif import orientation_in
from flowdata.errors import RecordError

MAGIC = b"\xff\xd8\xff"

_BLOCK = 8  # pixels
_EXIF = b"Exif\0\0"
_APP1, _START_OF_SCAN, _END, _RESTART_INTERVAL = 0xE1, 0xDA, 0xD9, 0xDD
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = 0xC0
_SEGMENT = Struct(">BBH")  # 0xFF, marker, length from the length on
_OF_INTEREST = _START_OF_FRAME | {_START_OF_SCAN, _RESTART_INTERVAL, _APP1}
_NOT_A_SEGMENT = frozenset(range(0xC0)) | {0xD8, _END}


class JpegLayout(NamedTuple):
    """What the markers of a JPEG file say, and where they are.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        components: Colour components, such as 1 for gray, 3 for YCbCr, 4 for CMYK and YCCK.
        sampling: Of each component, blocks across and down in a unit (MCU).
        baseline: Whether it is baseline sequential, the kind that every decoder knows.
        single_scan: Whether one scan holds the whole picture and the end marker follows it.
        orientation: As noted in EXIF data, 1 to 8; 1 where there is none.
        restart_interval: Units between restart markers; 0 where there are none.
        size_at: Byte offset of the height, then the width, in the frame header.
        scan_at: Byte offset of the first scan's data.
        end_at: Byte offset of the end marker.
    """

    height: int
    width: int
    components: int
    sampling: tuple[tuple[int, int], ...]
    baseline: bool
    single_scan: bool
    orientation: int
    restart_interval: int
    size_at: int
    scan_at: int
    end_at: int


@dataclass(slots=True)
class _Found:
    frame: int = 0  # byte offset of the frame header's length; 0 before there is one
    kind: int = 0
    sampling: tuple[tuple[int, int], ...] = ()
    orientation: int = 1
    restart_interval: int = 0
    scans: int = 0
    scan_at: int = 0  # of the first scan; the end is that of the last
    scan_end: int = 0


def read_layout(data: bytes) -> JpegLayout:
    """Walk all markers of a JPEG file.

    Raises:
        RecordError: a header segment is damaged, a scan is broken off, or there is no end marker.
    """
    found = _Found()
    markers: Sequence[int] | None = None
    position = 2
    while True:
        fill, marker, length = _SEGMENT.unpack_from(data, position) if position + 4 <= len(data) else (0, 0, 0)
        if fill != 0xFF or marker in _NOT_A_SEGMENT or marker == 0xFF:  # the usual segment needs no closer look
            if data[position : position + 1] != b"\xff":
                raise _damaged(data, position, "a marker")
            while data[position : position + 2] == b"\xff\xff":  # any number of fill bytes
                position += 1
            marker = data[position + 1] if position + 1 < len(data) else 0
            if marker == _END and found.scans:
                break
            length = int.from_bytes(data[position + 2 : position + 4])
        end = position + 2 + length
        if marker in _NOT_A_SEGMENT or length < 2 or end > len(data):
            inside = found.scans and marker in _NOT_A_SEGMENT
            raise _damaged(data, position, "picture data or the end marker" if inside else "a whole header segment")
        if marker in _OF_INTEREST:
            _note(data, marker, position + 2, length, found)
        if marker == _START_OF_SCAN:
            if markers is None:
                markers = _markers(data, end)
            following = bisect_left(markers, end)
            if following == len(markers):
                raise _cut_short(data, found.frame)
            end = found.scan_end = markers[following]
        position = end
    height, width = _size(data, found.frame)
    return JpegLayout(
        height, width, data[found.frame + 7], found.sampling, found.kind == _BASELINE,
        found.scans == 1 and found.scan_end == position, found.orientation, found.restart_interval,
        found.frame + 3, found.scan_at, position,
    )  # fmt: skip


def _markers(data: bytes, start: int) -> Sequence[int]:
    """Where something follows 0xFF from ``start`` on that does not occur within a scan.

    Within a scan that is 0x00, a restart marker, or another 0xFF.
    """
    if start + 1 >= len(data):
        return []
    content = np.frombuffer(data, np.uint8, offset=start)
    # Several times as fast as a search by bytes.find or re, and nearly every 0xFF is followed by 0x00.
    after_ff = (content[:-1] == 0xFF).view(np.uint8)
    candidates = np.minimum(after_ff, content[1:], out=after_ff).view(np.bool_)  # a third pass would be slower
    # Without restart markers there is one, the end; looking for the first is several times as fast as for all.
    first = start + int(candidates.argmax())
    if first == len(data) - 2 and data[first + 1] == _END:
        return [first]
    found = np.flatnonzero(candidates)
    after = content[found + 1]
    marks: list[int] = (start + found[(after & 0xF8 != 0xD0) & (after != 0xFF)]).tolist()
    return marks


def _note(data: bytes, marker: int, at: int, length: int, found: _Found) -> None:
    """Take from the segment whose length stands at ``at`` what the layout needs."""
    if marker in _START_OF_FRAME:
        components = data[at + 7] if length >= 8 else 0
        if not components or length != 8 + 3 * components or found.frame:
            raise _damaged(data, at - 2, "one frame header")
        found.frame, found.kind = at, marker
        factors = data[at + 9 : at + length : 3]
        found.sampling = tuple((each >> 4, each & 15) for each in factors)
        if not all(1 <= factor <= 4 for pair in found.sampling for factor in pair):
            raise _damaged(data, at - 2, "a frame header with sampling factors from 1 to 4")
    elif marker == _START_OF_SCAN:
        if not found.frame:
            raise _damaged(data, at - 2, "a frame header before the first scan")
        found.scans += 1
        found.scan_at = found.scan_at or at + length
    elif marker == _RESTART_INTERVAL and length == 4:
        found.restart_interval = int.from_bytes(data[at + 2 : at + 4])
    elif marker == _APP1 and data.startswith(_EXIF, at + 2):
        found.orientation = orientation_in(data[at + 2 + len(_EXIF) : at + length])


def _size(data: bytes, frame: int) -> tuple[int, int]:
    return int.from_bytes(data[frame + 3 : frame + 5]), int.from_bytes(data[frame + 5 : frame + 7])


def _cut_short(data: bytes, frame: int) -> RecordError:
    height, width = _size(data, frame)
    return RecordError(
        f"JPEG image of {height} x {width} pixels has no end marker in its {len(data)} bytes; it was cut short"
    )


def _damaged(data: bytes, position: int, expected: str) -> RecordError:
    found = data[position : position + 4].hex(" ") or "the end"
    return RecordError(f"JPEG is damaged: expected {expected} at byte {position} of {len(data)}, found {found}")
