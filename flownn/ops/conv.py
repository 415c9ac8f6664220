"""Convolution over n spatial dims, and its transpose: windows laid out as a matrix, times the filters.

Three functions do the work: `_correlate` (image and filters to result), `_grad_image` (result and filters to image, its
adjoint) and `_grad_filters` (image and result to filters). A convolution is the first, its gradients are the other two;
a transposed convolution is the second, its gradients are the first and the third.

The matrix has one row per output position and columns in the order (*kernel_size, channel), so a channels-last
input is copied in runs of ``kernel_size[-1] * channels`` numbers, the product comes out channels-last, and a 1x1
convolution needs no copy at all. Samples are taken in blocks that bound the size of the matrix. A few filters for each
channel, as in depthwise layers, need no matrix: `flownn.kernels.depthwise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import channel_sum, compute_dtype
from flownn.kernels.depthwise import add_depthwise, correlate_depthwise, depthwise_filters, is_depthwise
from flownn.kernels.windows import add_windows, output_size, windows

__all__ = ["check_input", "conv", "conv_transpose"]

# Large enough for the product to run at full speed, small enough to stay near the last-level cache.
_BLOCK_BYTES = 8 << 20

Padding = Sequence[tuple[int, int]]  # zeros (before, after) of each spatial dim; a negative number crops instead


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
    result has the channels-last memory layout. An x without N gives a result without N.

    Raises:
        ShapeError: numbers of dims or channels do not fit, or the padded input is smaller than the kernel.
        DtypeError: input and weight have different types, or not a floating point one.
    """
    name = f"Conv{weight.ndim - 2}d"
    _check_operands(name, x, weight, bias, weight.shape[1] * groups, weight.shape[0], groups)
    _check_holds_the_kernel(name, x.shape[2 - weight.ndim :], weight.shape[2:], padding, dilation)
    dtype = compute_dtype(name, x.dtype)
    image, filters = _image(xp, x, weight), _filters(xp, weight, groups, dtype)
    result = _correlate(xp, image, filters, stride, padding, dilation)
    if bias is not None:
        result += bias

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = _image(xp, g, weight).astype(dtype, copy=False)

        def grad_x() -> Any:
            return _like(xp, _grad_image(xp, grad, filters, image.shape, stride, padding, dilation), x)

        def grad_weight() -> Any:
            return _weight(xp, _grad_filters(xp, grad, image, filters.shape, stride, padding, dilation), weight)

        return grad_x, grad_weight, lambda: channel_sum(xp, grad).astype(weight.dtype)

    return _like(xp, result, x), vjp


