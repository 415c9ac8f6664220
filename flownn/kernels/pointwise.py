"""Functions of single elements and their gradients, block by block: all steps of one while it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.kernels import kernel

__all__ = ["Pointwise", "like_layout", "pointwise", "pointwise_gradient"]

_BLOCK = 1 << 15  # elements; a handful of such arrays stay in the second-level cache


class Pointwise(NamedTuple):
    """A function of single elements, as what defines it and by a name that faster bodies may know it by.

    ``value(x)`` is its result and ``gradient(g, saved)`` the gradient of x, where ``saved`` is the result if
    ``saves_result``, else x. Both take and return arrays of one shape, in any memory layout, of the dtype to compute
    in: float32 for the 16-bit floats.
    """

    name: str
    value: Callable[[NDArray[Any]], NDArray[Any]]
    gradient: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    saves_result: bool = False
    attrs: Mapping[str, Any] = {}


# Shorter arrays than so many elements are not worth a library's call.
_SMALLEST = 1 << 14
_PROVIDED = {"onednn": "flownn.kernels.onednn.pointwise"}


@kernel("pointwise", provided=_PROVIDED, smallest=_SMALLEST)
def pointwise(xp: Any, x: NDArray[Any], function: Pointwise) -> NDArray[Any]:
    """``function.value(x)`` in the dtype and memory layout of ``x``."""
    wide = accumulator(x.dtype) or x.dtype
    return function.value(x.astype(wide, copy=False)).astype(x.dtype, copy=False)


@kernel("pointwise_gradient", provided=_PROVIDED, smallest=_SMALLEST)
def pointwise_gradient(xp: Any, g: NDArray[Any], saved: NDArray[Any], function: Pointwise) -> NDArray[Any]:
    """``function.gradient(g, saved)`` in the dtype and memory layout of ``saved``."""
    wide = accumulator(saved.dtype) or saved.dtype
    gradient = function.gradient(g.astype(wide, copy=False), saved.astype(wide, copy=False))
    return gradient.astype(saved.dtype, copy=False)


@kernel("pointwise", device="cpu")
def pointwise_blocks(xp: Any, x: NDArray[Any], function: Pointwise) -> NDArray[Any]:
    """`pointwise` in blocks, where it is long enough to have some."""
    wide = accumulator(x.dtype) or x.dtype
    if x.size <= _BLOCK and x.flags.c_contiguous:
        return np.asarray(function.value(x.reshape(-1).astype(wide, copy=False)), x.dtype).reshape(x.shape)
    y = np.empty_like(x)
    flat, into = _vector(x, y), y.ravel("K")
    for start in range(0, x.size, _BLOCK):
        into[start : start + _BLOCK] = function.value(flat[start : start + _BLOCK].astype(wide, copy=False))
    return y


@kernel("pointwise_gradient", device="cpu")
def pointwise_gradient_blocks(xp: Any, g: NDArray[Any], saved: NDArray[Any], function: Pointwise) -> NDArray[Any]:
    """`pointwise_gradient` in blocks, where it is long enough to have some."""
    wide = accumulator(saved.dtype) or saved.dtype
    if saved.size <= _BLOCK and saved.flags.c_contiguous:
        flat, flat_g = saved.reshape(-1), g.reshape(-1)
        gradient = function.gradient(flat_g.astype(wide, copy=False), flat.astype(wide, copy=False))
        return np.asarray(gradient, saved.dtype).reshape(saved.shape)
    result = np.empty_like(saved)
    flat, into, flat_g = _vector(saved, result), result.ravel("K"), _vector(g, result)
    for start in range(0, saved.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        into[block] = function.gradient(flat_g[block].astype(wide, copy=False), flat[block].astype(wide, copy=False))
    return result


def _vector(x: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The elements of ``x`` in the order in which those of a dense array of its shape lie in memory."""
    vector: NDArray[Any] = like_layout(x, like).ravel("K")
    return vector


def like_layout(g: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """``g`` itself where its elements lie in memory as those of ``like``, a dense array; else a copy that does."""
    if g.itemsize == like.itemsize and (
        g.strides == like.strides
        or all(n == 1 or a == b for n, a, b in zip(g.shape, g.strides, like.strides, strict=True))
    ):
        return g
    copy = np.empty_like(like, dtype=g.dtype)
    copy[...] = g
    return copy
