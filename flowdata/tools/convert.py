"""Folders of images, one per class, to OFRecord part files with a ``dataset.json``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from flowdata import codec
from flowdata.dataset import FILE_NAME, DatasetInfo, SplitInfo, part_name
from flowdata.errors import ConfigError, DataError, RecordError
from flowdata.records.wire import Feature
from flowdata.records.writer import Features, PartWriter
from flowdata.resources import usable_cpus
from flowdata.sharding import split_range

SKIPPED_FILE = "skipped.txt"
SPLITS = ("train", "val")
SHOWN_SKIPPED = 20  # in the summary; the file has all
RECORD_FORMATS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG and PNG
AHEAD = 64  # images read ahead of the writer

Progress = Callable[[int, int], None]  # files done, files in all
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file to convert: where it is, its name relative to the source directory, its 0-based label."""

    path: Path
    name: str
    label: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the data set, and why."""

    name: str
    reason: str


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
            f"{self.kept} JPEG files kept as they are, {self.encoded} encoded again, {len(self.skipped)} skipped",
        ]
        if self.skipped:
            lines += [f"  skipped {each.name}: {each.reason}" for each in self.skipped[:SHOWN_SKIPPED]]
            if len(self.skipped) > SHOWN_SKIPPED:
                lines.append(f"  … and {len(self.skipped) - SHOWN_SKIPPED} more")
            lines.append(f"warning: the skipped files are not in the data set; all are listed in {self.skipped_path}")
        return "\n".join(lines)


# -- what is there ---------------------------------------------------------------------------------------------------


def scan_folders(source: Path) -> tuple[list[str], list[ImageFile], list[Skipped]]:
    """The classes (sorted names of the folders in ``source``), all files below them, and files outside of any.

    Names that begin with a dot are not looked at.

    Raises:
        ConfigError: ``source`` is no directory, has no folders, or a folder without files.
    """
    if not source.is_dir():
        raise ConfigError(
            f"convert images: {source} is not a directory; expected one with a folder of images per class"
        )
    entries = sorted(entry for entry in source.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise ConfigError(f"convert images: {source} has no folders; expected one folder of images per class")
    files = []
    for label, folder in enumerate(folders):
        found = sorted(_files_below(folder))
        if not found:
            raise ConfigError(f"convert images: class folder {folder} has no files; remove it or put images into it")
        files += [ImageFile(path, path.relative_to(source).as_posix(), label) for path in found]
    outside = [Skipped(entry.name, "not in a class folder") for entry in entries if not entry.is_dir()]
    return [folder.name for folder in folders], files, outside


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files, through links too, but not in circles: ``above`` are the real paths of the folders around."""
    real = folder.resolve()
    if real in above:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files_below(entry, (*above, real))
        else:
            yield entry


def stratified_split(labels: Sequence[int], val_count: int, seed: int) -> tuple[list[int], list[int]]:
    """Cut ``range(len(labels))`` at random into a training and a validation part, both in random order.

    Each class gives its proportional share, by the method of largest remainders, but always keeps one item for
    training.

    Args:
        labels: Class of each item.
        val_count: Items of the validation part.
        seed: Seed of the draw.

    Raises:
        ConfigError: the classes are too small to give ``val_count`` items.

    >>> labels = [0, 0, 0, 0, 1, 1]
    >>> train, val = stratified_split(labels, 3, seed=0)
    >>> sorted(labels[index] for index in val)
    [0, 0, 1]
    """
    classes, sizes = np.unique(np.asarray(labels, np.int64), return_counts=True)
    most = int((sizes - 1).sum())
    if val_count > most:
        raise ConfigError(
            f"split: cannot take {val_count} of {len(labels)} items for validation and leave one of each of the "
            f"{len(classes)} classes for training; take at most {most}"
        )
    exact = sizes * val_count / max(len(labels), 1)
    quota = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    while (missing := val_count - int(quota.sum())) > 0:
        open_classes = np.flatnonzero(quota < sizes - 1)
        by_remainder = open_classes[np.argsort((quota - exact)[open_classes], kind="stable")]
        quota[by_remainder[:missing]] += 1

    rng = np.random.default_rng(seed)
    train, val = [], []
    for label, take in zip(classes, quota, strict=True):
        members = rng.permutation(np.flatnonzero(np.asarray(labels) == label))
        val.append(members[:take])
        train.append(members[take:])
    return (
        rng.permutation(np.concatenate(train)).tolist(),
        rng.permutation(np.concatenate(val)).tolist(),
    )


