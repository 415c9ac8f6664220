"""What the arguments of image stages have in common: ranges, fills, and the images that a stage takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs

Range = float | tuple[float, float]
Fill = float | tuple[float, ...]


def image_spec(
    stage: str, specs: Specs, name: str, channels: tuple[int, ...] = (1, 3), dtypes: tuple[DTypeLike, ...] = (np.uint8,)
) -> ArraySpec:
    """The spec of the image that a stage takes.

    Raises:
        ConfigError: it is no (height, width, channels) image of one of these dtypes and numbers of channels.
    """
    spec = specs[name]
    if spec.layout != "HWC" or spec.dtype not in dtypes or spec.shape[-1] not in channels:
        kinds = " or ".join(np.dtype(each).name for each in dtypes)
        raise ConfigError(
            f"{stage}: expected image: {name!r} to be {kinds} HWC with {' or '.join(map(str, channels))} channels, "
            f"got {spec}"
        )
    return spec


def image_of(stage: str, sample: Sample, name: str) -> Array:
    """The image of a sample.

    Raises:
        RecordError: it has no pixels.
    """
    image: Array = sample[name]
    if not image.size:
        raise RecordError(f"{stage}: expected {name!r} to have pixels, got shape {image.shape}")
    return image


def changed(stage: str, sample: Sample, name: str, change: Callable[[Array, Array], Array]) -> Sample:
    """The sample with ``change(image, out)`` in place of its image; ``out`` has the image's shape and dtype."""
    image = image_of(stage, sample, name)
    return sample.replace(**{name: change(image, sample.destination(name, image.shape, image.dtype))})


def check_probability(stage: str, probability: float) -> None:
    """Raise :class:`ConfigError` for a probability that is none."""
    if not 0 <= probability <= 1:
        raise ConfigError(f"{stage}: expected probability from 0 to 1, got {probability}")


def check_size(stage: str, size: tuple[int, ...]) -> None:
    """Raise :class:`ConfigError` for a size that is not (height, width) in pixels."""
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"{stage}: expected size as (height, width) >= 1, got {size}")


def bounds(stage: str, argument: str, value: Range, centre: float, low: float, high: float) -> tuple[float, float]:
    """Ends of a range, of which one number ``v`` means ``centre - v`` to ``centre + v``, as far as ``low`` allows.

    Raises:
        ConfigError: the number is negative, or the range leaves ``low`` to ``high``.
    """
    if isinstance(value, (tuple, list)):
        ends = tuple(value)
    else:
        ends = (max(centre - value, low), centre + value) if value >= 0 else ()
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high or not math.isfinite(ends[1] - ends[0]):
        raise ConfigError(
            f"{stage}: expected {argument} as a number >= 0 or as two ascending numbers from {low} to {high}, "
            f"got {value}"
        )
    return ends


def check_fill(stage: str, fill: Fill, channels: int | None = None, argument: str = "fill") -> None:
    """Raise :class:`ConfigError` unless the fill is one or ``channels`` values from 0 to 255."""
    values = fill_values(fill)
    if not values or not all(0 <= each <= 255 for each in values):
        raise ConfigError(f"{stage}: expected {argument} as one number or one per channel, 0 to 255, got {fill}")
    if channels is not None and len(values) not in (1, channels):
        raise ConfigError(f"{stage}: expected {argument} of 1 or {channels} values, got {len(values)}")


def fill_values(fill: Fill) -> tuple[float, ...]:
    """The fill as a tuple."""
    return tuple(fill) if isinstance(fill, (tuple, list)) else (fill,)


def scalar(fill: Fill, channels: int) -> tuple[float, ...]:
    """The fill as the library wants it: one value per channel."""
    values = fill_values(fill)
    return values if len(values) == channels else values * channels


def uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A number between two ends."""
    return float(rng.uniform(*ends))
