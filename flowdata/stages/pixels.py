"""What augmentation does to uint8 images (height, width, 1 or 3 channels): pure functions, fast and without a draw.

Each function writes into ``out``, which does not overlap the image, and returns it. "Within n of torchvision" says by
how much a value may differ from ``torchvision.transforms.v2.functional`` on uint8 tensors; the cause is where a sum is
rounded. Colours are RGB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from flowdata.sample import Array

WarpInterpolation = Literal["nearest", "bilinear"]

_LEVELS = np.arange(256, dtype=np.float32)
# The sum is exact to four decimals, so this offset makes the rounding to nearest a rounding down.
_GRAY = np.array([[0.2989, 0.587, 0.114, -0.49995]], np.float32)
_FLOOR = -0.498  # the same for weights of any number of decimals, which may be one off where a sum is nearly whole
_SHARPNESS = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


# -- by table: each level becomes another ----------------------------------------------------------------------------


def brightness(image: Array, factor: float, out: Array) -> Array:
    """Multiply by ``factor``. Equal to torchvision."""
    return _by_table(image, _LEVELS * np.float32(factor), out)


def contrast(image: Array, factor: float, out: Array) -> Array:
    """Blend with the mean gray by ``factor``: 0 is gray, 1 the image. Within 1 of torchvision."""
    mean = cv2.mean(gray(image))[0]
    return _by_table(image, _LEVELS * np.float32(factor) + np.float32(mean) * np.float32(1 - factor), out)


def posterize(image: Array, bits: int, out: Array) -> Array:
    """Keep the ``bits`` highest bits, 0 to 8. Equal to torchvision."""
    return np.bitwise_and(image, np.uint8(256 - (1 << (8 - bits))), out=out)


def solarize(image: Array, threshold: float, out: Array) -> Array:
    """Invert what is at least ``threshold``, 0 to 255. Equal to torchvision."""
    return _by_table(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS), out)


def autocontrast(image: Array, out: Array) -> Array:
    """Stretch each channel to 0 … 255. Equal to torchvision."""
    columns = [cv2.reduce(image, 0, each).reshape(-1, image.shape[2]) for each in (cv2.REDUCE_MIN, cv2.REDUCE_MAX)]
    minimum, maximum = columns[0].min(axis=0).astype(np.float32), columns[1].max(axis=0).astype(np.float32)
    flat = minimum == maximum
    minimum[flat] = 0
    scale = np.where(flat, np.float32(1), (maximum - minimum) * np.float32(1 / 255))
    return _by_table(image, (_LEVELS[:, np.newaxis] - minimum) / scale, out)


def equalize(image: Array, out: Array) -> Array:
    """Make the levels of each channel equally frequent. Equal to torchvision and Pillow."""
    tables = np.empty((256, image.shape[2]), np.float32)
    for channel in range(image.shape[2]):
        counts = np.bincount(image[..., channel].ravel(), minlength=256)
        below = np.cumsum(counts) - counts
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        tables[:, channel] = _LEVELS if step == 0 else (below + step // 2) // step
    return _by_table(image, tables, out)


def _by_table(image: Array, table: NDArray[np.float32], out: Array) -> Array:
    """``table[image]``, rounded down; one column for all channels or one for each."""
    levels = np.clip(table, 0, 255).astype(np.uint8)
    cv2.LUT(image, levels.reshape(1, 256, -1), dst=out)
    return out


# -- by channel ------------------------------------------------------------------------------------------------------


def gray(image: Array) -> Array:
    """Luminance (height, width), rounded down. Equal to torchvision but for 3 of 2^24 colours, which differ by 1."""
    return image[..., 0] if image.shape[2] == 1 else np.asarray(cv2.transform(image, _GRAY))


def saturation(image: Array, factor: float, out: Array) -> Array:
    """Blend with the gray image by ``factor``: 0 is gray, 1 the image. Within 1 of torchvision."""
    if image.shape[2] == 1:
        out[...] = image
        return out
    level = gray(image)
    cv2.addWeighted(image, factor, cv2.merge([level, level, level]), 1 - factor, _FLOOR, dst=out)
    return out


def hue(image: Array, turn: float, out: Array) -> Array:
    """Turn the hue by ``turn``, -0.5 to 0.5 of the colour circle. Within 1 of torchvision."""
    if image.shape[2] == 1:
        out[...] = image
        return out
    parts = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV)
    parts[..., 0] = np.mod(parts[..., 0] + np.float32(turn % 1 * 360), np.float32(360))
    cv2.convertScaleAbs(cv2.cvtColor(parts, cv2.COLOR_HSV2RGB), dst=out, alpha=255.999, beta=_FLOOR)
    return out


# -- by neighbourhood ------------------------------------------------------------------------------------------------


def sharpness(image: Array, factor: float, out: Array) -> Array:
    """Blend with a smoothed image by ``factor``: 0 is smooth, 1 the image; the edge stays. Within 1 of torchvision."""
    if min(image.shape[:2]) <= 2:
        out[...] = image
        return out
    smooth = cv2.filter2D(image, -1, _SHARPNESS).reshape(image.shape)
    cv2.addWeighted(image, factor, smooth, 1 - factor, _FLOOR, dst=out)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        out[edge] = image[edge]
    return out


def blur(image: Array, kernel_size: tuple[int, int], sigma: float, out: Array) -> Array:
    """Weighted mean with Gaussian weights over ``kernel_size`` (height, width) pixels, reflected at the edge.

    Within 1 of torchvision.
    """
    rows, columns = (cv2.getGaussianKernel(size, sigma, cv2.CV_32F) for size in kernel_size)
    smooth = cv2.sepFilter2D(image, cv2.CV_32F, columns, rows, borderType=cv2.BORDER_REFLECT_101)
    cv2.convertScaleAbs(smooth, dst=out)
    return out


# -- by place --------------------------------------------------------------------------------------------------------


def affine_matrix(
    angle: float,
    translate: Sequence[float] = (0, 0),
    scale: float = 1,
    shear: Sequence[float] = (0, 0),
    centre: Sequence[float] = (0, 0),
) -> NDArray[np.float64]:
    """The 2 x 3 matrix from a place in the result to the place in the image that it shows, both from the middle.

    Args:
        angle: Degrees, clockwise.
        translate: Pixels to the right and downwards.
        scale: Factor of enlargement.
        shear: Degrees, along x and y.
        centre: Point that rotation, scale and shear leave where it is: pixels right of and below the middle.
    """
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    across = math.cos(turn - shear_y) / math.cos(shear_y)
    down = math.sin(turn - shear_y) / math.cos(shear_y)
    forward = scale * np.array([
        [across, -across * math.tan(shear_x) - math.sin(turn)],
        [down, -down * math.tan(shear_x) + math.cos(turn)],
    ])  # fmt: skip
    back = np.linalg.inv(forward)
    offset = np.asarray(centre) - back @ (np.asarray(centre) + np.asarray(translate))
    return np.column_stack([back, offset])


def warp(
    image: Array,
    matrix: NDArray[np.float64],
    out: Array,
    interpolation: WarpInterpolation = "nearest",
    fill: tuple[float, ...] = (0,),
) -> Array:
    """Show at each place what the matrix of :func:`affine_matrix` points at; ``fill`` outside of the image.

    Nearest: equal to torchvision but where a place is half-way between pixels to the last digit of float32. Bilinear:
    within 1 of torchvision where all four pixels lie inside (OpenCV 4: where the image is smooth, it rounds places to
    1/32 pixel). At the rim torchvision, if given a fill, counts the share of the image twice; here it is a plain blend.
    """
    height, width = image.shape[:2]
    x = np.arange(width) - (width - 1) / 2
    y = np.arange(height)[:, np.newaxis] - (height - 1) / 2
    across, down = (
        (row[0] * x + (row[1] * y + row[2] + (extent - 1) / 2)).astype(np.float32)
        for row, extent in zip(matrix, (width, height), strict=True)
    )
    method = cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR
    cv2.remap(image, across, down, method, dst=out, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return out
