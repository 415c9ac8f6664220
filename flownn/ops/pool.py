"""Pooling over n spatial dims.

Every op takes x (N, C, *spatial), or (C, *spatial) for one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import is_grad_enabled, op
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.pooling import (
    PoolWindow,
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
    winner_positions,
)

__all__ = ["adaptive_avg_pool", "avg_pool", "max_pool", "max_pool_with_indices"]


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
    y, winners, window = _max_pool(xp, x, kernel_size, stride, padding, dilation, ceil_mode, is_grad_enabled())
    shape = x.shape
    return y, lambda g: (max_pool_backward(xp, g, winners, window, shape),)


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
    y, winners, window = _max_pool(xp, x, kernel_size, stride, padding, dilation, ceil_mode, True)
    shape = x.shape
    positions = winner_positions(xp, winners, window, shape[2:])
    return (y, positions), lambda gradients: (max_pool_backward(xp, gradients[0], winners, window, shape),)


def _max_pool(
    xp: Any,
    x: NDArray[Any],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    keep_winners: bool,
) -> tuple[NDArray[Any], Any, PoolWindow]:
    """Result, winners and windows. The input is not kept: what precedes may overwrite it (ReLU in place)."""
    out = _output_shape("MaxPool", x, kernel_size, stride, padding, dilation, ceil_mode)
    window = PoolWindow(tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation))
    return *max_pool_forward(xp, x, window, out, keep_winners), window


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
    compute_dtype(f"AvgPool{len(out)}d", x.dtype)
    window = PoolWindow(tuple(kernel_size), tuple(stride), tuple(padding), ones)
    shape = x.shape
    return avg_pool_forward(xp, x, window, out, count_include_pad, divisor_override), lambda g: (
        avg_pool_backward(xp, g, window, shape, count_include_pad, divisor_override),
    )


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
        axes, count, shape, kind = tuple(range(2, x.ndim)), math.prod(x.shape[2:]), x.shape, x.dtype
        y = x.astype(dtype, copy=False).mean(axis=axes, keepdims=True).astype(x.dtype, copy=False)
        return y, lambda g: (xp.broadcast_to((g.astype(dtype, copy=False) / count).astype(kind), shape),)
    if not any(size % want for size, want in zip(x.shape[2:], out, strict=True)):
        step, shape = tuple(size // want for size, want in zip(x.shape[2:], out, strict=True)), x.shape
        window = PoolWindow(step, step, (0,) * n, (1,) * n)
        return avg_pool_forward(xp, x, window, out, False, 0), lambda g: (
            avg_pool_backward(xp, g, window, shape, False, 0),
        )
    # A window is a box, so its mean is a mean of means along each dim. Where the size stays, so does the rest.
    dims = [(axis, *_windows(x.shape[axis + 1], out[axis - 1])) for axis in range(1, n + 1)]
    dims = [each for each in dims if x.shape[each[0] + 1] != out[each[0] - 1]]
    spatial, dtype_of_x = x.shape[2:], x.dtype

    y = xp.moveaxis(x, 1, -1).astype(dtype, copy=False)
    for axis, start, end in dims:
        y = _range_sums(xp, y, axis, start, end) / _along(xp, end - start, axis, n + 2).astype(dtype)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.moveaxis(g, 1, -1).astype(dtype, copy=False)
        for axis, start, end in dims:
            # The windows that hold an element are a range too.
            position = np.arange(spatial[axis - 1])
            first, last = np.searchsorted(end, position, "right"), np.searchsorted(start, position, "right")
            grad = _range_sums(xp, grad / _along(xp, end - start, axis, n + 2).astype(dtype), axis, first, last)
        return (xp.moveaxis(grad, -1, 1).astype(dtype_of_x, copy=False),)

    return xp.moveaxis(y, -1, 1).astype(x.dtype, copy=False), vjp


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
