"""Normalize, also with crop and mirror: the last step from an image to what a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import stage

OutputLayout = Literal["NCHW", "NHWC"]


@stage("crop_mirror_normalize")
@dataclass(frozen=True, kw_only=True, slots=True)
class CropMirrorNormalize:
    """Cut out a window, mirror it where asked, and compute ``(pixel - mean) * (1 / std)`` in float32.

    Args:
        crop: Height and width of the window in pixels; the whole image by default, which needs images of one size.
        crop_position: Where the window lies, downwards and to the right: 0 = top/left, 1 = bottom/right. The offset
            ``(image - crop) * position`` is cut to an integer.
        mean: One value for all channels or one per channel, in pixel units 0..255, in the order of the channels.
        std: The same for the divisor; not 0.
        layout: ``NCHW`` for (channels, height, width) per sample, ``NHWC`` for (height, width, channels).
        mirror: Name of a value that says of each sample whether to mirror it (not 0) left to right, after the crop.
            Where no earlier stage makes it, nothing is mirrored.
        image: Name of the image.
        output: Name of the result; by default it replaces the image.

    Shape:
        Input uint8 (height, width, channels); output float32 (channels, crop height, crop width) or, for NHWC,
        (crop height, crop width, channels).

    Raises:
        ConfigError: an argument is out of range, or does not fit the image.
        RecordError: an image is smaller than the window.

    Reference:
        ``oneflow.nn.CropMirrorNormalize``. Different on purpose: the layout is an argument, positions are checked,
        and a window larger than the images is an error for images of one size too.
    """

    draws: ClassVar[bool] = False
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    crop: tuple[int, int] | None = None
    crop_position: tuple[float, float] = (0.5, 0.5)
    layout: OutputLayout = "NCHW"
    mirror: str = "mirror"
    image: str = "image"
    output: str | None = None

    def __post_init__(self) -> None:
        name = "crop_mirror_normalize"
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ConfigError(f"{name}: expected crop as (height, width) >= 1, got {self.crop}")
        if len(self.crop_position) != 2 or not all(0 <= each <= 1 for each in self.crop_position):
            raise ConfigError(f"{name}: expected crop_position as two numbers from 0 to 1, got {self.crop_position}")
        _check_values(name, self.mean, self.std)
        _check_layout(name, self.layout)

    def output_spec(self, specs: Specs) -> Specs:
        name, image = "crop_mirror_normalize", specs[self.image]
        if image.layout != "HWC" or image.dtype != np.uint8 or image.shape[-1] is None:
            raise ConfigError(f"{name}: expected image: {self.image!r} to be uint8 HWC, got {image}")
        if self.mirror in specs and specs[self.mirror].shape != ():
            raise ConfigError(f"{name}: expected mirror: {self.mirror!r} to be a scalar, got {specs[self.mirror]}")
        *extents, channels = image.shape
        _check_counts(name, channels, self.mean, self.std)
        if self.crop is None and None in extents:
            raise ConfigError(
                f"{name}: crop is needed because {self.image!r} differs in size from sample to sample; or resize it"
            )
        if self.crop is not None and any(
            have is not None and have < want for have, want in zip(extents, self.crop, strict=True)
        ):
            raise ConfigError(f"{name}: crop {self.crop} is larger than the image of {tuple(extents)} pixels")
        size = self.crop or tuple(extents)
        shape, layout = ((channels, *size), "CHW") if self.layout == "NCHW" else ((*size, channels), "HWC")
        return specs | {self.output or self.image: ArraySpec(shape, np.dtype(np.float32), layout)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample[self.image]
        top, left, height, width = self.window(*image.shape[:2])
        window = image[top : top + height, left : left + width]
        if sample.get(self.mirror, 0):
            window = cv2.flip(window, 1).reshape(window.shape)
        channels = window.shape[2]
        output = self.output or self.image
        if self.layout == "NCHW":
            result = sample.destination(output, (channels, height, width), np.float32)
            self._normalize(window, result)
        else:
            result = sample.destination(output, (height, width, channels), np.float32)
            planes = np.empty((channels, height, width), np.float32)
            self._normalize(window, planes)
            cv2.merge(list(planes), dst=result)
        return sample.replace(**{output: result})

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels of the window in an image of this height and width.

        Raises:
            RecordError: the image is smaller than the window.
        """
        if (crop := self.crop) is None:
            return 0, 0, height, width
        if height < crop[0] or width < crop[1]:
            raise RecordError(
                f"crop_mirror_normalize: crop {crop} is larger than the image of {(height, width)} pixels; resize it "
                f"first"
            )
        top, left = (
            int(np.float32(have - want) * np.float32(position))
            for have, want, position in zip((height, width), crop, self.crop_position, strict=True)
        )
        return top, left, *crop

    def _normalize(self, window: Array, planes: Array) -> None:
        """Per plane one fused multiply and add, straight into its place: the fastest way that needs no compiler."""
        factors = _factors(_values(self.mean), _values(self.std), len(planes))
        separate = cv2.split(window, tuple(planes_apart(planes.shape)))
        for plane, target, (factor, shift) in zip(separate, planes, factors, strict=True):
            cv2.addWeighted(plane, factor, plane, 0, shift, dst=target, dtype=cv2.CV_32F)


