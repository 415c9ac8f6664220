"""Reductions over dims. ``dim`` is one dim, several or None for all; ``keepdim`` keeps them with size 1.

Half precision is summed in float32.
"""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError, ShapeError
from flownn.ops.axes import Dims, also_as_in_numpy, axes_of, axis_of
from flownn.ops.elementwise import cast, maximum, minimum

if TYPE_CHECKING:
    from flownn.tensor import Tensor

Axes = tuple[int, ...]


class ValuesAndIndices(NamedTuple):
    """What a reduction along one dim found, and where."""

    values: Tensor
    indices: Tensor


def spread(xp: Any, g: Array, shape: tuple[int, ...], axes: Axes, keepdim: bool) -> Any:
    """The gradient of a reduction over ``axes``, repeated along them as a view."""
    if not keepdim:
        g = g.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])
    return xp.broadcast_to(g, shape)


def _count(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod(shape[axis] for axis in axes)


def widened(x: Array) -> Any:
    """Half precision as float32, others as they are."""
    return x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)


def require_floating(name: str, x: Array) -> None:
    """Refuse integers and bools.

    Raises:
        DtypeError: they are.
    """
    if dtypes.category(x.dtype) != dtypes.FLOATING:
        raise DtypeError(f"{name}: expected a floating point type, got {x.dtype}; convert with .float()")


# ---------------------------------------------------------------- sums


