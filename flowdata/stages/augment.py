"""Random sequences of the simple changes: RandAugment and TrivialAugment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Array, Sample, Specs
from flowdata.stages import pixels, stage
from flowdata.stages.arguments import Fill, check_fill, image_of, image_spec, scalar
from flowdata.stages.pixels import WarpInterpolation


@dataclass(frozen=True, slots=True)
class Change:
    """What may happen to an image, and how far it goes.

    Args:
        apply: ``(image, magnitude, out, interpolation, fill) -> changed image``, in ``out`` or the image itself.
        magnitude: Magnitude from strength 0 … 1, height and width; None where there is none.
        signed: Whether the magnitude is negated in half of the cases.
    """

    apply: Callable[[Array, float, Array, WarpInterpolation, tuple[float, ...]], Array]
    magnitude: Callable[[float, int, int], float] | None = None
    signed: bool = False


def _warped(matrix: Callable[[Array, float], Array]) -> Callable[..., Array]:
    return lambda image, magnitude, out, interpolation, fill: pixels.warp(
        image, matrix(image, magnitude), out, interpolation, fill
    )


def _sheared(image: Array, magnitude: float, axis: int) -> Array:
    angle = math.degrees(math.atan(magnitude))
    corner = (-image.shape[1] / 2, -image.shape[0] / 2)  # stays where it is
    return pixels.affine_matrix(0, shear=(angle, 0) if axis == 0 else (0, angle), centre=corner)


def _blended(change: Callable[[Array, float, Array], Array]) -> Callable[..., Array]:
    return lambda image, magnitude, out, interpolation, fill: change(image, 1 + magnitude, out)


def _linear(most: float) -> Callable[[float, int, int], float]:
    return lambda strength, height, width: most * strength


def _changes(
    *,
    shear: float,
    shift: tuple[Callable[[float, int, int], float], Callable[[float, int, int], float]],
    angle: float,
    blend: float,
    lost_bits: int,
) -> dict[str, Change]:
    """The changes that both methods draw from, in the order of the reference."""
    return {
        "identity": Change(lambda image, *_: image),
        "shear_x": Change(_warped(lambda image, value: _sheared(image, value, 0)), _linear(shear), True),
        "shear_y": Change(_warped(lambda image, value: _sheared(image, value, 1)), _linear(shear), True),
        "translate_x": Change(_warped(lambda image, value: pixels.affine_matrix(0, (int(value), 0))), shift[0], True),
        "translate_y": Change(_warped(lambda image, value: pixels.affine_matrix(0, (0, int(value)))), shift[1], True),
        "rotate": Change(_warped(lambda image, value: pixels.affine_matrix(-value)), _linear(angle), True),
        "brightness": Change(_blended(pixels.brightness), _linear(blend), True),
        "color": Change(_blended(pixels.saturation), _linear(blend), True),
        "contrast": Change(_blended(pixels.contrast), _linear(blend), True),
        "sharpness": Change(_blended(pixels.sharpness), _linear(blend), True),
        "posterize": Change(
            lambda image, magnitude, out, *_: pixels.posterize(image, int(magnitude), out),
            lambda strength, height, width: round(8 - lost_bits * strength),
        ),
        "solarize": Change(
            lambda image, magnitude, out, *_: pixels.solarize(image, magnitude, out),
            lambda strength, height, width: 255 * (1 - strength),
        ),
        "autocontrast": Change(lambda image, magnitude, out, *_: pixels.autocontrast(image, out)),
        "equalize": Change(lambda image, magnitude, out, *_: pixels.equalize(image, out)),
    }


RAND_AUGMENT = _changes(
    shear=0.3,
    shift=(
        lambda strength, height, width: 150 / 331 * width * strength,
        lambda strength, height, width: 150 / 331 * height * strength,
    ),
    angle=30,
    blend=0.9,
    lost_bits=4,
)
TRIVIAL_AUGMENT_WIDE = _changes(shear=0.99, shift=(_linear(32), _linear(32)), angle=135, blend=0.99, lost_bits=6)


@stage("rand_augment")
@dataclass(frozen=True, kw_only=True, slots=True)
class RandAugment:
    """Apply some changes, drawn with replacement from fourteen, all of one strength.

    Args:
        num_ops: How many.
        magnitude: Strength, from 0 to ``num_magnitude_bins - 1``.
        num_magnitude_bins: Number of strengths.
        interpolation: ``nearest`` or ``bilinear``, for rotation, shear and shift.
        fill: Value of what comes from outside of the image, one or one per channel.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 RGB or gray (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        Cubuk et al., "RandAugment", 2019; ``torchvision.transforms.v2.RandAugment``: for equal draws as near to it as
        :mod:`flowdata.stages.pixels` says of each change.
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: WarpInterpolation = "nearest"
    fill: Fill = 0.0
    image: str = "image"

    def __post_init__(self) -> None:
        if self.num_ops < 0:
            raise ConfigError(f"rand_augment: expected num_ops >= 0, got {self.num_ops}")
        _check("rand_augment", self.num_magnitude_bins, self.interpolation, self.fill)
        if not 0 <= self.magnitude < self.num_magnitude_bins:
            raise ConfigError(
                f"rand_augment: expected magnitude from 0 to num_magnitude_bins - 1 = {self.num_magnitude_bins - 1}, "
                f"got {self.magnitude}"
            )

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("rand_augment", specs, self.image)
        check_fill("rand_augment", self.fill, spec.shape[-1])
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("rand_augment", sample, self.image)
        fill = scalar(self.fill, image.shape[2])
        strength = self.magnitude / (self.num_magnitude_bins - 1)
        for number in range(self.num_ops):
            last = number == self.num_ops - 1
            out = sample.destination(self.image, image.shape, np.uint8) if last else np.empty(image.shape, np.uint8)
            image = _apply(RAND_AUGMENT, image, lambda: strength, rng, out, self.interpolation, fill)
        return sample.replace(**{self.image: image})


@stage("trivial_augment")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrivialAugment:
    """Apply one change, drawn from fourteen, of random strength, which may be strong.

    Args:
        num_magnitude_bins: Number of strengths.
        interpolation: ``nearest`` or ``bilinear``, for rotation, shear and shift.
        fill: Value of what comes from outside of the image, one or one per channel.
        image: Name of the image, which the result replaces.

    Shape:
        uint8 RGB or gray (height, width, 1 or 3), unchanged.

    Raises:
        ConfigError: an argument is out of range, or the image is of another dtype or layout.
        RecordError: the image has no pixels.

    Reference:
        Müller and Hutter, "TrivialAugment", 2021, wide space; ``torchvision.transforms.v2.TrivialAugmentWide``: for
        equal draws as near to it as :mod:`flowdata.stages.pixels` says of each change.
    """

    num_magnitude_bins: int = 31
    interpolation: WarpInterpolation = "nearest"
    fill: Fill = 0.0
    image: str = "image"

    def __post_init__(self) -> None:
        _check("trivial_augment", self.num_magnitude_bins, self.interpolation, self.fill)

    def output_spec(self, specs: Specs) -> Specs:
        spec = image_spec("trivial_augment", specs, self.image)
        check_fill("trivial_augment", self.fill, spec.shape[-1])
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = image_of("trivial_augment", sample, self.image)
        bins, fill = self.num_magnitude_bins, scalar(self.fill, image.shape[2])
        out = sample.destination(self.image, image.shape, np.uint8)
        changed = _apply(
            TRIVIAL_AUGMENT_WIDE,
            image,
            lambda: int(rng.integers(bins)) / (bins - 1),
            rng,
            out,
            self.interpolation,
            fill,
        )
        return sample.replace(**{self.image: changed})


def _check(name: str, bins: int, interpolation: str, fill: Fill) -> None:
    if bins < 2:
        raise ConfigError(f"{name}: expected num_magnitude_bins >= 2, got {bins}")
    if interpolation not in get_args(WarpInterpolation):
        raise ConfigError(f"{name}: expected interpolation to be nearest or bilinear, got {interpolation!r}")
    check_fill(name, fill)


def _apply(
    changes: Mapping[str, Change],
    image: Array,
    strength: Callable[[], float],
    rng: np.random.Generator,
    out: Array,
    interpolation: WarpInterpolation,
    fill: tuple[float, ...],
) -> Array:
    """Draw, in this order: which change, how strong, and whether to negate it."""
    change = list(changes.values())[int(rng.integers(len(changes)))]
    magnitude = 0.0
    if change.magnitude is not None:
        magnitude = change.magnitude(strength(), *image.shape[:2])
        if change.signed and rng.random() < 0.5:
            magnitude = -magnitude
    return change.apply(image, magnitude, out, interpolation, fill)
