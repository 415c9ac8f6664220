"""1x1 convolutions as products of matrices whose rows are pixels.

The library's convolutions want filters, and gradients of filters, in a layout of their own, and lose time when image
and gradient come from main memory; a product reads and writes the caller's. Forward the convolution is the faster one,
unless the image is so small that arranging the filters takes the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.kernels.onednn.gemm import multiply
from flownn.kernels.onednn.memory import empty_channels_last
from flownn.kernels.onednn.primitives import as_channels_last

__all__ = ["is_product", "map_pixels", "matrix_of", "write_filters"]


def is_product(filters: Sequence[int], padding: Sequence[tuple[int, int]]) -> bool:
    """Whether filters (groups, O / groups, C / groups, *kernel_size) of a convolution with this padding are a matrix.

    Those of one row or one column are not: BLAS keeps dozens of sums for a product by a vector.
    """
    groups, out, channels, *kernel_size = filters
    return groups == 1 and out > 1 and channels > 1 and math.prod(kernel_size) == 1 and not any(map(any, padding))


def map_pixels(
    image: NDArray[Any],
    matrix: NDArray[Any],
    bias: NDArray[Any] | None,
    stride: Sequence[int] | None = None,
    onto: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Every pixel of an image (N, I, *spatial), or those that a stride finds, times ``matrix`` (I, J), plus bias.

    The result (N, J, *spatial) is channels-last. With ``onto``, such an image, it is added to that, and that is given.
    """
    read = as_channels_last(image if stride is None else _every(image, stride))
    result = empty_channels_last((len(read), matrix.shape[1], *read.shape[2:])) if onto is None else onto
    rows = _pixels(result)
    if bias is not None:
        rows[...] = bias if onto is None else rows + bias
    multiply(_pixels(read), matrix, rows, add=onto is not None or bias is not None)
    return result


def write_filters(y: NDArray[Any], x: NDArray[Any], stride: Sequence[int], filters: NDArray[Any]) -> None:
    """Write the gradient of filters (O, C, *ones) for that of the result, y (N, O, *out), and the image x."""
    read = as_channels_last(_every(x, stride))
    multiply(_pixels(as_channels_last(y)).T, _pixels(read), matrix_of(filters))


def _every(image: NDArray[Any], stride: Sequence[int]) -> NDArray[Any]:
    """The pixels that windows of one pixel read."""
    steps: tuple[Any, ...] = (..., *(slice(None, None, step) for step in stride))
    read: NDArray[Any] = image[steps]
    return read


def _pixels(image: NDArray[Any]) -> NDArray[Any]:
    """View an image (N, C, *spatial) whose memory is channels-last as rows (N * pixels, C)."""
    return image.transpose(0, *range(2, image.ndim), 1).reshape(-1, image.shape[1])


def matrix_of(filters: NDArray[Any]) -> NDArray[Any]:
    """View filters (O, C, *ones) as (O, C), whatever their strides."""
    first: tuple[Any, ...] = (slice(None), slice(None), *[0] * (filters.ndim - 2))
    matrix: NDArray[Any] = filters[first]
    return matrix
