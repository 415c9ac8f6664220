"""Convolution over n spatial dims: windows laid out as a matrix, times the filters.

The matrix has one row per output position and columns in the order (*kernel_size, channel), so a channels-last
input is copied in runs of ``kernel_size[-1] * channels`` numbers, the product comes out channels-last, and a 1x1
convolution needs no copy at all. Samples are taken in blocks that bound the size of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import channel_sum, compute_dtype
from flownn.kernels.windows import add_windows, output_size, windows

__all__ = ["check_input", "conv"]

# Large enough for the product to run at full speed, small enough to stay near the last-level cache.
_BLOCK_BYTES = 8 << 20

Padding = Sequence[tuple[int, int]]


@op
def conv(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None = None,
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """Cross-correlate x (N, C, *spatial) with weight (O, C / groups, *kernel_size) and add bias (O,).

    ``padding`` holds the zeros (before, after) of each spatial dim. Products are summed in float32 or wider. The
    result has the channels-last memory layout.

    Raises:
        ShapeError: numbers of dims or channels do not fit, or the padded input is smaller than the kernel.
        DtypeError: input and weight have different types, or not a floating point one.
    """
    _check_shapes(x, weight, bias, padding, dilation, groups)
    dtype = compute_dtype(f"Conv{weight.ndim - 2}d", x.dtype)
    image = xp.moveaxis(x, 1, -1)
    filters = xp.moveaxis(weight, 1, -1).reshape(groups, -1, *weight.shape[2:], weight.shape[1])
    filters = filters.astype(dtype, copy=False)
    result = _correlate(xp, image, filters, stride, padding, dilation)
    if bias is not None:
        result += bias
    y = xp.moveaxis(result, -1, 1).astype(x.dtype, copy=False)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.moveaxis(g, 1, -1).astype(dtype, copy=False)

        def grad_x() -> Any:
            back = _grad_image(xp, grad, filters, image.shape, stride, padding, dilation)
            return xp.moveaxis(back, -1, 1).astype(x.dtype, copy=False)

        def grad_weight() -> Any:
            back = _grad_filters(xp, grad, image, filters.shape, stride, padding, dilation)
            back = xp.moveaxis(back.reshape(weight.shape[0], *filters.shape[2:]), -1, 1)
            return xp.ascontiguousarray(back).astype(weight.dtype, copy=False)

        return grad_x, grad_weight, lambda: channel_sum(xp, grad).astype(weight.dtype)

    return y, vjp


def _correlate(
    xp: Any,
    image: NDArray[Any],
    filters: NDArray[Any],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> NDArray[Any]:
    """Image (N, *spatial, C) with filters (groups, O / groups, *kernel_size, C / groups): (N, *out, O), dense."""
    groups, filters_per_group = filters.shape[:2]
    out = _output_shape(image.shape[1:-1], filters.shape[2:-1], stride, padding, dilation)
    result: NDArray[Any] = xp.empty((image.shape[0], *out, groups * filters_per_group), dtype=filters.dtype)
    matrices = filters.reshape(groups, filters_per_group, -1)
    for block, window_view in _window_blocks(xp, image, filters.shape, stride, padding, dilation):
        rows = result[block].reshape(-1, result.shape[-1])
        for group in range(groups):
            target = rows[:, group * filters_per_group : (group + 1) * filters_per_group]
            xp.matmul(_matrix(window_view, group, filters), matrices[group].T, out=target)
    return result


def _grad_filters(
    xp: Any,
    grad: NDArray[Any],
    image: NDArray[Any],
    shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> NDArray[Any]:
    """Gradient of the filters (``shape``) for the gradient (N, *out, O) of the result."""
    groups, filters_per_group = shape[:2]
    total: NDArray[Any] = xp.zeros(shape, dtype=grad.dtype)
    matrices = total.reshape(groups, filters_per_group, -1)
    for block, window_view in _window_blocks(xp, image, shape, stride, padding, dilation):
        rows = grad[block].reshape(-1, grad.shape[-1])
        for group in range(groups):
            part = rows[:, group * filters_per_group : (group + 1) * filters_per_group]
            matrices[group] += part.T @ _matrix(window_view, group, total)
    return total


def _grad_image(
    xp: Any,
    grad: NDArray[Any],
    filters: NDArray[Any],
    shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> NDArray[Any]:
    """Gradient of the image (``shape``) for the gradient (N, *out, O) of the result."""
    groups, filters_per_group, *kernel_size, channels_per_group = filters.shape
    reach = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
    opposite = [(r - before, r - after) for r, (before, after) in zip(reach, padding, strict=True)]
    # With stride 1 the gradient is itself a correlation, of grad with the turned filters: gathering windows is
    # cheaper than scattering them, unless there are many more filters than channels.
    gather = math.prod(kernel_size) == 1 or filters_per_group <= 2 * channels_per_group
    if max(stride) == 1 and min(map(min, opposite)) >= 0 and gather:
        turned = xp.flip(filters, axis=tuple(range(2, filters.ndim - 1))).swapaxes(1, -1)
        return _correlate(xp, grad, xp.ascontiguousarray(turned), stride, opposite, dilation)
    padded, inside = _padded_shape(shape[1:-1], padding)
    matrices = filters.reshape(groups, filters_per_group, -1)
    result: NDArray[Any] = xp.empty(shape, dtype=grad.dtype)
    for block in _sample_blocks(shape[0], math.prod(grad.shape[1:-1]) * matrices[0, 0].nbytes):
        rows = grad[block].reshape(-1, grad.shape[-1])
        for group in range(groups):
            part = rows[:, group * filters_per_group : (group + 1) * filters_per_group]
            products = (part @ matrices[group]).reshape(*grad[block].shape[:-1], *kernel_size, channels_per_group)
            sums = add_windows(xp, products, (len(products), *padded, channels_per_group), stride, dilation)
            channels = slice(group * channels_per_group, (group + 1) * channels_per_group)
            result[(block, Ellipsis, channels)] = sums[(slice(None), *inside)]
    return result


def _window_blocks(
    xp: Any,
    image: NDArray[Any],
    filters_shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Blocks of samples, each with the view (n, *out, *kernel_size, C) of its windows."""
    kernel_size = filters_shape[2:-1]
    padded, inside = _padded_shape(image.shape[1:-1], padding)
    positions = math.prod(_output_shape(image.shape[1:-1], kernel_size, stride, padding, dilation))
    for block in _sample_blocks(image.shape[0], positions * math.prod(filters_shape[2:]) * image.dtype.itemsize):
        part = image[block]
        if padded != image.shape[1:-1]:
            part = xp.zeros((part.shape[0], *padded, part.shape[-1]), dtype=part.dtype)
            part[(slice(None), *inside)] = image[block]
        yield block, windows(xp, part, kernel_size, stride, dilation)