@stage("image_normalize")
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageNormalize:
    """Compute ``(pixel - mean) / std`` of an image of any size.

    Args:
        mean: One value for all channels or one per channel, in pixel units 0..255, in the order of the channels.
        std: The same for the divisor; not 0.
        layout: ``NCHW`` for (channels, height, width) per sample, ``NHWC`` for (height, width, channels).
        image: Name of the image, which the result replaces.

    Shape:
        Input uint8, float32 or float64 (height, width, channels); output float32, or float64 for such an input,
        (channels, height, width) or, for NHWC, as the input.

    Raises:
        ConfigError: an argument is out of range, or does not fit the image.

    Reference:
        ``oneflow.nn.image.normalize``, which takes no uint8 and knows no other layout than NHWC.
    """

    draws: ClassVar[bool] = False
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    layout: OutputLayout = "NCHW"
    image: str = "image"

    def __post_init__(self) -> None:
        _check_values("image_normalize", self.mean, self.std)
        _check_layout("image_normalize", self.layout)

    def output_spec(self, specs: Specs) -> Specs:
        image = specs[self.image]
        if image.layout != "HWC" or image.dtype not in (np.uint8, np.float32, np.float64) or image.shape[-1] is None:
            raise ConfigError(f"image_normalize: expected image: {self.image!r} to be uint8, float32 or float64 HWC, "
                              f"got {image}")  # fmt: skip
        *extents, channels = image.shape
        _check_counts("image_normalize", channels, self.mean, self.std)
        shape, layout = ((channels, *extents), "CHW") if self.layout == "NCHW" else (image.shape, "HWC")
        return specs | {self.image: ArraySpec(shape, _result_dtype(image.dtype), layout)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample[self.image]
        dtype = _result_dtype(image.dtype)
        means, stds = (np.asarray(_values(each), dtype) for each in (self.mean, self.std))
        if self.layout == "NCHW":
            image, means, stds = image.transpose(2, 0, 1), means.reshape(-1, 1, 1), stds.reshape(-1, 1, 1)
        result = sample.destination(self.image, image.shape, dtype)
        np.subtract(image, means, out=result)
        if (stds != 1).any():
            result /= stds
        return sample.replace(**{self.image: result})


def planes_apart(shape: tuple[int, ...]) -> Array:
    """Planes of bytes, at addresses that do not differ by a multiple of a vector register.

    Where they do, ``cv2.split`` writes each row past the cache. Of rows that begin within a register, which may be
    those of any window, that takes twenty times as long.
    """
    channels, height, width = shape
    size = height * width
    return np.empty((channels, size | 1), np.uint8)[:, :size].reshape(shape)


@lru_cache
def _factors(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> tuple[tuple[float, float], ...]:
    """What to multiply each channel with, and what to add then."""
    means, stds = (np.broadcast_to(each, channels).tolist() for each in (mean, std))
    return tuple((1 / std, -mean / std) for mean, std in zip(means, stds, strict=True))


def _result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _check_values(name: str, mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> None:
    for argument, values in (("mean", _values(mean)), ("std", _values(std))):
        if not values or not all(map(math.isfinite, values)):
            raise ConfigError(f"{name}: expected {argument} as one or more finite numbers, got {values}")
    if 0 in _values(std):
        raise ConfigError(f"{name}: expected std without 0, got {std}")


def _check_layout(name: str, layout: str) -> None:
    if layout not in get_args(OutputLayout):
        raise ConfigError(f"{name}: expected layout to be NCHW or NHWC, got {layout!r}")


def _check_counts(
    name: str, channels: int | None, mean: float | tuple[float, ...], std: float | tuple[float, ...]
) -> None:
    for argument, values in (("mean", _values(mean)), ("std", _values(std))):
        if len(values) not in (1, channels):
            raise ConfigError(f"{name}: expected {argument} of 1 or {channels} values, got {len(values)}")


def _values(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
