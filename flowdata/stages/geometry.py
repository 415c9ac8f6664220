"""Changing the size of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec, Sample, Specs
from flowdata.stages import stage

Interpolation = Literal["bilinear", "nearest", "bicubic", "area", "auto"]

_INTERPOLATIONS = {
    "bilinear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_DTYPES = (np.uint8, np.float32)


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

    Shape:
        Input (height, width, channels), uint8 or float32, 1 to 4 channels; output the same with the new size.

    Raises:
        ConfigError: the arguments contradict each other or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``oneflow.nn.image.Resize``, with sizes as (height, width).
    """

    draws: ClassVar[bool] = False
    size: tuple[int, int] | None = None
    shorter: int | None = None
    longer: int | None = None
    max_size: int | None = None
    min_size: int | None = None
    interpolation: Interpolation = "bilinear"
    image: str = "image"

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
            height, width = self.new_size(image.shape[0], image.shape[1])
        return specs | {self.image: ArraySpec((height, width, image.shape[-1]), image.dtype, "HWC")}

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        if self.size is not None:
            return self.size
        return keep_aspect_size(height, width, self.shorter, self.longer, self.max_size, self.min_size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample[self.image]
        height, width, channels = image.shape
        if not image.size:
            raise RecordError(f"resize: expected {self.image!r} to have pixels, got shape {image.shape}")
        new_height, new_width = self.new_size(height, width)
        interpolation = self.interpolation
        if interpolation == "auto":
            interpolation = "bilinear" if new_height * new_width >= height * width else "area"
        result = sample.destination(self.image, (new_height, new_width, channels), image.dtype)
        cv2.resize(image, (new_width, new_height), dst=result, interpolation=_INTERPOLATIONS[interpolation])
        return sample.replace(**{self.image: result})


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
