"""Changing the size of images, and mirroring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import Stage, stage
from flowdata.stages.narrow import NarrowResize, keeps_pixels
from flowdata.stages.normalize import CropMirrorNormalize

Interpolation = Literal["bilinear", "nearest", "bicubic", "area", "auto"]

_INTERPOLATIONS = {
    "bilinear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_DTYPES = (np.uint8, np.float32)
_CV_FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}  # by whether x and whether y is mirrored
WIDTH_HEIGHT = "width, height"  # layout of a size: COCO files have the other order


@stage("resize")
@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """Resize an image to a fixed size, or until one of its sides has a given length.

    Exactly one of ``size``, ``shorter`` and ``longer`` is given; the last two keep the aspect ratio.

    Args:
        size: Height and width of the result in pixels.
        shorter: Length of the result's shorter side in pixels.
        longer: Length of the result's longer side in pixels.
        max_size: With ``shorter``: greatest length of the longer side, which then decides.
        min_size: With ``longer``: least length of the shorter side, which then decides.
        interpolation: ``bilinear``, ``nearest``, ``bicubic``, ``area``, or ``auto``: bilinear where the image does not
            lose pixels, else area. As in OpenCV: half-pixel centres, and no low-pass filter but in ``area``.
        image: Name of the image, which the result replaces.
        scale: Name for the factors by which width and height grew, float32 (2,); by default they are not kept. Boxes
            and polygons need them.
        new_size: Name for the new width and height, int32 (2,), in this order; by default they are not kept.

    Shape:
        Input (height, width, channels), uint8 or float32, 1 to 4 channels; output the same with the new size.

    Raises:
        ConfigError: the arguments contradict each other or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``oneflow.nn.image.Resize``, with ``size`` as (height, width).
    """

    draws: ClassVar[bool] = False
    size: tuple[int, int] | None = None
    shorter: int | None = None
    longer: int | None = None
    max_size: int | None = None
    min_size: int | None = None
    interpolation: Interpolation = "bilinear"
    image: str = "image"
    scale: str | None = None
    new_size: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("size", "shorter", "longer") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(f"resize: expected one of size, shorter, longer, got {' and '.join(given) or 'none'}")
        lengths = {"shorter": self.shorter, "longer": self.longer, "max_size": self.max_size, "min_size": self.min_size}
        for name, value in {**lengths, **dict(zip(("height", "width"), self.size or (), strict=False))}.items():
            if value is not None and value < 1:
                raise ConfigError(f"resize: expected {name} >= 1, got {value}")
        if self.size is not None and len(self.size) != 2:
            raise ConfigError(f"resize: expected size as (height, width), got {self.size}")
        if self.max_size is not None and (self.shorter is None or self.shorter > self.max_size):
            raise ConfigError(
                f"resize: max_size limits the longer side with shorter <= max_size, got max_size {self.max_size} and "
                f"shorter {self.shorter}"
            )
        if self.min_size is not None and (self.longer is None or self.longer < self.min_size):
            raise ConfigError(
                f"resize: min_size limits the shorter side with longer >= min_size, got min_size {self.min_size} and "
                f"longer {self.longer}"
            )
        if self.interpolation not in get_args(Interpolation):
            raise ConfigError(
                f"resize: expected interpolation to be one of {', '.join(get_args(Interpolation))}, got "
                f"{self.interpolation!r}"
            )

    def output_spec(self, specs: Specs) -> Specs:
        image = specs[self.image]
        if image.layout != "HWC" or image.dtype not in _DTYPES or image.shape[-1] not in (1, 2, 3, 4):
            raise ConfigError(
                f"resize: expected image: {self.image!r} to be uint8 or float32 HWC with 1 to 4 channels, got {image}"
            )
        height, width = self.size or (None, None)
        if self.size is None and image.shape[0] is not None and image.shape[1] is not None:
            height, width = self.result_size(image.shape[0], image.shape[1])
        made = {self.image: ArraySpec((height, width, image.shape[-1]), image.dtype, "HWC")}
        if self.scale is not None:
            made[self.scale] = ArraySpec((2,), np.dtype(np.float32))
        if self.new_size is not None:
            made[self.new_size] = ArraySpec((2,), np.dtype(np.int32), WIDTH_HEIGHT)
        return specs | made

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        if self.size is not None:
            return self.size
        return keep_aspect_size(height, width, self.shorter, self.longer, self.max_size, self.min_size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample[self.image]
        height, width, channels = image.shape
        if not image.size:
            raise RecordError(f"resize: expected {self.image!r} to have pixels, got shape {image.shape}")
        new_height, new_width = self.result_size(height, width)
        interpolation = self.interpolation
        if interpolation == "auto":
            interpolation = "bilinear" if new_height * new_width >= height * width else "area"
        result = sample.destination(self.image, (new_height, new_width, channels), image.dtype)
        cv2.resize(image, (new_width, new_height), dst=result, interpolation=_INTERPOLATIONS[interpolation])
        return sample.replace(**self.made(result, height, width))

    def made(self, result: Array, height: int, width: int) -> dict[str, Array]:
        """The values that a sample gets, given the resized image and the size it had before."""
        new_height, new_width = result.shape[:2]
        made = {self.image: result}
        if self.scale is not None:
            made[self.scale] = np.array([new_width / width, new_height / height], np.float32)
        if self.new_size is not None:
            made[self.new_size] = np.array([new_width, new_height], np.int32)
        return made

    def narrowed(self, following: Sequence[Any]) -> Stage:
        """The stage to run in place of this one where others follow, see :mod:`flowdata.stages.narrow`."""
        crop = following[0] if following else None
        if type(self) is not Resize or type(crop) is not CropMirrorNormalize or self.interpolation != "bilinear":
            return self
        taken = crop.crop is not None and crop.image == self.image and crop.output in (None, crop.image)
        return NarrowResize(self, crop) if taken and keeps_pixels() else self


@stage("image_flip")
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFlip:
    """Mirror an image as an earlier stage drew.

    Args:
        image: Name of the image, which the result replaces.
        flip: Name of what is mirrored: 0 nothing, 1 left to right, 2 top to bottom, 3 both; ``coin_flip`` draws 0 or
            1.

    Shape:
        Image uint8 or float32 (height, width, channels), 1 to 4 channels; flip a scalar.

    Raises:
        ConfigError: the image or the flip is of another dtype or layout.
        RecordError: ``flip`` is another number.

    Reference:
        ``oneflow.nn.image.flip``.
    """

    draws: ClassVar[bool] = False
    image: str = "image"
    flip: str = "mirror"

    def output_spec(self, specs: Specs) -> Specs:
        image = specs[self.image]
        if image.layout != "HWC" or image.dtype not in _DTYPES or image.shape[-1] not in (1, 2, 3, 4):
            raise ConfigError(
                f"image_flip: expected image: {self.image!r} to be uint8 or float32 HWC with 1 to 4 channels, got "
                f"{image}"
            )
        check_flip("image_flip", specs, self.flip)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample[self.image]
        axes = flip_axes("image_flip", sample, self.flip)
        if not any(axes) or not image.size:
            return sample
        result = sample.destination(self.image, image.shape, image.dtype)
        cv2.flip(image, _CV_FLIPS[axes], dst=result)
        return sample.replace(**{self.image: result})


def flip_axes(name: str, sample: Sample, flip: str) -> tuple[bool, bool]:
    """Whether x and whether y is mirrored.

    Args:
        name: The stage that asks, for messages.
        sample: Holds the number that says so.
        flip: Name of the number.

    Raises:
        RecordError: it is not 0 to 3.
    """
    value = int(sample[flip])
    if not 0 <= value <= 3:
        raise RecordError(
            f"{name}: expected {flip!r} as 0 (nothing), 1 (left to right), 2 (top to bottom) or 3 (both), found {value}"
        )
    return bool(value & 1), bool(value & 2)


def check_flip(name: str, specs: Specs, flip: str) -> None:
    """Refuse what cannot say how an image is mirrored.

    Raises:
        ConfigError: it is no scalar of integers.
    """
    if specs[flip].shape != () or specs[flip].dtype.kind not in "iu":
        raise ConfigError(f"{name}: expected flip: {flip!r} to be an integer scalar, got {specs[flip]}")


def check_scale(name: str, specs: Specs, scale: str) -> None:
    """Refuse what is no scale of an image.

    Raises:
        ConfigError: it is not float32 (2,).
    """
    if specs[scale].shape != (2,) or specs[scale].dtype != np.float32:
        raise ConfigError(f"{name}: expected scale: {scale!r} to be float32 (2,), got {specs[scale]}")


def check_size(name: str, specs: Specs, size: str) -> None:
    """Refuse what is no width and height of an image.

    Raises:
        ConfigError: it is not int32 (2,), or known to be height and width.
    """
    spec = specs[size]
    if spec.shape != (2,) or spec.dtype != np.int32 or spec.layout not in ("", WIDTH_HEIGHT):
        raise ConfigError(
            f"{name}: expected size: {size!r} to be width and height, int32 (2,), as resize makes it with new_size: "
            f"NAME, got {spec}"
        )


def keep_aspect_size(
    height: int,
    width: int,
    shorter: int | None = None,
    longer: int | None = None,
    max_size: int | None = None,
    min_size: int | None = None,
) -> tuple[int, int]:
    """Height and width after one side got a given length and the other followed, rounded half to even.

    Args:
        height: Height in pixels; the same unit for all that follows.
        width: Width.
        shorter: New length of the shorter side; or
        longer: new length of the longer side.
        max_size: Greatest length of the longer side, if ``shorter`` is given.
        min_size: Least length of the shorter side, if ``longer`` is given.

    Reference:
        ``oneflow/user/kernels/image_target_resize_kernel.cpp``.

    >>> keep_aspect_size(480, 640, shorter=800, max_size=1333)
    (800, 1067)
    """
    ratio = min(height, width) / max(height, width)
    if shorter is not None:
        short, long = shorter, round(shorter / ratio)
        if max_size is not None and long > max_size:
            short, long = round(max_size * ratio), max_size
    else:
        assert longer is not None, "one of shorter and longer"
        short, long = round(longer * ratio), longer
        if min_size is not None and short < min_size:
            short, long = min_size, round(min_size / ratio)
    short = max(short, 1)
    return (short, long) if height <= width else (long, short)
