"""Which window of an image a random crop takes: a pure function of sizes and a random stream."""

from __future__ import annotations

import math
import struct
from functools import lru_cache

import numpy as np

_FLOAT32 = struct.Struct("f")


def random_crop_window(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect_ratio: tuple[float, float] = (0.75, 1.333333),
    num_attempts: int = 10,
) -> tuple[int, int, int, int]:
    """Draw a window of random area, log-uniform aspect ratio and uniform position.

    All arithmetic is rounded to float32 after each step, so that the windows are the reference's.

    Args:
        rng: Drawn from in this order: area then aspect ratio for each attempt, then top, then left.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        area: Smallest and largest share of the image's area.
        aspect_ratio: Smallest and largest width over height.
        num_attempts: Draws of a size before the largest window that fits is taken.

    Returns:
        Top, left, height and width in pixels.

    Reference:
        ``oneflow/user/image/random_crop_generator.cpp``. Unlike torchvision's, the fallback window has a random
        position too.
    """
    crop_height, crop_width = _crop_size(rng, height, width, area, aspect_ratio, num_attempts)
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    return top, left, crop_height, crop_width


def _single(value: float) -> float:
    """Round to float32; +, -, *, / and sqrt in float64, rounded once more, are exactly the float32 operations."""
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]  # twice as fast as by NumPy
    return rounded


def _crop_size(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect_ratio: tuple[float, float],
    num_attempts: int,
) -> tuple[int, int]:
    (low_area, high_area), (low_ratio, high_ratio), (log_low, log_high) = _limits(tuple(area), tuple(aspect_ratio))
    max_width = max(1, int(_single(height * high_ratio)))
    max_height = max(1, int(_single(width / low_ratio)))
    min_area = _single(_single(width * height) * low_area)
    if _single(height * max_width) < min_area:  # too wide
        return height, max_width
    if _single(width * max_height) < min_area:  # too tall
        return max_height, width

    for _ in range(num_attempts):
        share = _uniform(rng, low_area, high_area)
        target = _single(_single(share * height) * width)
        ratio = _single(math.exp(_uniform(rng, log_low, log_high)))
        crop_width = max(1, _round(math.sqrt(_single(target * ratio))))
        crop_height = max(1, _round(math.sqrt(_single(target / ratio))))
        fits = crop_width <= width and crop_height <= height
        if fits and low_ratio <= _single(crop_width / crop_height) <= high_ratio:
            return crop_height, crop_width

    ratio = _single(width / height)
    if ratio > high_ratio:
        crop_height, crop_width = height, max_width
    elif ratio < low_ratio:
        crop_height, crop_width = max_height, width
    else:
        crop_height, crop_width = height, width
    max_area = _single(_single(high_area * width) * height)
    shrink = _single(math.sqrt(min(1.0, _single(max_area / _single(crop_height * crop_width)))))
    return max(1, int(_single(crop_height * shrink))), max(1, int(_single(crop_width * shrink)))


@lru_cache
def _limits(area: tuple[float, float], aspect_ratio: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Limits of area, of aspect ratio and of its logarithm."""
    ratio = _pair(*aspect_ratio)
    return _pair(*area), ratio, _pair(*map(math.log, ratio))


def _pair(low: float, high: float) -> tuple[float, float]:
    return _single(low), _single(high)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return _single(low + _single(_single(high - low) * float(rng.random(dtype=np.float32))))


def _round(value: float) -> int:
    """A positive float32 value to the nearest integer, halves away from zero."""
    return math.floor(_single(value) + 0.5)
