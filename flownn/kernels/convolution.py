"""Convolution over n spatial dims and its two adjoints: windows laid out as a matrix, times the filters.

Three kernels do the work: `correlate` (image and filters to result), `correlate_adjoint` (result and filters to image)
and `correlate_filters` (image and result to filters). A convolution is the first, its gradients are the other two; a
transposed convolution is the second, its gradients are the first and the third.

Arrays are (N, C, *spatial) and filters (O, C / groups, *kernel_size), with any strides; results have the filters'
dtype, and the channels-last memory layout. ``padding`` holds the zeros (before, after) of each spatial dim; a negative
number crops instead.

The portable bodies make a matrix with one row per output position and columns in the order (*kernel_size, channel), so
a channels-last input is copied in runs of ``kernel_size[-1] * channels`` numbers, the product comes out channels-last,
and a 1x1 convolution needs no copy at all. Samples are taken in blocks that bound the size of the matrix. A few filters
for each channel, as in depthwise layers, need no matrix: `flownn.kernels.depthwise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.depthwise import add_depthwise, correlate_depthwise, depthwise_filters, is_depthwise
from flownn.kernels.windows import add_windows, output_size, windows

__all__ = ["Padding", "correlate", "correlate_adjoint", "correlate_filters", "padded_shape"]

# Large enough for the product to run at full speed, small enough to stay near the last-level cache.
_BLOCK_BYTES = 8 << 20
# Fewer numbers than this go through NumPy in less time than the library's call takes.
_SMALLEST = 2048
_PROVIDED = {"onednn": "flownn.kernels.onednn.convolution"}
_PROVIDED_FILTERS = {"onednn": "flownn.kernels.onednn.convolution_filters"}

Padding = Sequence[tuple[int, int]]  # zeros (before, after) of each spatial dim; a negative number crops instead


@kernel("correlate", provided=_PROVIDED, smallest=_SMALLEST)
def correlate(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> NDArray[Any]:
    """Every window of x (N, C, *spatial) times every filter (O, C / groups, *kernel_size), plus bias: (N, O, *out)."""
    result = _correlate(xp, _last(xp, x), _filters(xp, weight, groups), stride, padding, dilation)
    if bias is not None:
        result += bias
    return _second(xp, result)


@kernel("correlate_adjoint", provided=_PROVIDED, smallest=_SMALLEST)
def correlate_adjoint(
    xp: Any,
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    spatial: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
    onto: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Every number of y (N, O, *out) times its filter, added to its window of an image (N, C, *spatial), plus bias.

    With ``onto``, an array like the image, the image is added to it in place, and it is the result.
    """
    image = _last(xp, y).astype(weight.dtype, copy=False)
    shape = (y.shape[0], *spatial, weight.shape[1] * groups)
    result = _adjoint(xp, image, _filters(xp, weight, groups), shape, stride, padding, dilation)
    if bias is not None:
        result += bias
    result = _second(xp, result)
    return result if onto is None else xp.add(onto, result, out=onto)


@kernel("correlate_filters", provided=_PROVIDED_FILTERS, smallest=_SMALLEST)
def correlate_filters(
    xp: Any,
    y: NDArray[Any],
    x: NDArray[Any],
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Gradient of filters of ``shape`` (O, C / groups, *kernel_size), dense, for that of the result, y (N, O, *out).

    It is written into ``out`` if that is given.
    """
    filters_shape = (groups, shape[0] // groups, *shape[2:], shape[1])
    filters = _correlate_filters(xp, _last(xp, y), _last(xp, x), filters_shape, stride, padding, dilation)
    turned: NDArray[Any] = xp.moveaxis(filters.reshape(shape[0], *filters_shape[2:]), -1, 1)
    if out is None:
        return xp.ascontiguousarray(turned)  # type: ignore[no-any-return]
    out[...] = turned
    return out


def _last(xp: Any, x: NDArray[Any]) -> NDArray[Any]:
    """View (N, C, *spatial) as (N, *spatial, C)."""
    view: NDArray[Any] = xp.moveaxis(x, 1, -1)
    return view


def _second(xp: Any, image: NDArray[Any]) -> NDArray[Any]:
    """View (N, *spatial, C) as (N, C, *spatial)."""
    view: NDArray[Any] = xp.moveaxis(image, -1, 1)
    return view


def _filters(xp: Any, weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """Weight (O, C / groups, *kernel_size) as (groups, O / groups, *kernel_size, C / groups)."""
    rows: NDArray[Any] = xp.moveaxis(weight, 1, -1)
    return rows.reshape(groups, weight.shape[0] // groups, *weight.shape[2:], weight.shape[1])


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


def _correlate_filters(
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


def _adjoint(
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
    padded, inside, kept = padded_shape(shape[1:-1], padding)
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
    padded, inside, kept = padded_shape(image.shape[1:-1], padding)
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


def padded_shape(
    spatial: Sequence[int], padding: Padding
) -> tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]:
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
    return tuple(map(output_size, padded_shape(spatial, padding)[0], kernel_size, stride, dilation))
