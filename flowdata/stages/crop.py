"""Windows of images, what lies around them, and their mirror images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import stage
from flowdata.stages.arguments import Fill, check_fill, check_probability, check_size, image_of, image_spec, scalar

Direction = Literal["horizontal", "vertical"]
PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]
Padding = int | tuple[int, int] | tuple[int, int, int, int]

_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}
_CHANNELS = (1, 2, 3, 4)


@stage("flip")
@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """Mirror an image, by chance or where an earlier stage said so.

    Args:
        direction: ``horizontal`` exchanges left and right, ``vertical`` top and bottom.
        probability: Probability of doing so, 0 to 1.
        flag: Name of a value, such as that of ``coin_flip``, which decides instead of a draw: mirrored unless it is 0.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 or float32 (height, width, 1 to 4), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomHorizontalFlip`` and ``RandomVerticalFlip``, equal.
    """

    direction: Direction = "horizontal"
    probability: float = 0.5
    flag: str | None = None
    image: str = "image"

    def __post_init__(self) -> None:
        check_probability("flip", self.probability)
        if self.direction not in get_args(Direction):
            raise ConfigError(f"flip: expected direction to be horizontal or vertical, got {self.direction!r}")

    @property
    def draws(self) -> bool:
        """Whether it is left to chance."""
        return self.flag is None and self.probability < 1

    def output_spec(self, specs: Specs) -> Specs:
        image_spec("flip", specs, self.image, _CHANNELS, (np.uint8, np.float32))
        if self.flag is not None and specs[self.flag].shape != ():
            raise ConfigError(f"flip: expected flag: {self.flag!r} to be a scalar, got {specs[self.flag]}")
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("flip", sample, self.image)
        if self.flag is not None:
            wanted = bool(sample[self.flag])
        else:
            wanted = not self.draws or rng.random() < self.probability
        if not wanted:
            return sample
        out = sample.destination(self.image, image.shape, image.dtype)
        cv2.flip(image, 1 if self.direction == "horizontal" else 0, dst=out)
        return sample.replace(**{self.image: out})


@stage("pad")
@dataclass(frozen=True, kw_only=True, slots=True)
class Pad:
    """Put pixels around an image.

    Args:
        padding: Pixels: one number for all sides, (left and right, top and bottom), or (left, top, right, bottom).
        fill: Value of the new pixels for ``constant``: one, or one per channel.
        mode: ``constant``; ``edge`` repeats the outermost pixel, ``reflect`` mirrors at its centre, ``symmetric`` at
            its outer side.
        image: Name of the image, which the result replaces.

    Shape:
        Input uint8 (height, width, 1 to 4); output (top + height + bottom, left + width + right, channels).

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels, or too few to be mirrored.

    Reference:
        ``torchvision.transforms.v2.Pad``, equal.
    """

    draws: ClassVar[bool] = False
    padding: Padding
    fill: Fill = 0.0
    mode: PaddingMode = "constant"
    image: str = "image"

    def __post_init__(self) -> None:
        _check_padding("pad", self.padding, self.fill, self.mode)

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("pad", specs, self.image, _CHANNELS)
        check_fill("pad", self.fill, spec.shape[-1])
        left, top, right, bottom = sides(self.padding)
        height, width, channels = spec.shape
        shape = (height and height + top + bottom, width and width + left + right, channels)
        return specs | {self.image: ArraySpec(shape, spec.dtype, "HWC")}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("pad", sample, self.image)
        left, top, right, bottom = sides(self.padding)
        height, width, channels = image.shape
        out = sample.destination(self.image, (height + top + bottom, width + left + right, channels), np.uint8)
        return sample.replace(**{self.image: padded("pad", image, sides(self.padding), self.fill, self.mode, out)})


@stage("center_crop")
@dataclass(frozen=True, kw_only=True, slots=True)
class CenterCrop:
    """Cut out the middle of an image; a smaller image first gets black pixels around it.

    Args:
        size: Height and width of the result in pixels.
        image: Name of the image, which the result replaces.

    Shape:
        Input uint8 (height, width, 1 to 4); output (*size, channels).

    Raises:
        ConfigError: ``size`` is none, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.CenterCrop``, equal.
    """

    draws: ClassVar[bool] = False
    size: tuple[int, int]
    image: str = "image"

    def __post_init__(self) -> None:
        check_size("center_crop", self.size)

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("center_crop", specs, self.image, _CHANNELS)
        return specs | {self.image: ArraySpec((*self.size, spec.shape[-1]), spec.dtype, "HWC")}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("center_crop", sample, self.image)
        missing = [max(want - have, 0) for want, have in zip(self.size, image.shape[:2], strict=True)]
        if any(missing):
            vertical, horizontal = missing
            around = (horizontal // 2, vertical // 2, (horizontal + 1) // 2, (vertical + 1) // 2)
            image = padded("center_crop", image, around, 0.0, "constant")
        top, left = (round((have - want) / 2) for have, want in zip(image.shape[:2], self.size, strict=True))
        return sample.replace(**{self.image: image[top : top + self.size[0], left : left + self.size[1]]})


@stage("random_crop")
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomCrop:
    """Cut a window of fixed size out of an image, anywhere with equal probability.

    Args:
        size: Height and width of the window in pixels.
        padding: Pixels that are put around the image before, as for ``pad``.
        pad_if_needed: Also pad an image that is smaller than the window, on both sides by all that is missing.
        fill: Value of padded pixels.
        mode: How to pad, as for ``pad``.
        image: Name of the image, which the result replaces.

    Shape:
        Input uint8 (height, width, 1 to 4); output (*size, channels).

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: an image is smaller than the window, or has too few pixels to be mirrored.

    Reference:
        ``torchvision.transforms.v2.RandomCrop``, equal for equal positions.
    """

    size: tuple[int, int]
    padding: Padding = 0
    pad_if_needed: bool = False
    fill: Fill = 0.0
    mode: PaddingMode = "constant"
    image: str = "image"

    def __post_init__(self) -> None:
        check_size("random_crop", self.size)
        _check_padding("random_crop", self.padding, self.fill, self.mode)

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("random_crop", specs, self.image, _CHANNELS)
        check_fill("random_crop", self.fill, spec.shape[-1])
        return specs | {self.image: ArraySpec((*self.size, spec.shape[-1]), spec.dtype, "HWC")}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("random_crop", sample, self.image)
        left, top, right, bottom = sides(self.padding)
        if self.pad_if_needed:
            down = max(self.size[0] - image.shape[0] - top - bottom, 0)
            across = max(self.size[1] - image.shape[1] - left - right, 0)
            left, top, right, bottom = left + across, top + down, right + across, bottom + down
        if left or top or right or bottom:
            image = padded("random_crop", image, (left, top, right, bottom), self.fill, self.mode)
        if image.shape[0] < self.size[0] or image.shape[1] < self.size[1]:
            raise RecordError(
                f"random_crop: expected an image of at least {self.size} pixels, got {image.shape[:2]}; resize it "
                "first, or set padding or pad_if_needed"
            )
        top = int(rng.integers(0, image.shape[0] - self.size[0], endpoint=True))
        left = int(rng.integers(0, image.shape[1] - self.size[1], endpoint=True))
        return sample.replace(**{self.image: image[top : top + self.size[0], left : left + self.size[1]]})


def sides(padding: Padding) -> tuple[int, int, int, int]:
    """Padding as left, top, right, bottom."""
    values = (padding,) if isinstance(padding, int) else tuple(padding)
    left, top, right, bottom = values * (4 // len(values))
    return left, top, right, bottom


def padded(
    name: str, image: Array, around: tuple[int, int, int, int], fill: Fill, mode: PaddingMode, out: Array | None = None
) -> Array:
    """The image with (left, top, right, bottom) pixels around it, in ``out`` or a new array.

    Raises:
        RecordError: the image has too few pixels to be mirrored so far.
    """
    left, top, right, bottom = around
    height, width, channels = image.shape
    least = {"reflect": 1, "symmetric": 0}.get(mode)
    if least is not None and (max(top, bottom) > height - least or max(left, right) > width - least):
        raise RecordError(f"{name}: {mode} cannot put {around} pixels around an image of {(height, width)} pixels")
    if out is None:
        out = np.empty((height + top + bottom, width + left + right, channels), np.uint8)
    cv2.copyMakeBorder(
        image, top, bottom, left, right, _BORDERS[mode], dst=out, value=scalar(fill, channels)
    )  # fmt: skip
    return out


def _check_padding(name: str, padding: Padding, fill: Fill, mode: str) -> None:
    values = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(values) not in (1, 2, 4) or min(values) < 0:
        raise ConfigError(f"{name}: expected padding of 1, 2 or 4 numbers >= 0, got {padding}")
    if mode not in get_args(PaddingMode):
        raise ConfigError(f"{name}: expected mode to be one of {', '.join(get_args(PaddingMode))}, got {mode!r}")
    check_fill(name, fill)
