"""Softmax along one axis, its logarithm, and what cross entropy needs of it: rows in blocks that fit the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.kernels import kernel
from flownn.kernels.blocks import cache_blocks

__all__ = ["exp_in_place", "row_log_sums", "row_softmax_times", "softmax_backward", "softmax_forward"]

_PROVIDED = {"onednn": "flownn.kernels.onednn.softmax"}
_SMALLEST = 1 << 14  # numbers, from which on a library's call is worth its price


def _pieces(xp: Any, axis: int, *arrays: NDArray[Any]) -> Iterator[tuple[int, tuple[NDArray[Any], ...]]]:
    """Views of parts of arrays of one shape that hold whole rows along ``axis``, and which axis that is there."""
    moved = [xp.moveaxis(array, axis, -1) for array in arrays]
    if all(array.flags.c_contiguous for array in moved):
        arrays = tuple(array.reshape(-1, array.shape[-1]) for array in moved)
        axis = 1
    elif axis == 0:
        yield 0, arrays
        return
    count = arrays[0].shape[0]
    row_bytes = arrays[0].dtype.itemsize * math.prod(arrays[0].shape[1:])
    for block in cache_blocks(xp, count, row_bytes):
        yield axis, tuple(array[block] for array in arrays)


def _top(xp: Any, x: NDArray[Any], axis: int) -> Any:
    """The largest element of each row; 0 in place of inf and nan, which are no use to subtract."""
    top = x.max(axis=axis, keepdims=True)
    return xp.where(xp.isfinite(top), top, top.dtype.type(0))


@kernel("softmax_forward", provided=_PROVIDED, smallest=_SMALLEST)
def softmax_forward(xp: Any, x: NDArray[Any], axis: int, log: bool) -> NDArray[Any]:
    """``exp(x) / sum(exp(x))`` along an axis, or its logarithm; 16-bit floats are computed in float32 and stay it."""
    dtype = accumulator(x.dtype) or x.dtype
    y: NDArray[Any] = xp.empty_like(x, dtype=dtype)
    if not x.size:
        return y
    for along, (source, target) in _pieces(xp, axis, x, y):
        wide = source.astype(dtype, copy=False)
        shifted = xp.subtract(wide, _top(xp, wide, along), out=target)
        if log:
            shifted -= xp.log(xp.exp(shifted).sum(axis=along, keepdims=True))
        else:
            xp.exp(shifted, out=shifted)
            shifted /= shifted.sum(axis=along, keepdims=True)
    return y


@kernel("softmax_backward", provided=_PROVIDED, smallest=_SMALLEST)
def softmax_backward(xp: Any, g: NDArray[Any], y: NDArray[Any], axis: int, log: bool) -> NDArray[Any]:
    """The gradient of x from that of ``y = softmax_forward(x)``, both of one dtype."""
    result: NDArray[Any] = xp.empty_like(y)
    if not y.size:
        return result
    for along, (grad, value, target) in _pieces(xp, axis, g, y, result):
        if log:
            xp.exp(value, out=target)
            target *= grad.sum(axis=along, keepdims=True)
            xp.subtract(grad, target, out=target)
        else:
            xp.multiply(grad, value, out=target)
            total = target.sum(axis=along, keepdims=True)
            target -= value * total
    return result


@kernel("exp_in_place", provided=_PROVIDED, smallest=_SMALLEST)
def exp_in_place(xp: Any, x: NDArray[Any]) -> None:
    """Replace each number of a contiguous array by its exponential; providers serve numbers up to about 0."""
    xp.exp(x, out=x)


@kernel("row_log_sums")
def row_log_sums(xp: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """``log(sum(exp(row)))`` of rows (R, C), without overflow."""
    top = _top(xp, rows, 1)
    return (xp.log(xp.exp(rows - top).sum(axis=1, keepdims=True)) + top)[:, 0]  # type: ignore[no-any-return]


@kernel("row_log_sums", device="cpu")
def _row_log_sums_cpu(xp: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """In blocks, of which the largest element of all serves every row that is not far below it."""
    result: NDArray[Any] = np.empty(len(rows), rows.dtype)
    for block in cache_blocks(np, len(rows), rows.itemsize * rows.shape[1]):
        part = rows[block]
        top = part.max()
        work = part - top
        np.exp(work, out=work)
        total = work.sum(axis=1)
        # Shifted by another number the sum is as exact, unless it comes near the smallest numbers of the type.
        if math.isfinite(top) and total.min() > 1e-20:
            result[block] = np.log(total) + top
        else:
            result[block] = row_log_sums.portable(np, part)
    return result


@kernel("row_softmax_times")
def row_softmax_times(xp: Any, rows: NDArray[Any], log_sums: NDArray[Any], factors: NDArray[Any]) -> NDArray[Any]:
    """The softmax of rows (R, C), given their `row_log_sums`, times a factor for each row."""
    result: NDArray[Any] = xp.empty_like(rows)
    for block in cache_blocks(xp, len(rows), rows.itemsize * rows.shape[1]):
        part = xp.subtract(rows[block], log_sums[block, None], out=result[block])
        xp.exp(part, out=part)
        part *= factors[block, None]
    return result
