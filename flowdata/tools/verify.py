"""Everything that can be found wrong with part files: framing, digests, messages and, on request, pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from flowdata.codec import decode as decode_image
from flowdata.dataset import FILE_NAME, DatasetInfo
from flowdata.errors import RecordError
from flowdata.records.digests import Digests, check_digest, load_digests
from flowdata.records.frames import HEADER_BYTES, Offsets, walk_frames
from flowdata.records.wire import Record, decode
from flowdata.resources import usable_cpus
from flowdata.sample import Sample, SampleKey
from flowdata.stages.decode import row_offsets_of, single_bytes
from flowdata.tools.inspect import find_parts
from flowdata.tools.writing import Progress, in_order

_CHUNK = 64  # records that a thread checks at a time


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in which file, and from which byte on; no byte where it is the file as a whole."""

    file: str
    offset: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" if self.offset is None else f"{self.file} at byte {self.offset}: {self.what}"


@dataclass(slots=True)
class Verification:
    """What was checked and what is wrong.

    Args:
        parts: Part files.
        records: Records that the framing shows.
        bytes: Size of the part files.
        digests: Records that were compared with a digest.
        images: Images that were decoded.
        problems: What is wrong, in the order of files and bytes.
    """

    parts: int = 0
    records: int = 0
    bytes: int = 0
    digests: int = 0
    images: int = 0
    problems: list[Problem] = field(default_factory=list)

    def summary(self) -> str:
        """The outcome in one line."""
        outcome = f"{len(self.problems)} problem(s)" if self.problems else "no problem found"
        compared = f"{self.digests} compared with digests" if self.digests else "no digests"
        decoded = f", {self.images} images decoded" if self.images else ""
        return (
            f"{self.records} records in {self.parts} part files, {self.bytes / 1e6:.2f} MB: {outcome} ({compared}"
            f"{decoded})"
        )

    def as_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    offsets: Offsets
    digests: Digests | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    path: Path
    records: int
    digests: int
    images: int
    problems: tuple[Problem, ...]


def verify(
    path: Path,
    *,
    decode_images: bool = False,
    feature: str = "encoded",
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Verification:
    """Check all part files of a data set, a directory or one file.

    The framing is read anew, not from an index. Records are compared with their digests where there are any, and
    parsed. What follows broken framing in a file cannot be found and is not checked.

    Args:
        path: Directory with a ``dataset.json``, directory of part files, or one part file.
        decode_images: Also decode the image of every record, and compare the offsets of its rows if there are any.
        feature: Name of the feature that holds the image.
        workers: Threads; by default one per usable processor.
        progress: Called with the number of records done and the number of records.

    Raises:
        ConfigError: there is nothing of the kind at ``path``.
    """
    info, groups = find_parts(path)
    result = Verification()
    with ThreadPoolExecutor(workers or usable_cpus(), "verify") as pool:
        parts = list(in_order(pool, _open_part, [each for paths in groups.values() for each in paths]))
        result.parts = len(parts)
        result.bytes = sum(int(part.offsets[-1]) for part in parts)
        total = sum(len(part.offsets) - 1 for part in parts)
        found = {part.path: list(part.problems) for part in parts}
        check = partial(_check_chunk, feature=feature if decode_images else None)
        for checked in in_order(pool, check, _chunks(parts)):
            result.records += checked.records
            result.digests += checked.digests
            result.images += checked.images
            found[checked.path] += checked.problems
            progress(result.records, total)
    for name, paths in groups.items():
        for each in paths:
            result.problems += sorted(found[each], key=lambda problem: -1 if problem.offset is None else problem.offset)
        result.problems += _count_problem(info, name, [part for part in parts if part.path in paths])
    return result


def _open_part(path: Path) -> _Part:
    """The framing and the digests of a part file, as far as they are whole."""
    offsets, digests, problems = [0], None, []
    try:
        with path.open("rb", buffering=0) as file:
            try:
                for end in walk_frames(file.fileno(), os.fstat(file.fileno()).st_size):
                    offsets.append(end)
            except RecordError as error:
                problems.append(Problem(str(path), offsets[-1], str(error)))
        digests = load_digests(path, None if problems else len(offsets) - 1)
    except OSError as error:
        problems.append(Problem(str(error.filename or path), None, f"cannot be read ({error.strerror})"))
    except RecordError as error:
        problems.append(Problem(str(path), None, str(error)))
    return _Part(path, np.array(offsets, np.int64), digests, tuple(problems))


def _count_problem(info: DatasetInfo | None, name: str, parts: list[_Part]) -> list[Problem]:
    """Another number of records than the data set's description states, where the framing does not explain it."""
    if info is None or name not in info.splits or any(part.problems for part in parts):
        return []
    expected, found = info.splits[name].records, sum(len(part.offsets) - 1 for part in parts)
    if expected == found:
        return []
    what = f"expected {expected} records as {FILE_NAME} says of split {name!r}, found {found}"
    return [Problem(str(parts[0].path.parent), None, what)]


def _chunks(parts: list[_Part]) -> Iterator[tuple[_Part, range]]:
    for part in parts:
        records = len(part.offsets) - 1
        for start in range(0, records, _CHUNK):
            yield part, range(start, min(start + _CHUNK, records))


def _check_chunk(chunk: tuple[_Part, range], feature: str | None) -> _Checked:
    """Check some records of one part."""
    part, numbers = chunk
    problems, images, digests = [], 0, 0
    with part.path.open("rb", buffering=0) as file:
        for number in numbers:
            start, end = part.offsets[number : number + 2].tolist()
            try:
                frame = os.pread(file.fileno(), end - start, start)
                if part.digests is not None and number < len(part.digests):
                    digests += 1
                    check_digest(frame, int(part.digests[number]))
                record = decode(memoryview(frame)[HEADER_BYTES:])
                if feature is not None:
                    _check_image(record, feature)
                    images += 1
            except RecordError as error:
                problems.append(Problem(str(part.path), start, str(error)))
            except OSError as error:
                problems.append(Problem(str(part.path), start, f"cannot be read ({error.strerror})"))
    return _Checked(part.path, len(numbers), digests, images, tuple(problems))


def _check_image(record: Record, feature: str) -> None:
    """Decode the image, and compare the offsets of its rows if the record has them."""
    sample = Sample(SampleKey(0, 0), {"record": record})
    rows = row_offsets_of(sample, "record", f"{feature}/rows")
    decode_image(single_bytes(sample, "record", feature), rows=rows)