@op(quiet_floats=True)
def _sum(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    dtype = dtypes.accumulator(x.dtype) if dtypes.category(x.dtype) == dtypes.FLOATING else dtypes.int64.dtype
    shape = x.shape
    y = x.sum(axis=axes, keepdims=keepdim, dtype=dtype)
    if dtype is not None and dtype != dtypes.int64.dtype:
        y = y.astype(x.dtype)
    return y, lambda g: (spread(xp, g, shape, axes, keepdim),)


@also_as_in_numpy
def sum(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over dims; of integers and bools as int64.

    Args:
        x: Any shape.
        dim: Dims to sum over, None for all.
        keepdim: Keep them with size 1.
        dtype: Convert to this type first.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    if dtype is not None:
        x = cast(x, dtype=dtype)
    return _sum(x, axes=axes_of("sum", x.data.ndim, dim), keepdim=keepdim)


@op(quiet_floats=True)
def _mean(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    require_floating("mean", x)
    shape, count = x.shape, _count(x.shape, axes)
    total = x.sum(axis=axes, keepdims=keepdim, dtype=dtypes.accumulator(x.dtype))
    y = xp.asarray(total / count if count else total * math.nan).astype(x.dtype)
    return y, lambda g: (spread(xp, g / count, shape, axes, keepdim),)


@also_as_in_numpy
def mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over dims; NaN where there is nothing to average.

    Args:
        x: Floating point, any shape.
        dim: Dims to average over, None for all.
        keepdim: Keep them with size 1.
        dtype: Convert to this type first.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim, or it appears twice.
    """
    if dtype is not None:
        x = cast(x, dtype=dtype)
    return _mean(x, axes=axes_of("mean", x.data.ndim, dim), keepdim=keepdim)


@op(quiet_floats=True)
def _var(xp: Any, x: Array, *, axes: Axes, keepdim: bool, correction: float, root: bool) -> Any:
    require_floating("std" if root else "var", x)
    count = _count(x.shape, axes)
    free = count - correction
    wide = widened(x)
    centred = wide - wide.sum(axis=axes, keepdims=True) / builtins.max(count, 1)
    total = xp.square(centred).sum(axis=axes, keepdims=keepdim)
    y = xp.asarray(total / free if free > 0 else total * math.nan)
    y = xp.sqrt(y) if root else y

    def vjp(g: Array) -> Any:
        scale = xp.where(y == 0, 0, g / y) / free if root else 2 / free * g
        return (spread(xp, scale, x.shape, axes, keepdim) * centred,)

    return y.astype(x.dtype), vjp


@also_as_in_numpy
def var(
    x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Variance over dims: the mean square distance from the mean.

    Args:
        x: Floating point, any shape.
        dim: Dims to reduce, None for all.
        unbiased: Divide by ``n - 1`` instead of ``n``.
        keepdim: Keep the dims with size 1.
        correction: Divide by ``n - correction`` instead, whatever ``unbiased`` says.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim, or it appears twice.
    """
    axes, correction = _var_arguments("var", x, dim, unbiased, correction)
    return _var(x, axes=axes, keepdim=keepdim, correction=correction, root=False)


def _var_arguments(name: str, x: Tensor, dim: Any, unbiased: bool, correction: float | None) -> tuple[Axes, float]:
    """Also ``var(x, False)``, in which the flag stands in the place of the dim."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return axes_of(name, x.data.ndim, dim), int(unbiased) if correction is None else correction


@also_as_in_numpy
def std(
    x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Standard deviation over dims, the square root of `var`; gradient 0 where it is 0.

    Args:
        x: Floating point, any shape.
        dim: Dims to reduce, None for all.
        unbiased: Divide by ``n - 1`` instead of ``n``.
        keepdim: Keep the dims with size 1.
        correction: Divide by ``n - correction`` instead, whatever ``unbiased`` says.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim, or it appears twice.
    """
    axes, correction = _var_arguments("std", x, dim, unbiased, correction)
    return _var(x, axes=axes, keepdim=keepdim, correction=correction, root=True)


@op(quiet_floats=True)
def _prod(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    dtype = dtypes.int64.dtype if dtypes.category(x.dtype) != dtypes.FLOATING else None
    y = x.prod(axis=axes, keepdims=keepdim, dtype=dtype)

    def vjp(g: Array) -> Any:
        zero = x == 0
        zeros = zero.sum(axis=axes, keepdims=True)
        factors = xp.where(zero, 1, x)
        others = factors.prod(axis=axes, keepdims=True)  # of the factors that are not 0
        of_factor = xp.where(zeros == 0, others / factors, xp.where(zero & (zeros == 1), others, 0))
        return (spread(xp, g, x.shape, axes, keepdim) * of_factor,)

    return y, vjp


@also_as_in_numpy
def prod(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Product over dims; of integers and bools as int64.

    Args:
        x: Any shape.
        dim: Dims to multiply over, None for all.
        keepdim: Keep them with size 1.
        dtype: Convert to this type first.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    if dtype is not None:
        x = cast(x, dtype=dtype)
    return _prod(x, axes=axes_of("prod", x.data.ndim, dim), keepdim=keepdim)


@op(promote="float", quiet_floats=True)
def _logsumexp(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    wide = widened(x)
    top: Any = 0
    if _count(x.shape, axes):
        top = wide.max(axis=axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, 0)
    total = xp.exp(wide - top).sum(axis=axes, keepdims=True)
    y = top + xp.log(total)

    def vjp(g: Array) -> Any:
        return (spread(xp, g, x.shape, axes, keepdim) * xp.exp(wide - top) / total,)

    return (y if keepdim else xp.squeeze(y, axis=axes)).astype(x.dtype), vjp


@also_as_in_numpy
def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over dims, without overflow; -inf where there is nothing.

    Args:
        x: Any shape; integers become the default floating point type.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    return _logsumexp(x, axes=axes_of("logsumexp", x.data.ndim, dim), keepdim=keepdim)


# ---------------------------------------------------------------- extremes


@op
def _extreme(xp: Any, x: Array, *, axes: Axes, keepdim: bool, largest: bool) -> Any:
    require_elements("max" if largest else "min", x, axes)
    y = (x.max if largest else x.min)(axis=axes, keepdims=True)

    def vjp(g: Array) -> Any:
        found = x == y
        return (spread(xp, g, x.shape, axes, keepdim) * found / found.sum(axis=axes, keepdims=True),)

    return (y if keepdim else xp.squeeze(y, axis=axes)), vjp


@op(tuple_output=True)
def _extreme_with_index(xp: Any, x: Array, *, axis: int, keepdim: bool, largest: bool) -> Any:
    require_elements("max" if largest else "min", x, (axis,) if x.ndim else ())
    found = _arg_extreme(xp, x, axis, True, largest)
    values = xp.take_along_axis(x, found, axis) if x.ndim else x.copy()
    shape = x.shape

    def vjp(g: list[Any]) -> Any:
        gradient = xp.zeros(shape, g[0].dtype)
        if shape:
            xp.put_along_axis(gradient, found, g[0].reshape(found.shape), axis)
        else:
            gradient[...] = g[0]
        return (gradient,)

    if not keepdim and x.ndim:
        return (xp.squeeze(values, axis), xp.squeeze(found, axis)), vjp
    return (values, found), vjp


def _arg_extreme(xp: Any, x: Array, axis: int | None, keepdim: bool, largest: bool) -> Any:
    if x.ndim == 0:
        return xp.zeros((), dtypes.int64.dtype)
    x = x.view("uint8") if x.dtype.kind == "b" else x
    return (xp.argmax if largest else xp.argmin)(x, axis=axis, keepdims=keepdim).astype(dtypes.int64.dtype, copy=False)


def require_elements(name: str, x: Array, axes: Axes) -> None:
    """Refuse to choose from nothing.

    Raises:
        ShapeError: there is no element along these dims.
    """
    if _count(x.shape, axes) == 0:
        raise ShapeError(f"{name}: nothing to choose from along dims {axes} of shape {tuple(x.shape)}")


@also_as_in_numpy
def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over dims; equal ones share the gradient.

    Args:
        x: Any shape.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ShapeError: there is no such dim, it appears twice, or there is no element.
    """
    return _extreme(x, axes=axes_of("amax", x.data.ndim, dim), keepdim=keepdim, largest=True)


@also_as_in_numpy
def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over dims; equal ones share the gradient.

    Args:
        x: Any shape.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ShapeError: there is no such dim, it appears twice, or there is no element.
    """
    return _extreme(x, axes=axes_of("amin", x.data.ndim, dim), keepdim=keepdim, largest=False)


@also_as_in_numpy
def max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Largest element of all; along one dim with its index; or the larger of two tensors.

    Args:
        x: Any shape.
        dim: None for the largest of all; a dim for the largest along it as (values, indices), where only the first
            of equal ones is found and gets the gradient; a tensor for `maximum`.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    return _max_or_min("max", x, dim, keepdim)


@also_as_in_numpy
def min(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Smallest element of all; along one dim with its index; or the smaller of two tensors.

    Args:
        x: Any shape.
        dim: None for the smallest of all; a dim for the smallest along it as (values, indices), where only the first
            of equal ones is found and gets the gradient; a tensor for `minimum`.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    return _max_or_min("min", x, dim, keepdim)


def _max_or_min(name: str, x: Tensor, dim: Any, keepdim: bool) -> Any:
    largest = name == "max"
    if dim is None:
        return _extreme(x, axes=axes_of(name, x.data.ndim, None), keepdim=keepdim, largest=largest)
    if not isinstance(dim, (int, np.integer)):
        return maximum(x, dim) if largest else minimum(x, dim)
    axis = axis_of(name, x.data.ndim, int(dim))
    return ValuesAndIndices(*_extreme_with_index(x, axis=axis, keepdim=keepdim, largest=largest))


@op
def _argmax(xp: Any, x: Array, *, axis: int | None, keepdim: bool, largest: bool) -> Any:
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    require_elements("argmax" if largest else "argmin", x, axes if x.ndim else ())
    return _arg_extreme(xp, x, axis, keepdim, largest), None


@also_as_in_numpy
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest element, as int64.

    Args:
        x: Any shape.
        dim: Dim to search along; None counts through all elements in row-major order.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    axis = None if dim is None else axis_of("argmax", x.data.ndim, dim)
    return _argmax(x, axis=axis, keepdim=keepdim, largest=True)


@also_as_in_numpy
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest element, as int64.

    Args:
        x: Any shape.
        dim: Dim to search along; None counts through all elements in row-major order.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    axis = None if dim is None else axis_of("argmin", x.data.ndim, dim)
    return _argmax(x, axis=axis, keepdim=keepdim, largest=False)


@op
def _every(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    return xp.all(x, axis=axes, keepdims=keepdim), None


@op
def _some(xp: Any, x: Array, *, axes: Axes, keepdim: bool) -> Any:
    return xp.any(x, axis=axes, keepdims=keepdim), None


@also_as_in_numpy
def all(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element along dims is non-zero.

    Args:
        x: Any shape.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    return _every(x, axes=axes_of("all", x.data.ndim, dim), keepdim=keepdim)


@also_as_in_numpy
def any(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element along dims is non-zero.

    Args:
        x: Any shape.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    return _some(x, axes=axes_of("any", x.data.ndim, dim), keepdim=keepdim)
