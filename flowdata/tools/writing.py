"""From items of any kind to a data set: read in parallel, written in order, all of it or nothing.

Every converter goes through :func:`convert_items`; it brings its items and a function that reads one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from flowdata.dataset import FILE_NAME, DatasetInfo, SplitInfo, part_name
from flowdata.errors import ConfigError, DataError
from flowdata.records.wire import Kind
from flowdata.records.writer import Features, PartWriter
from flowdata.resources import usable_cpus
from flowdata.sharding import split_range

SKIPPED_FILE = "skipped.txt"
SPLITS = ("train", "val")
SHOWN_SKIPPED = 20  # in the summary; the file has all
AHEAD = 64  # items read ahead of the writer

Progress = Callable[[int, int], None]  # items done, items in all
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the data set, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Both; a name that is no UTF-8 with backslashes."""
        return f"{self.name}: {self.reason}".encode(errors="backslashreplace").decode()


@dataclass(slots=True)
class Conversion:
    """What became of the files.

    Args:
        info: The data set, as ``dataset.json`` says it.
        kept: Files whose bytes were taken over as they are.
        encoded: Files that were decoded and encoded again.
        skipped: Files that could not be read, in the order of their names.
        skipped_path: Where ``skipped`` is written, if it is not empty.
    """

    info: DatasetInfo | None = None
    kept: int = 0
    encoded: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    skipped_path: Path = Path()

    def summary(self) -> str:
        """The outcome in a few lines, naming the files that were skipped."""
        assert self.info is not None, "summary is for finished conversions"
        splits = ", ".join(f"{each.records} {name} in {each.parts} parts" for name, each in self.info.splits.items())
        lines = [
            f"{splits}; {len(self.info.classes)} classes",
            f"{self.kept} images kept as they are, {self.encoded} encoded again, {len(self.skipped)} skipped",
        ]
        if self.skipped:
            lines += [f"  skipped {each}" for each in self.skipped[:SHOWN_SKIPPED]]
            if len(self.skipped) > SHOWN_SKIPPED:
                lines.append(f"  … and {len(self.skipped) - SHOWN_SKIPPED} more")
            lines.append(f"warning: the skipped files are not in the data set; all are listed in {self.skipped_path}")
        return "\n".join(lines)


class Converted(NamedTuple):
    """The features of one item, and whether its encoded image is the source's, byte for byte."""

    features: Features
    kept: bool


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What one split will hold.

    Args:
        parts: Part files.
        count: Places; they are dealt out evenly over the parts.
        records: One item per place: the features, or None for a place that stays empty.
    """

    parts: int
    count: int
    records: Iterator[Features | None]


def check_parts(what: str, parts: int, items: int) -> None:
    """Refuse more part files than items.

    Raises:
        ConfigError: there are more, or there is no item at all.
    """
    if not items:
        raise ConfigError(f"{what}: expected something to convert, found nothing")
    if parts > items:
        raise ConfigError(f"{what}: expected parts <= {items}, the number of items, got {parts}")


def reason(error: Exception) -> str:
    """An error as one line."""
    return " ".join(str(error).split())


def convert_items(
    out: Path,
    *,
    source: str,
    classes: Sequence[str],
    features: Mapping[str, Kind],
    splits: Mapping[str, tuple[int, Sequence[_Item]]],
    read: Callable[[_Item], Converted | Skipped],
    skipped: Sequence[Skipped] = (),
    workers: int | None = None,
    digests: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Read all items in threads, and write in order those that can be read.

    Args:
        out: Directory that :func:`prepare_output` made ready.
        source: What is converted, for messages.
        classes: Names of the classes.
        features: Name and kind of the features that every record has.
        splits: Of each split, the number of part files and the items.
        read: Called with an item, in any thread.
        skipped: What was left out before.
        workers: Threads that read; by default one per usable processor.
        digests: Also write a checksum per record.
        progress: Called with the number of items done and the number of items.

    Raises:
        DataError: no item of the first split could be read.
    """
    result = Conversion(skipped=list(skipped), skipped_path=out / SKIPPED_FILE)
    total = sum(len(items) for _, items in splits.values())
    done = 0

    def records(pool: ThreadPoolExecutor, items: Sequence[_Item]) -> Iterator[Features | None]:
        nonlocal done
        for outcome in in_order(pool, read, items):
            done += 1
            progress(done, total)
            if isinstance(outcome, Skipped):
                result.skipped.append(outcome)
                yield None
            else:
                result.kept += outcome.kept
                result.encoded += not outcome.kept
                yield outcome.features

    with ThreadPoolExecutor(workers or usable_cpus(), "convert") as pool:
        plans = {name: SplitPlan(parts, len(items), records(pool, items)) for name, (parts, items) in splits.items()}
        try:
            result.info = write_dataset(out, classes=classes, splits=plans, features=features, digests=digests)
        except DataError as error:
            if result.kept or result.encoded or not result.skipped:
                raise
            first = result.skipped[0]
            name, (_, items) = next(iter(splits.items()))
            raise DataError(
                f"{source}: none of the {len(items)} items of split {name} could be read; the first is {first}"
            ) from error
    result.skipped.sort(key=lambda each: each.name)
    if result.skipped:
        lines = [f"{each.name}\t{each.reason}\n" for each in result.skipped]
        result.skipped_path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return result


def prepare_output(out: Path, overwrite: bool) -> None:
    """Make ``out`` ready for a new data set: from here until ``dataset.json`` is written, it holds none.

    Raises:
        ConfigError: it is not empty and ``overwrite`` is false, or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: expected a directory to write, found a file")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out}: expected an empty or new directory; choose another or add --overwrite")
    _clear(out)


def _clear(out: Path) -> None:
    """Remove what a conversion writes, and nothing else."""
    (out / FILE_NAME).unlink(missing_ok=True)  # first: what follows is half a data set
    (out / SKIPPED_FILE).unlink(missing_ok=True)
    for folder in (out / split for split in SPLITS):
        if folder.is_dir():
            for path in folder.glob("*part-*"):
                path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def write_dataset(
    out: Path,
    *,
    classes: Sequence[str],
    splits: Mapping[str, SplitPlan],
    features: Mapping[str, Kind],
    digests: bool = False,
) -> DatasetInfo:
    """Write all parts, then ``dataset.json``, so that half a data set never looks like one.

    Whatever stops it, Ctrl-C included, takes the parts written so far away again.

    Raises:
        DataError: no record of the first split came out.
    """
    written = {}
    try:
        for name, plan in splits.items():
            if records := _write_split(out / name, plan, digests):
                written[name] = SplitInfo(directory=name, parts=plan.parts, records=records)
        if (first := next(iter(splits))) not in written:
            raise DataError(f"{out}: no record of split {first} could be written, so there is no data set")
        info = DatasetInfo(classes=tuple(classes), splits=written, features=dict(features))
        info.save(out)
    except BaseException:
        _clear(out)
        raise
    return info


def _write_split(directory: Path, plan: SplitPlan, digests: bool) -> int:
    directory.mkdir(exist_ok=True)
    written = 0
    for part in range(plan.parts):
        with PartWriter(directory / part_name(part), digests=digests) as writer:
            for _ in split_range(plan.count, plan.parts, part):
                features = next(plan.records)
                if features is not None:
                    writer.write(features)
            written += writer.records
    return written


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """``map`` in the pool, in order, with a bounded number of results waiting."""
    waiting: deque[Future[_Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
