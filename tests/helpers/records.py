"""Tiny data sets of OFRecord part files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flowdata import codec
from flowdata.dataset import DatasetInfo, SplitInfo
from flowdata.records.wire import FeatureValue
from flowdata.records.writer import write_parts
from flowdata.sample import Sample, SampleKey
from flowdata.sources.ofrecord import OFRecordSource

# `class/label` = int32 [5], framed: 30 bytes written by hand.
GOLDEN_PART = bytes.fromhex("1600000000000000 0a140a0b636c6173732f6c6162656c1205 22030a0105")


def picture(height: int, width: int, seed: int = 0, channels: int = 3) -> NDArray[np.uint8]:
    """A smooth colourful image, which JPEG changes only a little; every pixel differs from its neighbours' mirror."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(x * rng.uniform(0.02, 0.2) + y * rng.uniform(0.02, 0.2) + rng.uniform(0, 6)) for _ in range(channels)
    ]
    return np.stack([(127.5 + 120 * wave).round().astype(np.uint8) for wave in waves], axis=-1)


def image_record(index: int, height: int = 24, width: int = 32) -> dict[str, FeatureValue]:
    """A record with a JPEG and, as its label, ``index``."""
    return {
        "encoded": codec.encode_jpeg(picture(height + index % 3, width + index % 5, seed=index), quality=90),
        "class/label": np.int32(index),
    }


def exif(value: int, order: Literal["little", "big"] = "little", kind: int = 3) -> bytes:
    """EXIF data of two tags, the second the orientation."""
    magic = b"II*\0" if order == "little" else b"MM\0*"
    entry = b"".join(number.to_bytes(size, order) for number, size in ((0x0112, 2), (kind, 2), (1, 4), (value, 2)))
    other = b"".join(number.to_bytes(size, order) for number, size in ((0x0100, 2), (3, 2), (1, 4), (5, 2))) + b"\0\0"
    return magic + (8).to_bytes(4, order) + (2).to_bytes(2, order) + other + entry + b"\0\0" + bytes(4)


def oriented_jpeg(value: int, order: Literal["little", "big"] = "little", height: int = 40, width: int = 56) -> bytes:
    """A JPEG file with an EXIF orientation."""
    content = b"Exif\0\0" + exif(value, order)
    data = codec.encode_jpeg(picture(height, width))
    return data[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content + data[2:]


def write_dataset(root: Path, counts: Sequence[int] = (5, 0, 7), split: str = "train") -> Path:
    """Write image records with labels 0, 1, 2 … in parts of the given sizes, and `dataset.json`; return the folder."""
    folder = root / split
    total = sum(counts)
    start = 0
    folder.mkdir(parents=True)
    for part, count in enumerate(counts):
        [path] = write_parts(root / f"staging-{part}", [image_record(start + i) for i in range(count)], parts=1)
        path.rename(folder / f"part-{part:05d}")
        path.parent.rmdir()
        start += count
    DatasetInfo(
        classes=tuple(f"class {label}" for label in range(total)),
        splits={split: SplitInfo(directory=split, parts=len(counts), records=total)},
        features={"encoded": "bytes", "class/label": "int32"},
    ).save(root)
    return folder


def records_in(directory: Path) -> list[Any]:
    """Every record of a folder of part files, in order."""
    source = OFRecordSource(directory)
    found = [source.read(SampleKey(0, index))["record"] for index in range(len(source))]
    source.close()
    return found


def sample_of(**values: Any) -> Sample:
    """A sample outside of any data set."""
    return Sample(SampleKey(0, 0), values, "a test")