# -- one file --------------------------------------------------------------------------------------------------------


def image_features(
    encoded: bytes, shape: tuple[int, ...], label: int, text: str, filename: str, data_id: int
) -> Features:
    """The features of one image record, named as OneFlow's ImageNet files name them; it has no boxes.

    Args:
        encoded: The JPEG file.
        shape: Its height, width and channels.
        label: 0-based class.
        text: Name of the class.
        filename: Path of the original file, relative to the source directory.
        data_id: Number of the file in the source.
    """
    height, width, channels = shape
    no_box = Feature("float", np.zeros(0, np.float32))
    return {
        "encoded": encoded,
        "class/label": label,
        "class/synset": text,
        "class/text": text,
        "filename": filename,
        "data_id": str(data_id),
        "format": "JPEG",
        "colorspace": "RGB" if channels == 3 else "GRAY",
        "height": height,
        "width": width,
        "channels": channels,
        **{f"object/bbox/{side}": no_box for side in ("xmin", "ymin", "xmax", "ymax")},
        "object/bbox/label": Feature("int32", np.zeros(0, np.int32)),
    }


def _read_image(file: ImageFile, data_id: int, classes: Sequence[str], quality: int) -> tuple[Features, bool] | Skipped:
    """The features of one file and whether its bytes were kept, or why it cannot be read."""
    if not file.path.is_file():  # opening a pipe would wait for a writer
        return Skipped(file.name, "a broken link, or no regular file")
    try:
        data = file.path.read_bytes()
        encoded, shape = _as_baseline_jpeg(data, quality)
    except (DataError, OSError) as error:
        return Skipped(file.name, " ".join(str(error).split()))
    return image_features(encoded, shape, file.label, classes[file.label], file.name, data_id), encoded is data


def _as_baseline_jpeg(data: bytes, quality: int) -> tuple[bytes, tuple[int, int, int]]:
    """``data`` itself if it is a gray or colour baseline JPEG, else encoded again; and height, width, channels.

    Raises:
        RecordError: it cannot be decoded.
    """
    keep = False
    if data.startswith(RECORD_FORMATS):
        info = codec.image_info(data)
        # Decoding also what is kept finds the damage here that would otherwise stop a training.
        image = codec.decode(data, "GRAY" if info.components <= 2 else "RGB")
        keep = info.baseline and info.components in (1, 3)
    else:
        image = _decode_other(data)
    height, width, channels = image.shape
    return data if keep else codec.encode_jpeg(image, quality, "4:4:4"), (height, width, channels)


