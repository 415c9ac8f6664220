"""Random erasing: a rectangle of an image becomes one colour or noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Array, Sample, Specs
from flowdata.stages import stage
from flowdata.stages.arguments import bounds, check_probability, image_of, uniform

ATTEMPTS = 10


@stage("random_erasing")
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing:
    """Overwrite a random rectangle of an image, by chance.

    Args:
        probability: Probability of doing so, 0 to 1. Nothing happens either where ten draws give no rectangle that
            fits, as may be with extreme ratios.
        scale: Smallest and largest share of the image's area, 0 to 1.
        ratio: Smallest and largest height over width, log-uniform.
        value: What is written, one number or one per channel, in the unit of the image; or ``random``: standard
            normal noise in float32 images, uniform noise in uint8 images.
        layout: ``HWC``, or ``CHW`` after ``crop_mirror_normalize``.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 or float32 (height, width, channels) or (channels, height, width), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        Zhong et al., "Random Erasing Data Augmentation", 2017; ``torchvision.transforms.v2.RandomErasing``, equal for
        equal rectangles and values (its noise in uint8 images is normal, so nearly black).
    """

    probability: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | tuple[float, ...] | Literal["random"] = 0.0
    layout: Literal["HWC", "CHW"] = "HWC"
    image: str = "image"

    def __post_init__(self) -> None:
        check_probability("random_erasing", self.probability)
        bounds("random_erasing", "scale", self.scale, 0.0, 0.0, 1.0)
        if bounds("random_erasing", "ratio", self.ratio, 1.0, 0.0, float("inf"))[0] == 0:
            raise ConfigError(f"random_erasing: expected ratio > 0, got {self.ratio}")
        if self.layout not in ("HWC", "CHW"):
            raise ConfigError(f"random_erasing: expected layout to be HWC or CHW, got {self.layout!r}")
        if self.value != "random" and (not self._values or not all(map(math.isfinite, self._values))):
            raise ConfigError(f"random_erasing: expected value as numbers or 'random', got {self.value!r}")

    @property
    def _values(self) -> tuple[float, ...]:
        if isinstance(self.value, str):
            return ()
        return tuple(self.value) if isinstance(self.value, (tuple, list)) else (self.value,)

    def output_spec(self, specs: Specs) -> Specs:
        spec = specs[self.image]
        if spec.layout != self.layout or spec.dtype.name not in ("uint8", "float32"):
            raise ConfigError(
                f"random_erasing: expected image: {self.image!r} to be uint8 or float32 with layout: {self.layout}, "
                f"got {spec}"
            )
        channels = spec.shape[self.layout.index("C")]
        if self.value != "random" and len(self._values) not in (1, channels):
            raise ConfigError(f"random_erasing: expected value of 1 or {channels} numbers, got {len(self._values)}")
        if spec.dtype == np.uint8 and not all(0 <= each <= 255 for each in self._values):
            raise ConfigError(f"random_erasing: expected value from 0 to 255 for a uint8 image, got {self.value}")
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("random_erasing", sample, self.image)
        if rng.random() >= self.probability:
            return sample
        planar = self.layout == "CHW"
        height, width = image.shape[1:] if planar else image.shape[:2]
        size = self._size(rng, height, width)
        if size is None:
            return sample
        top = int(rng.integers(0, height - size[0], endpoint=True))
        left = int(rng.integers(0, width - size[1], endpoint=True))
        out = sample.destination(self.image, image.shape, image.dtype)
        out[...] = image
        channels_last = np.moveaxis(out, 0, 2) if planar else out
        window = channels_last[top : top + size[0], left : left + size[1]]
        window[...] = self._content(rng, window)
        return sample.replace(**{self.image: out})

    def _size(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int] | None:
        low, high = map(math.log, self.ratio)
        for _ in range(ATTEMPTS):
            area = height * width * uniform(rng, self.scale)
            ratio = math.exp(uniform(rng, (low, high)))
            size = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if size[0] < height and size[1] < width:
                return size
        return None

    def _content(self, rng: np.random.Generator, window: Array) -> Array:
        if self.value != "random":
            return np.asarray(self._values, window.dtype)
        if window.dtype == np.uint8:
            return rng.integers(0, 256, window.shape, np.uint8)
        return rng.standard_normal(window.shape, np.float32)
