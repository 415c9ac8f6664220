"""Random and fixed changes of colours, uint8 RGB or gray images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import pixels, stage
from flowdata.stages.arguments import (
    Range,
    bounds,
    changed,
    check_probability,
    image_of,
    image_spec,
    uniform,
)


@stage("color_jitter")
@dataclass(frozen=True, kw_only=True, slots=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue by random factors, in random order.

    Args:
        brightness: Range of the factor; one number ``v`` means ``max(0, 1 - v)`` to ``1 + v``, and 0 leaves it alone.
        contrast: The same.
        saturation: The same.
        hue: Range of the turn in parts of the colour circle, within -0.5 to 0.5; one number ``v`` means -v to v.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: a range is not in order or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.ColorJitter``; each of the four steps is within 1 of its own.
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0
    image: str = "image"

    def __post_init__(self) -> None:
        self._ranges()

    def _ranges(self) -> list[tuple[float, float]]:
        factors = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        ranges = [bounds("color_jitter", name, value, 1.0, 0.0, float("inf")) for name, value in factors.items()]
        hue = self.hue if isinstance(self.hue, (tuple, list)) else (-self.hue, self.hue)
        return [*ranges, bounds("color_jitter", "hue", hue, 0.0, -0.5, 0.5)]

    def output_spec(self, specs: Specs) -> Specs:
        image_spec("color_jitter", specs, self.image)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("color_jitter", sample, self.image)
        order = rng.permutation(4)
        factors = [uniform(rng, ends) for ends in self._ranges()]
        steps = (pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue)
        neutral = (1.0, 1.0, 1.0, 0.0)
        wanted = [number for number in order.tolist() if factors[number] != neutral[number]]
        for number in wanted:
            last = number == wanted[-1]
            out = sample.destination(self.image, image.shape, np.uint8) if last else np.empty_like(image, order="C")
            image = steps[number](image, factors[number], out)
        return sample.replace(**{self.image: image})


@stage("grayscale")
@dataclass(frozen=True, kw_only=True, slots=True)
class Grayscale:
    """Take the colour out of an image.

    Args:
        probability: Probability of doing so, 0 to 1; less than 1 needs the result to have as many channels as the
            image.
        channels: Channels of the result; 3 are three equal ones.
        image: Name of the image, which the result replaces.

    Shape:
        Input uint8 (height, width, 1 or 3); output uint8 (height, width, channels).

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.Grayscale`` and ``RandomGrayscale``; equal but for 3 of 2^24 colours, off by 1.
    """

    probability: float = 1.0
    channels: Literal[1, 3] = 3
    image: str = "image"

    def __post_init__(self) -> None:
        check_probability("grayscale", self.probability)
        if self.channels not in (1, 3):
            raise ConfigError(f"grayscale: expected channels to be 1 or 3, got {self.channels!r}")

    @property
    def draws(self) -> bool:
        """Whether it is left to chance."""
        return self.probability < 1

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("grayscale", specs, self.image)
        if self.draws and spec.shape[-1] != self.channels:
            raise ConfigError(
                f"grayscale: expected channels: {spec.shape[-1]}, as the image has, because probability: "
                f"{self.probability} leaves some as they are; got {self.channels}"
            )
        return specs | {self.image: ArraySpec((*spec.shape[:2], self.channels), spec.dtype, "HWC")}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("grayscale", sample, self.image)
        if self.draws and rng.random() >= self.probability:
            return sample
        level = pixels.gray(image)
        out = sample.destination(self.image, (*level.shape, self.channels), np.uint8)
        cv2.merge([level] * self.channels, dst=out)
        return sample.replace(**{self.image: out})


@dataclass(frozen=True, kw_only=True, slots=True)
class Maybe(ABC):
    """A change that happens with some probability.

    Args:
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.
    """

    probability: float = 0.5
    image: str = "image"

    @property
    def _name(self) -> str:
        name: str = self.stage_name  # type: ignore[attr-defined]  # the registry sets it
        return name

    def __post_init__(self) -> None:
        check_probability(self._name, self.probability)

    @property
    def draws(self) -> bool:
        """Whether it is left to chance."""
        return self.probability < 1

    @abstractmethod
    def change(self, image: Array, out: Array) -> Array:
        """Write the changed image into ``out`` and return it."""

    def output_spec(self, specs: Specs) -> Specs:
        image_spec(self._name, specs, self.image)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image_of(self._name, sample, self.image)
        if self.draws and rng.random() >= self.probability:
            return sample
        return changed(self._name, sample, self.image, self.change)


@stage("posterize")
@dataclass(frozen=True, kw_only=True, slots=True)
class Posterize(Maybe):
    """Keep only the highest bits of each value.

    Args:
        bits: How many, 0 to 8.
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomPosterize``, equal.
    """

    bits: int

    def __post_init__(self) -> None:
        Maybe.__post_init__(self)
        if not 0 <= self.bits <= 8:
            raise ConfigError(f"posterize: expected bits from 0 to 8, got {self.bits}")

    def change(self, image: Array, out: Array) -> Array:
        return pixels.posterize(image, self.bits, out)


@stage("solarize")
@dataclass(frozen=True, kw_only=True, slots=True)
class Solarize(Maybe):
    """Invert the values that are at least a threshold.

    Args:
        threshold: From 0, which inverts all, to 255.
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomSolarize``, equal.
    """

    threshold: float

    def __post_init__(self) -> None:
        Maybe.__post_init__(self)
        if not 0 <= self.threshold <= 255:
            raise ConfigError(f"solarize: expected threshold from 0 to 255, got {self.threshold}")

    def change(self, image: Array, out: Array) -> Array:
        return pixels.solarize(image, self.threshold, out)


@stage("equalize")
@dataclass(frozen=True, kw_only=True, slots=True)
class Equalize(Maybe):
    """Make the levels of each channel equally frequent.

    Args:
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: ``probability`` is none, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomEqualize``, equal.
    """

    def change(self, image: Array, out: Array) -> Array:
        return pixels.equalize(image, out)


@stage("autocontrast")
@dataclass(frozen=True, kw_only=True, slots=True)
class AutoContrast(Maybe):
    """Stretch each channel to the whole range of values.

    Args:
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: ``probability`` is none, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomAutocontrast``, equal.
    """

    def change(self, image: Array, out: Array) -> Array:
        return pixels.autocontrast(image, out)


@stage("sharpness")
@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpness(Maybe):
    """Sharpen or smooth an image.

    Args:
        factor: 0 smooths, 1 changes nothing, 2 doubles the contrast of details.
        probability: Probability of the change, 0 to 1.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomAdjustSharpness``, within 1.
    """

    factor: float

    def __post_init__(self) -> None:
        Maybe.__post_init__(self)
        if not 0 <= self.factor < float("inf"):
            raise ConfigError(f"sharpness: expected factor >= 0, got {self.factor}")

    def change(self, image: Array, out: Array) -> Array:
        return pixels.sharpness(image, self.factor, out)


@stage("gaussian_blur")
@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianBlur:
    """Blur an image by a random amount.

    Args:
        kernel_size: Height and width of the window in pixels, odd; one number means both.
        sigma: Range of the standard deviation in pixels, or the one that is always taken; above 0.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels, or is not larger than half the window, which is reflected at its edge.

    Reference:
        ``torchvision.transforms.v2.GaussianBlur``, within 1; its ``kernel_size`` is (width, height).
    """

    kernel_size: int | tuple[int, int]
    sigma: Range = (0.1, 2.0)
    image: str = "image"

    def __post_init__(self) -> None:
        if len(self._window) != 2 or any(each < 1 or each % 2 == 0 for each in self._window):
            raise ConfigError(f"gaussian_blur: expected kernel_size of odd numbers, got {self.kernel_size}")
        if bounds("gaussian_blur", "sigma", self._sigmas, 0.0, 0.0, float("inf"))[0] == 0:
            raise ConfigError(f"gaussian_blur: expected sigma > 0, got {self.sigma}")

    @property
    def _window(self) -> tuple[int, int]:
        return self.kernel_size if isinstance(self.kernel_size, (tuple, list)) else (self.kernel_size,) * 2

    @property
    def _sigmas(self) -> tuple[float, float]:
        return self.sigma if isinstance(self.sigma, (tuple, list)) else (self.sigma, self.sigma)

    def output_spec(self, specs: Specs) -> Specs:
        image_spec("gaussian_blur", specs, self.image)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sigma = uniform(rng, self._sigmas)
        height, width = image_of("gaussian_blur", sample, self.image).shape[:2]
        if height <= self._window[0] // 2 or width <= self._window[1] // 2:
            raise RecordError(
                f"gaussian_blur: expected an image larger than half of kernel_size {self._window}, got "
                f"{(height, width)} pixels"
            )
        return changed(
            "gaussian_blur", sample, self.image, lambda image, out: pixels.blur(image, self._window, sigma, out)
        )