@op
def conv_transpose(
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
    """Adjoint of `conv` from O to C channels: x (N, C, *spatial), weight (C, O / groups, *kernel_size), bias (O,).

    Every element of x, times the filter of its channel, is added to a window of the result, which loses ``padding``
    (before, after) elements of each spatial dim; a negative number adds zeros instead. The result has the channels-last
    memory layout. An x without N gives a result without N.

    Raises:
        ShapeError: numbers of dims or channels do not fit, or nothing of the result is left.
        DtypeError: input and weight have different types, or not a floating point one.
    """
    name, n = f"ConvTranspose{weight.ndim - 2}d", weight.ndim - 2
    channels = weight.shape[1] * groups
    _check_operands(name, x, weight, bias, weight.shape[0], channels, groups)
    out = tuple(
        (size - 1) * s + d * (k - 1) + 1 - before - after
        for size, k, s, d, (before, after) in zip(
            x.shape[-n:], weight.shape[2:], stride, dilation, padding, strict=True
        )
    )
    if min(out) < 1 or min(x.shape[-n:]) < 1:
        raise ShapeError(
            f"{name}: expected an input that gives a result, got spatial shape {tuple(x.shape[-n:])}, which gives {out}"
        )
    dtype = compute_dtype(name, x.dtype)
    image, filters = _image(xp, x, weight), _filters(xp, weight, groups, dtype)
    shape = (image.shape[0], *out, channels)
    result = _grad_image(xp, image.astype(dtype, copy=False), filters, shape, stride, padding, dilation)
    if bias is not None:
        result += bias

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = _image(xp, g, weight).astype(dtype, copy=False)

        def grad_weight() -> Any:
            wide = image.astype(dtype, copy=False)
            return _weight(xp, _grad_filters(xp, wide, grad, filters.shape, stride, padding, dilation), weight)

        return (
            lambda: _like(xp, _correlate(xp, grad, filters, stride, padding, dilation), x),
            grad_weight,
            lambda: channel_sum(xp, grad).astype(weight.dtype),
        )

    return _like(xp, result, x), vjp


def _image(xp: Any, x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """View x (N, C, *spatial) as (N, *spatial, C); where x has no N, N is 1."""
    image: NDArray[Any] = xp.moveaxis(x, 1 - weight.ndim, -1)
    return image if x.ndim == weight.ndim else image[None]


def _like(xp: Any, image: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """View an image as (N, C, *spatial), in the dtype of x; without N where x has none."""
    y: NDArray[Any] = xp.moveaxis(image, -1, 1).astype(x.dtype, copy=False)
    return y if x.ndim == y.ndim else y[0]


def _filters(xp: Any, weight: NDArray[Any], groups: int, dtype: Any) -> NDArray[Any]:
    """Weight (O, C / groups, *kernel_size) as (groups, O / groups, *kernel_size, C / groups)."""
    rows = xp.moveaxis(weight, 1, -1).reshape(groups, weight.shape[0] // groups, *weight.shape[2:], weight.shape[1])
    result: NDArray[Any] = rows.astype(dtype, copy=False)
    return result


def _weight(xp: Any, filters: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Filters back in the shape and dtype of the weight."""
    back = xp.moveaxis(filters.reshape(weight.shape[0], *filters.shape[2:]), -1, 1)
    result: NDArray[Any] = xp.ascontiguousarray(back).astype(weight.dtype, copy=False)
    return result


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
    for block, window_view in _window_blocks(xp, image, filters, stride, padding, dilation):
        if is_depthwise(filters.shape):
            result[block] = correlate_depthwise(xp, window_view, filters[..., 0])
            continue
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
    for block, window_view in _window_blocks(xp, image, total, stride, padding, dilation):
        if is_depthwise(shape):
            total[..., 0] += depthwise_filters(xp, window_view, grad[block], shape[:-1])
            continue
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
    # cheaper than scattering them, unless there are many more filters than channels (or it would not be depthwise).
    depthwise = is_depthwise(filters.shape)
    gather = math.prod(kernel_size) == 1 or filters_per_group <= (1 if depthwise else 2 * channels_per_group)
    if max(stride) == 1 and gather:
        turned = xp.flip(filters, axis=tuple(range(2, filters.ndim - 1))).swapaxes(1, -1)
        return _correlate(xp, grad, xp.ascontiguousarray(turned), stride, opposite, dilation)
    padded, inside, kept = _padded(shape[1:-1], padding)
    matrices = filters.reshape(groups, filters_per_group, -1)
    # What was cropped has no gradient.
    result: NDArray[Any] = (xp.empty if min(map(min, padding)) >= 0 else xp.zeros)(shape, dtype=grad.dtype)
    for block in _sample_blocks(shape[0], math.prod(grad.shape[1:-1]), filters):
        if depthwise:
            sums = xp.zeros((len(grad[block]), *padded, groups), grad.dtype)
            add_depthwise(xp, sums, grad[block], filters[..., 0], stride, dilation)
            result[(block, *kept)] = sums[(slice(None), *inside)]
            continue
        rows = grad[block].reshape(-1, grad.shape[-1])
        for group in range(groups):
            part = rows[:, group * filters_per_group : (group + 1) * filters_per_group]
            products = (part @ matrices[group]).reshape(*grad[block].shape[:-1], *kernel_size, channels_per_group)
            sums = add_windows(xp, products, (len(products), *padded, channels_per_group), stride, dilation)
            channels = slice(group * channels_per_group, (group + 1) * channels_per_group)
            result[(block, *kept, channels)] = sums[(slice(None), *inside)]
    return result


def _window_blocks(
    xp: Any,
    image: NDArray[Any],
    filters: NDArray[Any],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Blocks of samples, each with the view (n, *out, *kernel_size, C) of its windows, in the filters' dtype."""
    kernel_size = filters.shape[2:-1]
    padded, inside, kept = _padded(image.shape[1:-1], padding)
    positions = math.prod(_output_shape(image.shape[1:-1], kernel_size, stride, padding, dilation))
    for block in _sample_blocks(image.shape[0], positions, filters):
        part = image[block]
        if any(map(any, padding)):
            part = xp.zeros((part.shape[0], *padded, part.shape[-1]), dtype=filters.dtype)
            part[(slice(None), *inside)] = image[(block, *kept)]
        part = part.astype(filters.dtype, copy=False)
        yield block, windows(xp, part, kernel_size, stride, dilation)


def _matrix(window_view: NDArray[Any], group: int, filters: NDArray[Any]) -> NDArray[Any]:
    """One group's windows as rows; without a copy where the memory already is that matrix."""
    channels = filters.shape[-1]
    part = window_view[..., group * channels : (group + 1) * channels]
    return part.reshape(-1, math.prod(filters.shape[2:]))


def _sample_blocks(samples: int, positions: int, filters: NDArray[Any]) -> Iterator[slice]:
    """Cut the batch so that a block's window matrix, which is that of one group, stays near ``_BLOCK_BYTES``.

    A depthwise layer takes all groups at once.
    """
    at_once = filters.shape[0] if is_depthwise(filters.shape) else 1
    step = max(1, _BLOCK_BYTES // max(1, positions * math.prod(filters.shape[2:]) * filters.dtype.itemsize * at_once))
    for start in range(0, samples, step):
        yield slice(start, min(samples, start + step))


def _padded(spatial: Sequence[int], padding: Padding) -> tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]:
    """The padded sizes, where in them what is kept of the image lies, and which part of the image that is."""
    padded, inside, kept = [], [], []
    for size, (before, after) in zip(spatial, padding, strict=True):
        length = max(0, size + min(before, 0) + min(after, 0))
        padded.append(size + before + after)
        inside.append(slice(max(before, 0), max(before, 0) + length))
        kept.append(slice(max(-before, 0), max(-before, 0) + length))
    return tuple(padded), tuple(inside), tuple(kept)


def _output_shape(
    spatial: Sequence[int], kernel_size: Sequence[int], stride: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> tuple[int, ...]:
    return tuple(map(output_size, _padded(spatial, padding)[0], kernel_size, stride, dilation))


def check_input(name: str, shape: Sequence[int], channels: int, spatial_dims: int) -> None:
    """Raise ShapeError unless ``shape`` is (N, channels, *spatial) or (channels, *spatial)."""
    if len(shape) not in (spatial_dims + 1, spatial_dims + 2) or shape[-spatial_dims - 1] != channels:
        form = ", ".join([str(channels), *"DHW"[-spatial_dims:]])
        raise ShapeError(f"{name}: expected input (N, {form}) or ({form}), got shape {tuple(shape)}")


def _check_operands(
    name: str,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    in_channels: int,
    out_channels: int,
    groups: int,
) -> None:
    check_input(name, x.shape, in_channels, weight.ndim - 2)
    if x.dtype != weight.dtype:
        raise DtypeError(f"{name}: expected input of the weight's dtype {weight.dtype}, got {x.dtype}")
    if weight.shape[0] % groups:
        raise ShapeError(f"{name}: expected a number of filters that {groups} groups divide, got {weight.shape[0]}")
    if bias is not None and bias.shape != (out_channels,):
        raise ShapeError(f"{name}: expected bias of shape ({out_channels},), got {tuple(bias.shape)}")


def _check_holds_the_kernel(
    name: str, spatial: Sequence[int], kernel_size: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> None:
    padded, ones = _padded(spatial, padding)[0], (1,) * len(spatial)
    if min(map(output_size, padded, kernel_size, ones, dilation)) < 1:
        raise ShapeError(
            f"{name}: expected an input that holds the kernel, got spatial shape {tuple(spatial)} "
            f"(padded {padded}) for kernel_size {tuple(kernel_size)} with dilation {tuple(dilation)}"
        )