def _decode_other(data: bytes) -> codec.Image:
    """Whatever else OpenCV reads (WebP, BMP, TIFF, …): :mod:`flowdata.codec` knows what records hold, no more."""
    import cv2

    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # also raised for no bytes at all
        image = None
    if image is None:
        raise RecordError(f"no image that OpenCV reads: {len(data)} bytes that start with {data[:8]!r}")
    gray = image.ndim == 2
    return np.asarray(image[:, :, np.newaxis] if gray else cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


# -- the data set ----------------------------------------------------------------------------------------------------


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


def write_dataset(out: Path, *, classes: Sequence[str], splits: Mapping[str, SplitPlan]) -> DatasetInfo:
    """Write all parts, then ``dataset.json``, so that half a data set never looks like one.

    Whatever stops it, Ctrl-C included, takes the parts written so far away again.

    Raises:
        DataError: no training record came out.
    """
    written = {}
    try:
        for name, plan in splits.items():
            if records := _write_split(out / name, plan):
                written[name] = SplitInfo(directory=name, parts=plan.parts, records=records)
        if "train" not in written:
            raise DataError(f"{out}: no training record could be written, so there is no data set")
        info = DatasetInfo(
            classes=tuple(classes), splits=written, features={"encoded": "bytes", "class/label": "int32"}
        )
        info.save(out)
    except BaseException:
        _clear(out)
        raise
    return info


def _write_split(directory: Path, plan: SplitPlan) -> int:
    directory.mkdir(exist_ok=True)
    written = 0
    for part in range(plan.parts):
        with PartWriter(directory / part_name(part)) as writer:
            for _ in split_range(plan.count, plan.parts, part):
                features = next(plan.records)
                if features is not None:
                    writer.write(features)
            written += writer.records
    return written


def convert_images(
    source: Path,
    out: Path,
    *,
    parts: int = 8,
    val_fraction: float = 0.1,
    val_parts: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    quality: int = 95,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Write a folder of images per class as OFRecords, split into ``train`` and ``val``.

    Classes are the folders' names in sorted order; labels count from 0. Baseline JPEG files with one or three
    channels keep their bytes; everything else that OpenCV reads is decoded and encoded as JPEG. An orientation noted
    in a file's EXIF data is ignored. Files that cannot be read are skipped, listed in the result and in
    ``skipped.txt``.

    Args:
        source: Directory with one folder of images per class; deeper folders belong to their class.
        out: Directory to write; made if needed.
        parts: Part files of the training split.
        val_fraction: Share of the files that becomes the validation split, in equal shares of each class; 0 for none.
        val_parts: Part files of the validation split; by default so many that all parts hold about as many records.
        seed: Seed of the split and of the order, which is shuffled once.
        workers: Threads that read and decode; by default one per usable processor.
        quality: JPEG quality of what is encoded again, 1 to 100.
        overwrite: Write although ``out`` is not empty; removes the data set that it holds, not other files.
        progress: Called with the number of files done and the number of files.

    Raises:
        ConfigError: an argument is out of range, ``source`` has not the expected form, ``out`` is in use.
        DataError: none of the files could be read.
    """
    if not 0 <= val_fraction < 1:
        raise ConfigError(f"convert images: expected 0 <= val-fraction < 1, got {val_fraction}")
    classes, files, skipped = scan_folders(source)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"convert images: {out} lies within the source directory {source}; choose another place")
    val_count = round(len(files) * val_fraction)
    if val_fraction and not val_count:
        raise ConfigError(
            f"convert images: a val-fraction of {val_fraction} of {len(files)} files is no file; use a larger one, or 0"
        )
    train, val = stratified_split([file.label for file in files], val_count, seed)
    if val_parts is None:
        val_parts = max(1, min(val_count, round(parts * val_count / len(train))))
    for name, have, count in (("parts", parts, len(train)), ("val-parts", val_parts, len(val))):
        if have > count > 0:
            raise ConfigError(f"convert images: expected {name} <= {count}, the number of files, got {have}")

    prepare_output(out, overwrite)
    result = Conversion(skipped=skipped, skipped_path=out / SKIPPED_FILE)
    done = 0

    def records(pool: ThreadPoolExecutor, order: Sequence[int]) -> Iterator[Features | None]:
        nonlocal done
        for outcome in _in_order(pool, lambda index: _read_image(files[index], index, classes, quality), order):
            done += 1
            progress(done, len(files))
            if isinstance(outcome, Skipped):
                result.skipped.append(outcome)
                yield None
            else:
                features, kept = outcome
                result.kept += kept
                result.encoded += not kept
                yield features

    with ThreadPoolExecutor(workers or usable_cpus(), "convert") as pool:
        plans = {"train": SplitPlan(parts, len(train), records(pool, train))}
        if val:
            plans["val"] = SplitPlan(val_parts, len(val), records(pool, val))
        try:
            result.info = write_dataset(out, classes=classes, splits=plans)
        except DataError as error:
            if result.kept or result.encoded or not result.skipped:
                raise
            first = result.skipped[0]
            raise DataError(
                f"convert images: none of the {len(train)} training files in {source} could be read; "
                f"the first is {first.name}: {first.reason}"
            ) from error
    result.skipped.sort(key=lambda each: each.name)
    if result.skipped:
        lines = [f"{each.name}\t{each.reason}\n" for each in result.skipped]
        result.skipped_path.write_text("".join(lines), encoding="utf-8")
    return result


def _in_order(
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
