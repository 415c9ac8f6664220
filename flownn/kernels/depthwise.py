"""Convolution with a few filters for each channel: no sum over channels, so no matrix product.

All arrays are channels-last: windows (n, *out, *kernel_size, C) as `flownn.kernels.windows` gives them, filters
(C, m, *kernel_size) of m for each channel, results (n, *out, C * m). One pass takes all channels along, where a product
per channel would read memory in steps of C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.kernels.channels import channel_dot
from flownn.kernels.windows import kernel_offsets, shifted

__all__ = ["add_depthwise", "correlate_depthwise", "depthwise_filters", "is_depthwise"]


def is_depthwise(filters_shape: Sequence[int]) -> bool:
    """Whether filters (groups, O / groups, *kernel_size, C / groups) are few for each of many channels."""
    groups, filters_per_group, *_, channels_per_group = filters_shape
    return channels_per_group == 1 and groups >= 8 * filters_per_group


def correlate_depthwise(xp: Any, windows: NDArray[Any], filters: NDArray[Any]) -> NDArray[Any]:
    """Every window times the filters of its channel: the result."""
    n = filters.ndim - 2
    out, kernel = "xyz"[:n], "ijk"[:n]
    last = xp.ascontiguousarray(xp.moveaxis(filters, 0, -1))
    products: NDArray[Any] = xp.einsum(f"n{out}{kernel}c,m{kernel}c->n{out}cm", windows, last)
    return products.reshape(*products.shape[:-2], filters.shape[0] * filters.shape[1])


def add_depthwise(
    xp: Any,
    total: NDArray[Any],
    result: NDArray[Any],
    filters: NDArray[Any],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> None:
    """The adjoint: add every element of ``result``, times its filter, to its window of ``total`` (n, *spatial, C)."""
    several = filters.shape[1]
    for offset in kernel_offsets(filters.shape[2:]):
        target = shifted(total, offset, result.shape[1:-1], stride, dilation)
        for which in range(several):
            at: tuple[Any, ...] = (slice(None), which, *offset)
            target += result[..., which::several] * filters[at]


def depthwise_filters(xp: Any, windows: NDArray[Any], result: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The gradient of filters of this shape for that of the result."""
    several = shape[1]
    total: NDArray[Any] = xp.empty(tuple(shape), dtype=result.dtype)
    for offset in kernel_offsets(shape[2:]):
        place: tuple[Any, ...] = (Ellipsis, *offset, slice(None))
        for which in range(several):
            at: tuple[Any, ...] = (slice(None), which, *offset)
            total[at] = channel_dot(xp, windows[place], result[..., which::several])
    return total
