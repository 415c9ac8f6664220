"""Pooling over n spatial dims: one pass over the input per position inside the window, channels innermost.

Every op takes x (N, C, *spatial), or (C, *spatial) for one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.windows import kernel_offsets, shifted

__all__ = ["adaptive_avg_pool", "avg_pool", "max_pool", "max_pool_with_indices"]

_Hit = tuple[tuple[int, ...], NDArray[Any], NDArray[Any]]  # offset in the window, mask, positions in the input


def _one_sample_too(body: Callable[..., Any]) -> Callable[..., Any]:
    """Let the body of an op on x (N, C, *spatial) take (C, *spatial) as well, as a batch of one."""

    @wraps(body)
    def either(xp: Any, x: NDArray[Any], **attrs: Any) -> Any:
        n = len(attrs["kernel_size"] if "kernel_size" in attrs else attrs["output_size"])
        if x.ndim != n + 1:
            return body(xp, x, **attrs)
        y, vjp = body(xp, x[None], **attrs)
        several = isinstance(y, tuple)

        def vjp_of_one(g: Any) -> tuple[Any, ...]:
            batch = [None if each is None else each[None] for each in g] if several else g[None]
            return (vjp(batch)[0][0],)

        return tuple(each[0] for each in y) if several else y[0], vjp_of_one

    return either


@op
@_one_sample_too
def max_pool(
    xp: Any,
    x: NDArray[Any],
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Any:
    """Largest element of every window of x (N, C, *spatial); NaN where the window holds one.

    The gradient goes to the first of equal elements, in row-major order.
    """
    y, vjp, _ = _max_pool(xp, x, kernel_size, stride, padding, dilation, ceil_mode)
    return y, vjp


@op(tuple_output=True)
@_one_sample_too
def max_pool_with_indices(
    xp: Any,
    x: NDArray[Any],
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Any:
    """:func:`max_pool`, and where each element was found: int64 positions in the flattened spatial dims of x."""
    y, vjp, hits = _max_pool(xp, x, kernel_size, stride, padding, dilation, ceil_mode)
    indices = xp.zeros(xp.moveaxis(y, 1, -1).shape, dtype=np.int64)
    for _, hit, position in hits():
        indices += xp.where(hit, position[..., None], 0)
    return (y, xp.moveaxis(indices, -1, 1)), lambda gradients: vjp(gradients[0])


def _max_pool(
    xp: Any,
    x: NDArray[Any],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[NDArray[Any], Callable[[NDArray[Any]], tuple[Any, ...]], Callable[[], Iterator[_Hit]]]:
    """Result, vjp, and what finds the elements that won."""
    out = _output_shape("MaxPool", x, kernel_size, stride, padding, dilation, ceil_mode)

    def padded() -> NDArray[Any]:
        return _padded_image(xp, x, out, kernel_size, stride, padding, dilation, _lowest(x.dtype))

    image = padded()
    y = _largest(xp, image, out, kernel_size, stride, dilation)
    padded_shape = image.shape
    del image

    def hits() -> Iterator[_Hit]:
        # The maxima are found again rather than kept, so that the result may be overwritten (ReLU in place).
        image = padded()
        largest = _largest(xp, image, out, kernel_size, stride, dilation)
        return _first_hits(xp, image, largest, x.shape[2:], kernel_size, stride, padding, dilation)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.moveaxis(g, 1, -1)
        total = xp.zeros(padded_shape, dtype=g.dtype)
        for offset, hit, _ in hits():
            target = shifted(total, offset, out, stride, dilation)
            target += xp.where(hit, grad, g.dtype.type(0))
        return (xp.moveaxis(_unpadded(total, x.shape[2:], padding), -1, 1),)

    return xp.moveaxis(y, -1, 1), vjp, hits


@op
@_one_sample_too
def avg_pool(
    xp: Any,
    x: NDArray[Any],
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
) -> Any:
    """Mean of every window of x (N, C, *spatial), or its sum over ``divisor_override`` where that is not 0."""
    ones = (1,) * len(kernel_size)
    out = _output_shape("AvgPool", x, kernel_size, stride, padding, ones, ceil_mode)
    dtype = compute_dtype(f"AvgPool{len(out)}d", x.dtype)
    image = _padded_image(xp, x, out, kernel_size, stride, padding, ones, 0)
    y = xp.zeros((image.shape[0], *out, image.shape[-1]), dtype=dtype)
    for offset in kernel_offsets(kernel_size):
        y += shifted(image, offset, out, stride, ones)
    counts = _window_counts(x.shape[2:], out, kernel_size, stride, padding, count_include_pad)
    divisor = xp.asarray(np.full((1,) * len(out), divisor_override) if divisor_override else counts, dtype=dtype)
    y /= divisor[..., None]
    padded_shape = image.shape

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        share = xp.moveaxis(g, 1, -1) / divisor[..., None]
        total = xp.zeros(padded_shape, dtype=dtype)
        for offset in kernel_offsets(kernel_size):
            target = shifted(total, offset, out, stride, ones)
            target += share
        return (xp.moveaxis(_unpadded(total, x.shape[2:], padding), -1, 1).astype(x.dtype, copy=False),)

    return xp.moveaxis(y, -1, 1).astype(x.dtype, copy=False), vjp


@op
@_one_sample_too
def adaptive_avg_pool(xp: Any, x: NDArray[Any], *, output_size: Sequence[int | None]) -> Any:
    """Mean over ``output_size`` windows per spatial dim that cover x (N, C, *spatial); None keeps a dim's size.

    Window i of a dim reaches from ``floor(i * size / out)`` to ``ceil((i + 1) * size / out)``.
    """
    n = len(output_size)
    if x.ndim != n + 2 or min(x.shape[2:]) < 1:
        raise ShapeError(
            f"AdaptiveAvgPool{n}d: expected input (N, C, {_axis_names(n)}) or (C, {_axis_names(n)}) with no empty "
            f"spatial dim, got shape {tuple(x.shape)}"
        )
    out = tuple(size if want is None else want for size, want in zip(x.shape[2:], output_size, strict=True))
    dtype = compute_dtype(f"AdaptiveAvgPool{n}d", x.dtype)
    if set(out) == {1}:  # the usual head of a classifier
        axes, count = tuple(range(2, x.ndim)), math.prod(x.shape[2:])
        y = x.astype(dtype, copy=False).mean(axis=axes, keepdims=True).astype(x.dtype, copy=False)
        return y, lambda g: (xp.broadcast_to((g.astype(dtype, copy=False) / count).astype(x.dtype), x.shape),)
    # A window is a box, so its mean is a mean of means along each dim.
    dims = [(axis, *_windows(size, want)) for axis, (size, want) in enumerate(zip(x.shape[2:], out, strict=True), 2)]
    dims = [each for each in dims if x.shape[each[0]] != out[each[0] - 2]]  # where the size stays, so does the rest

    y = x.astype(dtype, copy=False)
    for axis, start, end in dims:
        y = _range_sums(xp, y, axis, start, end) / _along(xp, end - start, axis, x.ndim).astype(dtype)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = g.astype(dtype, copy=False)
        for axis, start, end in dims:
            # The windows that hold an element are a range too.
            position = np.arange(x.shape[axis])
            first, last = np.searchsorted(end, position, "right"), np.searchsorted(start, position, "right")
            grad = _range_sums(xp, grad / _along(xp, end - start, axis, x.ndim).astype(dtype), axis, first, last)
        return (grad.astype(x.dtype, copy=False),)

    return y.astype(x.dtype, copy=not dims), vjp


def _output_shape(
    name: str,
    x: NDArray[Any],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[int, ...]:
    """Number of windows per dim; with ``ceil_mode`` one more may start in the input or left padding and hang over."""
    n = len(kernel_size)
    if x.ndim != n + 2:
        raise ShapeError(
            f"{name}{n}d: expected input (N, C, {_axis_names(n)}) or (C, {_axis_names(n)}), got shape {tuple(x.shape)}"
        )
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ShapeError(
            f"{name}{n}d: expected padding of at most half the kernel, got padding {tuple(padding)} "
            f"for kernel_size {tuple(kernel_size)}"
        )
    out = []
    for size, k, s, p, d in zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True):
        spare = size + 2 * p - d * (k - 1) - 1
        count = (spare + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= size + p:
            count -= 1
        out.append(count)
    if min(out) < 1:
        raise ShapeError(
            f"{name}{n}d: expected an input that holds the window, got spatial shape {tuple(x.shape[2:])} for "
            f"kernel_size {tuple(kernel_size)}, padding {tuple(padding)}, dilation {tuple(dilation)}"
        )
    return tuple(out)


def _padded_image(
    xp: Any,
    x: NDArray[Any],
    out: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    fill: Any,
) -> NDArray[Any]:
    """The input as (N, *spatial, C), with ``fill`` around it as far as the windows reach."""
    image: NDArray[Any] = xp.moveaxis(x, 1, -1)
    needed = tuple(
        max(size + p, (o - 1) * s + d * (k - 1) + 1)
        for size, o, k, s, p, d in zip(x.shape[2:], out, kernel_size, stride, padding, dilation, strict=True)
    )
    if needed == x.shape[2:]:
        return image
    result: NDArray[Any] = xp.full((image.shape[0], *needed, image.shape[-1]), fill, dtype=x.dtype)
    inside = tuple(slice(p, p + size) for p, size in zip(padding, x.shape[2:], strict=True))
    result[(slice(None), *inside)] = image
    return result


def _unpadded(image: NDArray[Any], spatial: Sequence[int], padding: Sequence[int]) -> NDArray[Any]:
    return image[(slice(None), *(slice(p, p + size) for p, size in zip(padding, spatial, strict=True)))]


def _largest(
    xp: Any,
    image: NDArray[Any],
    out: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> NDArray[Any]:
    offsets = kernel_offsets(kernel_size)
    y: NDArray[Any] = xp.array(shifted(image, next(offsets), out, stride, dilation), order="C")
    for offset in offsets:
        xp.maximum(y, shifted(image, offset, out, stride, dilation), out=y)
    return y


def _first_hits(
    xp: Any,
    image: NDArray[Any],
    y: NDArray[Any],
    spatial: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Iterator[_Hit]:
    """For each position in the window: the windows whose maximum ``y`` is found there first, and where that is.

    Yields (offset, mask (N, *out, C), positions (*out) in the flattened ``spatial``). The padding is never a hit,
    even where the input holds the value it is filled with. Of several NaN it is the last, as in PyTorch.
    """
    out = y.shape[1:-1]
    open_windows = y == y
    last_nan = None
    if not open_windows.all():
        last_nan = xp.full(y.shape, -1)
        for number, offset in enumerate(kernel_offsets(kernel_size)):
            candidate = shifted(image, offset, out, stride, dilation)
            last_nan = xp.where(candidate == candidate, last_nan, number)
    for number, offset in enumerate(kernel_offsets(kernel_size)):
        position, inside = xp.zeros((), dtype=np.int64), xp.ones((), dtype=bool)
        for size, o, n, s, p, d in zip(spatial, offset, out, stride, padding, dilation, strict=True):
            line = xp.arange(n) * s + (o * d - p)
            position = position[..., None] * size + line
            inside = inside[..., None] & (line >= 0) & (line < size)
        hit = (shifted(image, offset, out, stride, dilation) == y) & open_windows & inside[..., None]
        open_windows ^= hit
        yield offset, hit if last_nan is None else hit | (last_nan == number), position


def _lowest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _window_counts(
    spatial: Sequence[int],
    out: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    count_include_pad: bool,
) -> NDArray[Any]:
    """How many elements each window averages: those inside the input, or inside the input and its padding."""
    counts: NDArray[Any] = np.ones((), dtype=np.int64)
    for size, o, k, s, p in zip(spatial, out, kernel_size, stride, padding, strict=True):
        start = np.arange(o) * s - p
        end = np.minimum(start + k, size + p)
        if not count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        counts = counts[..., None] * (end - start)
    return counts


def _windows(size: int, out: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """First element of each window, and the one behind its last."""
    window = np.arange(out)
    return window * size // out, -(-(window + 1) * size // out)


def _range_sums(xp: Any, x: NDArray[Any], axis: int, start: NDArray[Any], end: NDArray[Any]) -> Any:
    """``x[start[i]:end[i]].sum()`` along an axis for every i; no range is empty."""
    total = xp.take(x, xp.asarray(start), axis=axis)
    for step in range(1, int((end - start).max())):
        element = xp.take(x, xp.asarray(np.minimum(start + step, end - 1)), axis=axis)
        total += xp.where(_along(xp, start + step < end, axis, x.ndim), element, x.dtype.type(0))
    return total


def _along(xp: Any, values: NDArray[Any], axis: int, ndim: int) -> Any:
    """A vector as an array that varies along one axis only."""
    return xp.asarray(values.reshape((-1, *(1,) * (ndim - 1 - axis))))


def _axis_names(n: int) -> str:
    return ", ".join("DHW"[-n:])
