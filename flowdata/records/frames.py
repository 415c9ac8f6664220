"""Where each record of a part file lies: an index built by reading the length headers only, and kept for next time.

A part file is a plain concatenation of records, each an 8-byte little-endian signed length and that many bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import RecordError

HEADER_BYTES = 8
MAX_RECORD_BYTES = 2**31 - 1  # what protobuf parses
INDEX_DIRECTORY = ".flowdata-index"

Offsets = NDArray[np.int64]

_SUFFIX = ".frames"  # an index file is 64-bit integers: these three, then the offsets
_FORMAT = int.from_bytes(b"frames 1", "little")
_PREAMBLE = 3  # format, then size and mtime_ns of the part file
_WORD = np.dtype("<i8")
_AT_ONCE = 8  # part files read at a time: warm, one would do as well, but slow storage likes to be asked for more
_log = logging.getLogger(__name__)


def frame_offsets(path: Path) -> Offsets:
    """Byte offset of each record's header and, as last element, of the end of the file.

    The record ``i`` is the bytes from ``offsets[i] + HEADER_BYTES`` to ``offsets[i + 1]``. An empty file has no
    record. The result is cached in ``.flowdata-index`` beside the file or, where that cannot be written, in the
    user's cache directory; a cached index counts only for the same size and modification time.

    Raises:
        RecordError: the file's framing is broken; names file, offset, what was expected and what was found.
        OSError: the file cannot be read.
    """
    return index_parts([path])[0]


def index_parts(paths: Sequence[Path]) -> list[Offsets]:
    """:func:`frame_offsets` of each of many files, several of them read at a time.

    Raises:
        RecordError: as there, of the first file that is damaged.
        OSError: a file cannot be read; ``filename`` says which.
    """
    places = {folder: _cache_folders(folder) for folder in {path.parent for path in paths}}
    found = [_cached(path, places[path.parent]) for path in paths]
    missing = [path for path, offsets in zip(paths, found, strict=True) if offsets is None]
    if len(missing) > 1:
        with ThreadPoolExecutor(min(_AT_ONCE, len(missing))) as pool:
            built = list(pool.map(lambda path: _build(path, places[path.parent]), missing))
    else:
        built = [_build(path, places[path.parent]) for path in missing]
    new = iter(built)
    return [next(new) if offsets is None else offsets for offsets in found]


def _cached(path: Path, folders: Sequence[Path]) -> Offsets | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        stamp = _stamp(os.fstat(descriptor))
    finally:
        os.close(descriptor)
    for folder in folders:
        if (offsets := _load(f"{folder}/{path.name}{_SUFFIX}", stamp)) is not None:
            return offsets
    return None


def _build(path: Path, folders: Sequence[Path]) -> Offsets:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        offsets = scan_frames(descriptor, status.st_size, path)
    finally:
        os.close(descriptor)
    content = np.concatenate([np.array(_stamp(status), _WORD), offsets])
    if not any(_save(folder / f"{path.name}{_SUFFIX}", content) for folder in folders):
        _log.info("the record index of %s can be cached in neither of %s", path, ", ".join(map(str, folders)))
    return offsets


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return _FORMAT, status.st_size, status.st_mtime_ns


def scan_frames(descriptor: int, size: int, path: Path) -> Offsets:
    """Offsets as in :func:`frame_offsets`, read from an open file of ``size`` bytes; ``path`` is for messages.

    Raises:
        RecordError: a header is cut off, or a length is not positive, too large or passes the end of the file.
    """
    offsets = [0]
    try:
        for end in walk_frames(descriptor, size):
            offsets.append(end)
    except RecordError as error:
        raise RecordError(f"{path} at byte {offsets[-1]}: {error}") from None
    return np.array(offsets, np.int64)


def walk_frames(descriptor: int, size: int) -> Iterator[int]:
    """The end of each record of an open file of ``size`` bytes, which is the offset of the next one.

    Raises:
        RecordError: as in :func:`scan_frames`; the message does not say where, which is at the end of the last record.
    """
    offset = 0
    while offset < size:
        header = os.pread(descriptor, HEADER_BYTES, offset)
        if len(header) < HEADER_BYTES:
            raise RecordError(
                f"expected a record header of {HEADER_BYTES} bytes, found the last {len(header)} bytes of the file; it "
                f"was cut short"
            )
        length = int.from_bytes(header, "little", signed=True)
        if not 0 < length <= MAX_RECORD_BYTES:
            raise RecordError(
                f"expected a record length from 1 to {MAX_RECORD_BYTES}, found {length}; the file is damaged or no "
                f"OFRecord part file"
            )
        end = offset + HEADER_BYTES + length
        if end > size:
            raise RecordError(
                f"expected a record of {length} bytes, found {size - offset - HEADER_BYTES} before the end of the file "
                f"({size} bytes); it was cut short or is damaged"
            )
        yield end
        offset = end


def cache_directory() -> Path:
    """The user's cache directory for record indexes: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "flowdata" / "index"


def replace_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that readers see either the old content or all of the new, also with several writers at once.

    Args:
        path: The file; its directory must exist.
        write: Called with the open temporary file beside it.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process on any host picks."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def cache_paths(path: Path, suffix: str) -> list[Path]:
    """Where an index of a file is kept: beside it, else below the user's cache directory."""
    return [folder / f"{path.name}{suffix}" for folder in _cache_folders(path.parent)]


def _cache_folders(folder: Path) -> list[Path]:
    folder = folder.resolve()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return [folder / INDEX_DIRECTORY, cache_directory() / digest]


def _load(place: str, stamp: tuple[int, int, int]) -> Offsets | None:
    """The cached offsets if they are whole and belong to the file with this stamp.

    They are read, not mapped: a mapped file that somebody cuts short ends the process.
    """
    try:
        content = np.fromfile(place, _WORD)
    except OSError:  # there is none: build it
        return None
    if len(content) <= _PREAMBLE or tuple(content[:_PREAMBLE].tolist()) != stamp:
        return None
    offsets: Offsets = content[_PREAMBLE:].astype(np.int64, copy=False)
    whole = offsets[0] == 0 and offsets[-1] == stamp[1] and bool((offsets[1:] - offsets[:-1] > HEADER_BYTES).all())
    return offsets if whole else None


def _save(place: Path, content: NDArray[np.int64]) -> bool:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(place, lambda file: file.write(content.tobytes()))
    except OSError as error:
        _log.debug("cannot cache a record index in %s: %s", place, error)
        return False
    return True
