"""The adjoints of 1x1 convolutions: products of matrices whose rows are pixels.

The library's convolutions want filters, and gradients of filters, in a layout of their own, and lose time when image
and gradient come from main memory; a product reads and writes the caller's. The forward convolution is the faster one
there, and stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.onednn.gemm import multiply
from flownn.kernels.onednn.memory import empty_channels_last
from flownn.kernels.onednn.primitives import as_channels_last

__all__ = ["image_gradient", "is_product", "write_filters"]


def is_product(filters: Sequence[int], padding: Sequence[tuple[int, int]]) -> bool:
    """Whether filters (groups, O / groups, C / groups, *kernel_size) of a convolution with this padding are a matrix.

    Those of one row or one column are not: BLAS keeps dozens of sums for a product by a vector.
    """
    groups, out, channels, *kernel_size = filters
    return groups == 1 and out > 1 and channels > 1 and math.prod(kernel_size) == 1 and not any(map(any, padding))


def image_gradient(
    y: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, onto: NDArray[Any] | None
) -> NDArray[Any]:
    """Filters times every pixel of y (N, O, *spatial), plus bias, as an image (N, C, *spatial); stride 1.

    With ``onto``, a channels-last image, it is added to that, which is the result.
    """
    image = empty_channels_last((len(y), weight.shape[1], *y.shape[2:])) if onto is None else onto
    rows = _pixels(image)
    if bias is not None:
        rows[...] = bias if onto is None else rows + bias
    multiply(_pixels(as_channels_last(y)), _matrix(weight), rows, add=onto is not None or bias is not None)
    return image


def write_filters(y: NDArray[Any], x: NDArray[Any], stride: Sequence[int], filters: NDArray[Any]) -> None:
    """Write the gradient of filters (O, C, *ones) for that of the result, y (N, O, *out), and the image x."""
    steps: tuple[Any, ...] = (..., *(slice(None, None, step) for step in stride))
    read = x[steps]
    multiply(_pixels(as_channels_last(y)).T, _pixels(as_channels_last(read)), _matrix(filters))


def _pixels(image: NDArray[Any]) -> NDArray[Any]:
    """View a channels-last image (N, C, *spatial) as rows (N * pixels, C)."""
    rows = np.moveaxis(image, 1, -1).view()
    rows.shape = (-1, image.shape[1])  # never a copy, unlike reshape
    return rows


def _matrix(filters: NDArray[Any]) -> NDArray[Any]:
    """View filters (O, C, *ones) as (O, C), whatever their strides."""
    first: tuple[Any, ...] = (slice(None), slice(None), *[0] * (filters.ndim - 2))
    matrix: NDArray[Any] = filters[first]
    return matrix
