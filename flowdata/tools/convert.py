"""Folders of images, one per class, to OFRecord part files with a ``dataset.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowdata.errors import ConfigError, DataError
from flowdata.records.wire import Kind
from flowdata.tools.pictures import ROWS, ImageOptions, image_features, prepare_picture
from flowdata.tools.writing import Conversion, Converted, Progress, Skipped, convert_items, prepare_output, reason

IMAGE_FEATURES: dict[str, Kind] = {"encoded": "bytes", "class/label": "int32"}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file to convert: where it is, its name relative to the source directory, its 0-based label."""

    path: Path
    name: str
    label: int


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


# -- the data set ----------------------------------------------------------------------------------------------------


def _read_image(file: ImageFile, data_id: int, classes: Sequence[str], options: ImageOptions) -> Converted | Skipped:
    """The features of one file and whether its bytes were kept, or why it cannot be read."""
    if not file.path.is_file():  # opening a pipe would wait for a writer
        return Skipped(file.name, "a broken link, or no regular file")
    try:
        picture = prepare_picture(file.path.read_bytes(), options)
    except (DataError, OSError) as error:
        return Skipped(file.name, reason(error))
    features = image_features(
        picture.encoded, picture.shape, file.label, classes[file.label], file.name, data_id, picture.rows
    )
    return Converted(features, picture.kept)


def convert_images(
    source: Path,
    out: Path,
    *,
    parts: int = 8,
    val_fraction: float = 0.1,
    val_parts: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    options: ImageOptions | None = None,
    digests: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Write a folder of images per class as OFRecords, split into ``train`` and ``val``.

    Classes are the folders' names in sorted order; labels count from 0. Baseline JPEG files with one or three
    channels keep their bytes unless ``options`` asks for something else; everything else that OpenCV reads is decoded
    and encoded as JPEG. Files that cannot be read are skipped, listed in the result and in ``skipped.txt``.

    Args:
        source: Directory with one folder of images per class; deeper folders belong to their class.
        out: Directory to write; made if needed.
        parts: Part files of the training split.
        val_fraction: Share of the files that becomes the validation split, in equal shares of each class; 0 for none.
        val_parts: Part files of the validation split; by default so many that all parts hold about as many records.
        seed: Seed of the split and of the order, which is shuffled once.
        workers: Threads that read and decode; by default one per usable processor.
        options: How images are encoded, reduced and turned.
        digests: Also write a checksum per record, see :mod:`flowdata.records.digests`.
        overwrite: Write although ``out`` is not empty; removes the data set that it holds, not other files.
        progress: Called with the number of files done and the number of files.

    Raises:
        ConfigError: an argument is out of range, ``source`` has not the expected form, ``out`` is in use.
        DataError: none of the files could be read.
    """
    options = options or ImageOptions()
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
    splits = {"train": (parts, train)} | ({"val": (val_parts, val)} if val else {})
    return convert_items(
        out,
        source=f"convert images: {source}",
        classes=classes,
        features=IMAGE_FEATURES | ({ROWS: "int32"} if options.row_restarts else {}),
        splits=splits,
        read=lambda index: _read_image(files[index], index, classes, options),
        skipped=skipped,
        workers=workers,
        digests=digests,
        progress=progress,
    )
