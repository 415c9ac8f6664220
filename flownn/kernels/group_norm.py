"""Normalisation within each sample: groups of channels by their own mean and variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.kernels import kernel
from flownn.kernels.blocks import cache_blocks
from flownn.kernels.channel_blocks import empty_like, is_channels_last
from flownn.kernels.channels import channel_affine, channel_dot, channel_sum

__all__ = ["Backward", "Moments", "normalize_groups"]

# Fewer numbers than this go through NumPy in less time than the library's calls take.
_SMALLEST = 65536
_PROVIDED = {"onednn": "flownn.kernels.onednn.group_norm"}

Backward = Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
Moments = tuple[NDArray[Any], NDArray[Any]]


@kernel("normalize_groups", provided=_PROVIDED, smallest=_SMALLEST)
def normalize_groups(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, groups: int, eps: float
) -> tuple[NDArray[Any], Backward, Moments]:
    """Normalise every group of channels of every sample of x (N, C, *spatial), then scale and shift each channel.

    Scale and shift are float64, (C,). Gives the result, in the memory layout of x, the function from its gradient to
    those of x, scale and shift, and mean and biased variance (N, groups) in float64.
    """
    body = _channels_last if is_channels_last(x) else _plain
    return body(xp, x, scale, shift, groups, eps)


def _plain(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, groups: int, eps: float
) -> tuple[NDArray[Any], Backward, Moments]:
    """Every group is a row, of ``channels`` planes."""
    dtype = accumulator(x.dtype) or x.dtype
    samples, channels = x.shape[0], x.shape[1] // groups
    shape = (samples * groups, channels, math.prod(x.shape[2:]))
    count = channels * shape[2]
    blocks = cache_blocks(xp, shape[0], count * dtype.itemsize)
    longest = blocks[0].stop if blocks else 0

    def rows(array: NDArray[Any]) -> Any:
        return xp.ascontiguousarray(array).reshape(shape)

    def beside(vector: NDArray[Any] | None) -> Any:
        """One number per channel, as a number per plane."""
        return None if vector is None else xp.tile(vector.reshape(groups, channels), (samples, 1))

    def narrow(array: NDArray[Any]) -> Any:
        """Numbers per plane or row, to compute with."""
        return array.astype(dtype)[..., None] if array.ndim == 2 else array.astype(dtype)[:, None, None]

    mean, variance = xp.empty(shape[0]), xp.empty(shape[0])

    def centered(part: NDArray[Any], block: slice, out: NDArray[Any]) -> Any:
        return xp.subtract(part.astype(dtype, copy=False), narrow(mean[block]), out=out)

    y = xp.empty(x.shape, x.dtype)
    scales, shifts, target = beside(scale), beside(shift), y.reshape(shape)
    space, more = xp.empty((2, longest, *shape[1:]), dtype)
    source = rows(x)
    for block in blocks:
        part = source[block].astype(dtype, copy=False)
        here = len(part)
        mean[block] = part.reshape(here, -1).sum(axis=1).astype("float64") / max(count, 1)
        part = centered(part, block, space[:here])
        squares = xp.multiply(part, part, out=more[:here]).reshape(here, -1).sum(axis=1)
        variance[block] = squares.astype("float64") / max(count, 1)
        inverse = 1 / xp.sqrt(variance[block] + eps)
        part *= narrow(inverse if scales is None else inverse[:, None] * scales[block])
        if shifts is not None:
            part += narrow(shifts[block])
        target[block] = part

    def backward(g: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        back = xp.empty(x.shape, x.dtype)
        scales, target = beside(scale), back.reshape(shape)
        sums, dots = xp.empty(shape[:2]), xp.empty(shape[:2])
        space, more = xp.empty((2, longest, *shape[1:]), dtype)
        source, gradient = rows(x), rows(g)
        for block in blocks:
            grad = gradient[block].astype(dtype, copy=False)
            here = len(grad)
            middle = centered(source[block], block, space[:here])
            inverse = 1 / xp.sqrt(variance[block] + eps)
            sums[block] = grad.sum(axis=2)
            product = xp.multiply(grad, middle, out=more[:here]).sum(axis=2)
            dots[block] = product.astype("float64") * inverse[:, None]
            one, slope = sums[block], dots[block]
            if scales is not None:
                one, slope = one * scales[block], slope * scales[block]
            # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
            middle *= narrow(slope.sum(axis=1) * inverse**2 / max(count, 1))
            middle += narrow(one.sum(axis=1) * inverse / max(count, 1))
            factor = narrow(inverse if scales is None else inverse[:, None] * scales[block])
            target[block] = xp.subtract(xp.multiply(grad, factor, out=more[:here]), middle, out=middle)

        def per_channel(array: NDArray[Any]) -> Any:
            return array.reshape(samples, groups * channels).sum(axis=0)

        return back, per_channel(dots), per_channel(sums)

    return y, backward, (mean.reshape(samples, groups), variance.reshape(samples, groups))


def _channels_last(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, groups: int, eps: float
) -> tuple[NDArray[Any], Backward, Moments]:
    """Sums per channel, added over each group."""
    dtype = accumulator(x.dtype) or x.dtype
    image = xp.moveaxis(x, 1, -1)
    samples, channels = x.shape[:2]
    count = image.size // max(samples * groups, 1)
    blocks = cache_blocks(xp, samples, dtype.itemsize * image.size // max(samples, 1))

    def over_group(sums: NDArray[Any]) -> Any:
        """Per group, the mean of numbers whose sums per channel are given, (n, C)."""
        return sums.reshape(len(sums), groups, channels // groups).sum(axis=-1) / max(count, 1)

    def wide(array: NDArray[Any], block: slice) -> Any:
        return xp.ascontiguousarray(array[block], dtype=dtype)

    def beside(array: NDArray[Any]) -> Any:
        """One number per group, as one per channel."""
        return xp.repeat(array, channels // groups, axis=1)

    y = empty_like(xp, x, x.dtype)
    target = xp.moveaxis(y, 1, -1)
    mean, variance = xp.empty((samples, groups)), xp.empty((samples, groups))
    for block in blocks:
        part = wide(image, block)
        mean[block] = over_group(channel_sum(xp, part, keep=1))
        part = channel_affine(xp, part, [("subtract", beside(mean[block]))])
        variance[block] = over_group(channel_dot(xp, part, part, keep=1))
        inverse = beside(1 / xp.sqrt(variance[block] + eps))
        steps = [("multiply", inverse if scale is None else inverse * scale)]
        target[block] = channel_affine(xp, part, steps if shift is None else [*steps, ("add", shift)], out=part)

    def backward(g: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        grad_image = xp.moveaxis(g, 1, -1)
        back = empty_like(xp, x, x.dtype)
        target = xp.moveaxis(back, 1, -1)
        grad_scale, grad_shift = xp.zeros(channels), xp.zeros(channels)
        for block in blocks:
            inverse = beside(1 / xp.sqrt(variance[block] + eps))
            grad = wide(grad_image, block)
            centered = channel_affine(xp, wide(image, block), [("subtract", beside(mean[block]))])
            sums, dots = channel_sum(xp, grad, keep=1), channel_dot(xp, grad, centered, keep=1) * inverse
            grad_scale += dots.sum(axis=0)
            grad_shift += sums.sum(axis=0)
            # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
            factor = inverse if scale is None else inverse * scale
            along_one = beside(over_group(sums if scale is None else sums * scale)) * inverse
            along_x = beside(over_group(dots if scale is None else dots * scale)) * inverse**2
            channel_affine(xp, centered, [("multiply", along_x), ("add", along_one)], out=centered)
            target[block] = channel_affine(xp, grad, [("multiply", factor)]) - centered
        return back, grad_scale, grad_shift

    return y, backward, (mean, variance)
