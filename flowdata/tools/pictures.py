"""One image file as the features of a record: kept byte for byte where possible, else encoded again as asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from flowdata import codec
from flowdata.errors import ConfigError
from flowdata.records.wire import Feature
from flowdata.records.writer import Features

ROWS = "encoded/rows"  # the feature of row offsets


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images are converted.

    Args:
        quality: JPEG quality of what is encoded again, 1 to 100.
        short_side: Pixels to which the shorter side is reduced, by averaging; smaller images stay as they are.
        row_restarts: Write a restart marker after each row of blocks, and where the rows are as the feature
            ``encoded/rows``, so that a random crop decodes its own rows only. Encodes every file again that has no such
            markers: they cannot be put into a file that is kept.
        orientation: ``ignore`` what EXIF data of JPEG, PNG and WebP files says, or ``apply`` it, which encodes such
            files again.

    Raises:
        ConfigError: an argument is out of range.
    """

    quality: int = 95
    short_side: int | None = None
    row_restarts: bool = False
    orientation: codec.OrientationPolicy = "ignore"

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"convert: expected a quality from 1 to 100, got {self.quality}")
        if self.short_side is not None and self.short_side < 1:
            raise ConfigError(f"convert: expected short-side >= 1, got {self.short_side}")
        if self.orientation not in codec.ORIENTATION_POLICIES:
            raise ConfigError(f"convert: expected orientation ignore or apply, got {self.orientation!r}")


class Picture(NamedTuple):
    """A baseline JPEG file and what is known of it.

    Args:
        encoded: The file.
        shape: Height, width and channels.
        original: Height and width before its shorter side was reduced.
        rows: Where its rows of blocks begin, if that is known.
        kept: Whether it is the original file.
    """

    encoded: bytes
    shape: tuple[int, int, int]
    original: tuple[int, int]
    rows: codec.RowOffsets | None
    kept: bool


def prepare_picture(data: bytes, options: ImageOptions) -> Picture:
    """Make of any image file the JPEG file for a record.

    A baseline JPEG file in gray or colour keeps its bytes unless an option asks for something that it does not have.

    Raises:
        RecordError: it cannot be decoded.
    """
    keep, rows = False, None
    if codec.is_known_format(data):
        info = codec.image_info(data)
        # Decoding also what is kept finds the damage here that would otherwise stop a training.
        image = codec.decode(data, "GRAY" if info.components <= 2 else "RGB", orientation=options.orientation)
        upright = options.orientation == "ignore" or info.orientation == 1
        keep = info.baseline and info.components in (1, 3) and upright
        if options.row_restarts:
            rows = codec.row_offsets(data)
            keep = keep and rows is not None
    else:
        image = codec.decode_foreign(data)
    small = reduce_short_side(image, options.short_side)
    if keep and small is image:
        return Picture(data, _shape(image), _shape(image)[:2], rows, kept=True)
    encoded = codec.encode_jpeg(small, options.quality, "4:4:4", row_restarts=options.row_restarts)
    rows = codec.row_offsets(encoded) if options.row_restarts else None
    return Picture(encoded, _shape(small), _shape(image)[:2], rows, kept=False)


def reduce_short_side(image: codec.Image, short_side: int | None) -> codec.Image:
    """The image with its shorter side reduced to ``short_side`` by averaging; itself if it is not larger.

    >>> reduce_short_side(np.zeros((30, 40, 3), np.uint8), 15).shape
    (15, 20, 3)
    """
    height, width, channels = _shape(image)
    shorter = min(height, width)
    if short_side is None or shorter <= short_side:
        return image
    new_height, new_width = (max(1, round(side * short_side / shorter)) for side in (height, width))
    small: codec.Image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return small.reshape(new_height, new_width, channels)


def _shape(image: codec.Image) -> tuple[int, int, int]:
    height, width, channels = image.shape
    return height, width, channels


def image_features(
    encoded: bytes,
    shape: tuple[int, ...],
    label: int,
    text: str,
    filename: str,
    data_id: int,
    rows: codec.RowOffsets | None = None,
) -> Features:
    """The features of one image record, named as OneFlow's ImageNet files name them; it has no boxes.

    Args:
        encoded: The JPEG file.
        shape: Its height, width and channels.
        label: 0-based class.
        text: Name of the class.
        filename: Path of the original file, relative to the source directory.
        data_id: Number of the file in the source.
        rows: Where its rows of blocks begin, see :func:`flowdata.codec.row_offsets`; left out without.
    """
    height, width, channels = shape
    no_box = Feature("float", np.zeros(0, np.float32))
    return {
        "encoded": encoded,
        "class/label": label,
        "class/synset": text,
        "class/text": text,
        "filename": os.fsencode(filename),
        "data_id": str(data_id),
        "format": "JPEG",
        "colorspace": "RGB" if channels == 3 else "GRAY",
        "height": height,
        "width": width,
        "channels": channels,
        **({} if rows is None else {ROWS: rows}),
        **{f"object/bbox/{side}": no_box for side in ("xmin", "ymin", "xmax", "ymax")},
        "object/bbox/label": Feature("int32", np.zeros(0, np.int32)),
    }
