"""Where a crop follows a resize: only what the crop takes is resized, and decoded before (docs/adr/0021).

The pixels that it takes are the same bit by bit: of an image that is cut off below and to the right, OpenCV's bilinear
resize by the factors of the whole one computes the same top left. That holds for bytes, which is what is cropped here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import cv2
import numpy as np

from flowdata.codec import Image, Window
from flowdata.sample import Sample, Specs
from flowdata.stages.normalize import CropMirrorNormalize

if TYPE_CHECKING:
    from flowdata.stages.decode import ImageDecoder, OFRecordImageDecoder
    from flowdata.stages.geometry import Resize

_SPARE = 3  # source pixels: the one at the place, its neighbour, and one for rounding


class Extents(NamedTuple):
    """Heights and widths of an image, of what is needed of it, of what resize makes of that, and of all of it."""

    whole: tuple[int, int]
    source: tuple[int, int]
    made: tuple[int, int]
    result: tuple[int, int]


class Part(NamedTuple):
    """The top left of an image, between a decoder and the resize that needs no more."""

    pixels: Image
    extents: Extents


@dataclass(frozen=True, slots=True)
class NarrowResize:
    """A resize whose result is filled only as far as the crop after it looks; the rest of it is left as it is."""

    draws: ClassVar[bool] = False
    resize: Resize
    crop: CropMirrorNormalize

    def extents(self, height: int, width: int) -> Extents | None:
        """What is needed of an image of this height and width; None where nothing can be left out."""
        result = self.resize.result_size(height, width)
        assert self.crop.crop is not None, "Resize.narrowed saw to it"
        if min(height, width) < 1 or result[0] < self.crop.crop[0] or result[1] < self.crop.crop[1]:
            return None  # an error: the stages themselves say which
        top, left, high, wide = self.crop.window(*result)
        rows, made_rows = _needed(top + high, result[0], height)
        columns, made_columns = _needed(left + wide, result[1], width)
        source, made = (rows, columns), (made_rows, made_columns)
        if source in ((height, width), made):  # what keeps its size, OpenCV copies
            return None
        return Extents((height, width), source, made, result)

    def output_spec(self, specs: Specs) -> Specs:
        """That of the resize."""
        return self.resize.output_spec(specs)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image: Any = sample[self.resize.image]
        pixels, extents = image if isinstance(image, Part) else (image, self.extents(*image.shape[:2]))
        if extents is None:
            return self.resize(sample, rng)
        (height, width), (rows, columns), (made_rows, made_columns), (new_height, new_width) = extents
        result = np.empty((new_height, new_width, pixels.shape[2]), pixels.dtype)
        cv2.resize(
            pixels[:rows, :columns], None, dst=result[:made_rows, :made_columns],
            fx=new_width / width, fy=new_height / height, interpolation=cv2.INTER_LINEAR,
        )  # fmt: skip
        return sample.replace(**self.resize.made(result, height, width))


@dataclass(frozen=True, slots=True)
class NarrowDecoder:
    """A decoder of whole images before such a resize."""

    draws: ClassVar[bool] = False
    decoder: OFRecordImageDecoder | ImageDecoder
    resize: NarrowResize

    def output_spec(self, specs: Specs) -> Specs:
        """That of the decoder."""
        return self.decoder.output_spec(specs)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        extents: Extents | None = None

        def window(height: int, width: int) -> Window:
            nonlocal extents
            extents = self.resize.extents(height, width)
            return (0, 0, height, width) if extents is None else (0, 0, *extents.source)

        image = self.decoder.decode(sample, window)
        return sample.replace(**{self.decoder.output: image if extents is None else Part(image, extents)})


@cache
def keeps_pixels() -> bool:
    """Whether this OpenCV makes of the top left of an image what it makes of it in the whole."""
    image = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    whole = cv2.resize(image, (341, 256), interpolation=cv2.INTER_LINEAR)
    part = cv2.resize(image[:354, :416], None, fx=341 / 500, fy=256 / 375, interpolation=cv2.INTER_LINEAR)
    return np.array_equal(part[:240, :282], whole[:240, :282])


def _needed(end: int, new: int, old: int) -> tuple[int, int]:
    """Source pixels that decide the first ``end`` of ``new`` that ``old`` become, and how many are made of them."""
    source = min(old, math.floor((end - 0.5) * old / new - 0.5) + _SPARE)
    return source, round(source * (new / old))
