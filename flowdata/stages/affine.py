"""Rotation, shift, scale and shear of images, by random amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Sample, Specs
from flowdata.stages import stage
from flowdata.stages.arguments import Fill, Range, bounds, changed, check_fill, image_of, image_spec, scalar, uniform
from flowdata.stages.pixels import WarpInterpolation, affine_matrix, warp


@stage("affine")
@dataclass(frozen=True, kw_only=True, slots=True)
class Affine:
    """Rotate, shift, scale and shear an image by random amounts; it keeps its size.

    Args:
        degrees: Range of the angle, clockwise; one number ``v`` means -v to v. The same for ``shear``.
        translate: Largest shift to the sides and up or down, as part of width and height, each 0 to 1.
        scale: Range of the factor of enlargement, above 0.
        shear: Range of the angle of shear along x in degrees; four numbers: along x, then along y.
        interpolation: ``nearest`` or ``bilinear``.
        fill: Value of what comes from outside of the image, one or one per channel.
        center: Point (x, y) in pixels from the top left corner that rotation and scale leave alone; the middle.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomAffine``; how near is said at :func:`flowdata.stages.pixels.warp`.
    """

    degrees: Range
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: Range | tuple[float, float, float, float] = 0.0
    interpolation: WarpInterpolation = "nearest"
    fill: Fill = 0.0
    center: tuple[float, float] | None = None
    image: str = "image"

    def __post_init__(self) -> None:
        _angles("affine", "degrees", self.degrees)
        self._shears()
        if len(self.translate) != 2 or not all(0 <= each <= 1 for each in self.translate):
            raise ConfigError(f"affine: expected translate as two numbers from 0 to 1, got {self.translate}")
        if bounds("affine", "scale", self.scale, 1.0, 0.0, float("inf"))[0] == 0:
            raise ConfigError(f"affine: expected scale > 0, got {self.scale}")
        _check("affine", self.interpolation, self.fill)

    def _shears(self) -> list[tuple[float, float]]:
        both: list[Range] = [self.shear, 0.0]  # type: ignore[list-item]  # unless there are four
        if isinstance(self.shear, (tuple, list)) and len(self.shear) == 4:
            both = [self.shear[:2], self.shear[2:]]
        return [_angles("affine", "shear", each) for each in both]

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("affine", specs, self.image)
        check_fill("affine", self.fill, spec.shape[-1])
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width, channels = image_of("affine", sample, self.image).shape
        angle = uniform(rng, _angles("affine", "degrees", self.degrees))
        most = (self.translate[0] * width, self.translate[1] * height)
        shift = [round(uniform(rng, (-each, each))) for each in most]
        scale = uniform(rng, self.scale)
        shear = [uniform(rng, ends) for ends in self._shears()]
        matrix = affine_matrix(angle, shift, scale, shear, _from_middle(self.center, height, width))
        fill = scalar(self.fill, channels)
        return changed(
            "affine", sample, self.image, lambda image, out: warp(image, matrix, out, self.interpolation, fill)
        )


@stage("rotate")
@dataclass(frozen=True, kw_only=True, slots=True)
class Rotate:
    """Rotate an image by a random angle; it keeps its size.

    Args:
        degrees: Range of the angle, counter-clockwise; one number ``v`` means -v to v.
        interpolation: ``nearest`` or ``bilinear``.
        fill: Value of what comes from outside of the image, one or one per channel.
        center: Point (x, y) in pixels from the top left corner to rotate about; the middle by default.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        ``torchvision.transforms.v2.RandomRotation`` without ``expand``; how near is said at
        :func:`flowdata.stages.pixels.warp`.
    """

    degrees: Range
    interpolation: WarpInterpolation = "nearest"
    fill: Fill = 0.0
    center: tuple[float, float] | None = None
    image: str = "image"

    def __post_init__(self) -> None:
        _angles("rotate", "degrees", self.degrees)
        _check("rotate", self.interpolation, self.fill)

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("rotate", specs, self.image)
        check_fill("rotate", self.fill, spec.shape[-1])
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width, channels = image_of("rotate", sample, self.image).shape
        angle = uniform(rng, _angles("rotate", "degrees", self.degrees))
        matrix = affine_matrix(-angle, centre=_from_middle(self.center, height, width))
        fill = scalar(self.fill, channels)
        return changed(
            "rotate", sample, self.image, lambda image, out: warp(image, matrix, out, self.interpolation, fill)
        )


def _angles(stage: str, argument: str, value: Range) -> tuple[float, float]:
    both = value if isinstance(value, (tuple, list)) else (-value, value)
    return bounds(stage, argument, both, 0.0, -float("inf"), float("inf"))


def _check(stage: str, interpolation: str, fill: Fill) -> None:
    if interpolation not in get_args(WarpInterpolation):
        raise ConfigError(f"{stage}: expected interpolation to be nearest or bilinear, got {interpolation!r}")
    check_fill(stage, fill)


def _from_middle(point: tuple[float, float] | None, height: int, width: int) -> tuple[float, float]:
    return (0.0, 0.0) if point is None else (point[0] - width / 2, point[1] - height / 2)
