"""TFRecord files of tf.train.Example messages to OFRecord part files, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flowdata.errors import ConfigError, DataError, RecordError
from flowdata.records.example import read_example, walk_tfrecord
from flowdata.records.wire import Feature
from flowdata.tools.pictures import ROWS, ImageOptions, prepare_picture
from flowdata.tools.writing import (
    Conversion,
    Converted,
    Progress,
    Skipped,
    check_parts,
    convert_items,
    prepare_output,
    reason,
)

_GZIP = b"\x1f\x8b"


class Frame(NamedTuple):
    """Where one example lies."""

    path: Path
    offset: int
    length: int


def convert_tfrecord(
    source: Path,
    out: Path,
    *,
    split: str = "train",
    parts: int = 8,
    strip_prefix: str = "image/",
    classes: Sequence[str] = (),
    options: ImageOptions | None = None,
    workers: int | None = None,
    digests: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Write the examples of TFRecord files as OFRecords, in the order of file names and offsets.

    Features keep kind and values; names lose ``strip_prefix``, which turns those of ImageNet's TFRecords into those
    of OneFlow's OFRecords: ``image/encoded`` becomes ``encoded``. Labels stay as they are, also where they count from
    1. Checksums are compared; an example with a wrong one is skipped and listed, and so is the rest of a file whose
    framing is damaged.

    Args:
        source: A TFRecord file, or a directory of them.
        out: Directory to write; made if needed.
        split: Name of the split, ``train`` or ``val``.
        parts: Part files.
        strip_prefix: What is taken off the beginning of features' names.
        classes: Names of the classes for ``dataset.json``.
        options: How the pictures in the feature ``encoded`` are encoded, reduced and turned; ``height`` and ``width``
            then say their new size. Without, nobody looks at them.
        workers: Threads that read; by default one per usable processor.
        digests: Also write a checksum per record.
        overwrite: Write although ``out`` is not empty; removes the data set that it holds, not other files.
        progress: Called with the number of examples done and the number of examples.

    Raises:
        ConfigError: an argument is out of range, there is no file, a file is compressed, ``out`` is in use.
        DataError: no example could be read.
    """
    frames, broken = _scan(source)
    if broken and not frames:
        raise DataError(f"convert tfrecord: {source} holds no example; the first problem is {broken[0].reason}")
    check_parts(f"convert tfrecord: {source}", parts, len(frames))
    prepare_output(out, overwrite)
    return convert_items(
        out,
        source=f"convert tfrecord: {source}",
        classes=classes,
        features={ROWS: "int32"} if options is not None and options.row_restarts else {},
        splits={split: (parts, frames)},
        read=lambda frame: _read(frame, strip_prefix, options),
        skipped=broken,
        workers=workers,
        digests=digests,
        progress=progress,
    )


def _scan(source: Path) -> tuple[list[Frame], list[Skipped]]:
    """All frames, and the files that break off."""
    paths = sorted(each for each in source.iterdir() if not each.name.startswith(".")) if source.is_dir() else [source]
    if missing := [str(path) for path in paths or [source] if not path.is_file()]:
        raise ConfigError(f"convert tfrecord: expected TFRecord files, found none at {', '.join(missing[:3])}")
    frames, broken = [], []
    for path in paths:
        with path.open("rb", buffering=0) as file:
            if file.read(2) == _GZIP:
                raise ConfigError(f"convert tfrecord: {path} is compressed; run gunzip on it first")
            try:
                for offset, length in walk_tfrecord(file.fileno(), path.stat().st_size):
                    frames.append(Frame(path, offset, length))
            except RecordError as error:
                broken.append(Skipped(path.name, f"{error}; what follows in the file is left out"))
    return frames, broken


def _read(frame: Frame, prefix: str, options: ImageOptions | None) -> Converted | Skipped:
    kept = True
    try:
        with frame.path.open("rb", buffering=0) as file:
            example = read_example(file.fileno(), frame.offset, frame.length)
        features: dict[str, Feature] = {}
        for name, value in example.items():
            short = name.removeprefix(prefix)
            if short in features:
                raise RecordError(f"at byte {frame.offset}: two features are called {short!r} without {prefix!r}")
            features[short] = value
        if not features:
            raise RecordError(f"at byte {frame.offset}: the example has no feature")
        if options is not None:
            kept = _convert_picture(features, options, frame)
    except (DataError, OSError) as error:
        return Skipped(frame.path.name, reason(error))
    return Converted(features, kept)


def _convert_picture(features: dict[str, Feature], options: ImageOptions, frame: Frame) -> bool:
    """Put the picture as it should be in the place of the one that is there; whether that is the same."""
    encoded = features.get("encoded")
    if encoded is None or encoded.kind != "bytes" or len(encoded) != 1:
        raise RecordError(f"at byte {frame.offset}: expected the feature 'encoded' with one picture, found none")
    picture = prepare_picture(bytes(encoded.values[0]), options)
    height, width, _ = picture.shape
    made: dict[str, Any] = {"encoded": picture.encoded, "height": np.int64(height), "width": np.int64(width)}
    if picture.rows is not None:
        made[ROWS] = picture.rows
    features |= {name: Feature.of(value) for name, value in made.items()}
    return picture.kept
