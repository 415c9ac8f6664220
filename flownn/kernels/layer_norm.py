"""Normalisation of rows: each by its own mean and variance, or by its mean square alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.kernels import kernel
from flownn.kernels.blocks import cache_blocks
from flownn.kernels.channels import channel_sum

__all__ = ["Backward", "normalize_rows"]

# Fewer numbers than this go through NumPy in less time than the library's calls take.
_SMALLEST = 4096
_PROVIDED = {"onednn": "flownn.kernels.onednn.layer_norm"}

Backward = Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]]


@kernel("normalize_rows", provided=_PROVIDED, smallest=_SMALLEST)
def normalize_rows(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, eps: float, centre: bool
) -> tuple[NDArray[Any], Backward]:
    """Rows of x (rows, width), minus their mean if ``centre``, divided by their root mean square; scaled and shifted.

    Scale and shift are (width,), of the dtype that is computed in. Gives the result and the function from its gradient
    to those of x, scale and shift. Blocks of rows go through all steps while they are in the cache.
    """
    dtype = accumulator(x.dtype) or x.dtype
    count, width = x.shape
    blocks = cache_blocks(xp, count, width * dtype.itemsize)
    mean, inverse = xp.zeros((count, 1), dtype), xp.empty((count, 1), dtype)

    def row_mean(array: NDArray[Any]) -> Any:
        return array.sum(axis=1, keepdims=True) / max(width, 1)

    def spaces() -> Any:
        return xp.empty((2, blocks[0].stop if blocks else 0, width), dtype)

    def centered(block: slice, out: NDArray[Any]) -> Any:
        part = x[block].astype(dtype, copy=False)
        return xp.subtract(part, mean[block], out=out) if centre else part

    y = xp.empty((count, width), x.dtype)
    space, more = spaces()
    for block in blocks:
        rows = block.stop - block.start
        if centre:
            mean[block] = row_mean(x[block].astype(dtype, copy=False))
        part = centered(block, space[:rows])
        inverse[block] = 1 / xp.sqrt(row_mean(xp.multiply(part, part, out=more[:rows])) + eps)
        normal = xp.multiply(part, inverse[block], out=y[block] if y.dtype == dtype else more[:rows])
        if scale is not None:
            normal *= scale
        if shift is not None:
            normal += shift
        if y.dtype != dtype:
            y[block] = normal

    def backward(g: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        back = xp.empty((count, width), x.dtype)
        grad_scale = None if scale is None else xp.zeros(width)
        grad_shift = None if shift is None else xp.zeros(width)
        space, more = spaces()
        for block in blocks:
            rows = block.stop - block.start
            grad = g[block].astype(dtype, copy=False)
            normal = xp.multiply(centered(block, space[:rows]), inverse[block], out=space[:rows])
            product = xp.multiply(grad, normal, out=more[:rows])
            if grad_shift is not None:
                grad_shift += channel_sum(xp, grad[None])
            if scale is not None:
                grad_scale += channel_sum(xp, product[None])
                grad = grad * scale
                product *= scale
            # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
            normal *= row_mean(product)
            if centre:
                normal += row_mean(grad)
            xp.subtract(grad, normal, out=normal)
            back[block] = xp.multiply(normal, inverse[block], out=normal)
        return back, grad_scale, grad_shift

    return y, backward