def _matrix(window_view: NDArray[Any], group: int, filters: NDArray[Any]) -> NDArray[Any]:
    """One group's windows as rows, in the filters' dtype; without a copy where the memory already is that matrix."""
    channels = filters.shape[-1]
    part = window_view[..., group * channels : (group + 1) * channels]
    return part.reshape(-1, math.prod(filters.shape[2:])).astype(filters.dtype, copy=False)


def _sample_blocks(samples: int, sample_bytes: int) -> Iterator[slice]:
    """Cut the batch so that a block's window matrix stays near ``_BLOCK_BYTES``."""
    step = max(1, _BLOCK_BYTES // max(1, sample_bytes))
    for start in range(0, samples, step):
        yield slice(start, min(samples, start + step))


def _padded_shape(spatial: Sequence[int], padding: Padding) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """The padded sizes, and where the image lies in them."""
    padded = tuple(size + sum(pad) for size, pad in zip(spatial, padding, strict=True))
    return padded, tuple(slice(before, before + size) for size, (before, _) in zip(spatial, padding, strict=True))


def _output_shape(
    spatial: Sequence[int], kernel_size: Sequence[int], stride: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> tuple[int, ...]:
    return tuple(map(output_size, _padded_shape(spatial, padding)[0], kernel_size, stride, dilation))


def check_input(shape: Sequence[int], channels: int, spatial_dims: int) -> None:
    """Raise ShapeError unless ``shape`` is (N, channels, *spatial)."""
    if len(shape) != spatial_dims + 2 or shape[1] != channels:
        axes = ", ".join("DHW"[-spatial_dims:])
        raise ShapeError(f"Conv{spatial_dims}d: expected input (N, {channels}, {axes}), got shape {tuple(shape)}")


def _check_shapes(
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> None:
    n = weight.ndim - 2
    name, channels = f"Conv{n}d", weight.shape[1] * groups
    check_input(x.shape, channels, n)
    if x.dtype != weight.dtype:
        raise DtypeError(f"{name}: expected input of the weight's dtype {weight.dtype}, got {x.dtype}")
    if weight.shape[0] % groups:
        raise ShapeError(f"{name}: expected a number of filters that {groups} groups divide, got {weight.shape[0]}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"{name}: expected bias of shape {weight.shape[:1]}, got {bias.shape}")
    padded, kernel_size = _padded_shape(x.shape[2:], padding)[0], tuple(weight.shape[2:])
    ones = (1,) * n
    if min(map(output_size, padded, kernel_size, ones, dilation)) < 1:
        raise ShapeError(
            f"{name}: expected an input that holds the kernel, got spatial shape {tuple(x.shape[2:])} "
            f"(padded {padded}) for kernel_size {kernel_size} with dilation {tuple(dilation)}"
        )
