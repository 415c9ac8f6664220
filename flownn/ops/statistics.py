"""Several results at once, sums that leave out NaN, distinct elements and how often they occur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flownn import dtypes
from flownn.autograd import op, wrap
from flownn.backend import Array, array_module
from flownn.errors import DtypeError, ShapeError
from flownn.ops.axes import Dims, axes_of, axis_of
from flownn.ops.compare import isnan, masked_fill
from flownn.ops.elementwise import cast, divide
from flownn.ops.reduce import amax, amin, mean, std, var
from flownn.ops.reduce import sum as sum_of
from flownn.ops.shape import reshape

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class MinAndMax(NamedTuple):
    """The smallest and the largest element."""

    min: Tensor
    max: Tensor


def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinAndMax:
    """Smallest and largest element, of all or along a dim; equal ones share the gradient.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    return MinAndMax(amin(x, dim, keepdim), amax(x, dim, keepdim))


def var_mean(
    x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """`var` and `mean` over the same dims."""
    over = None if isinstance(dim, bool) else dim
    return var(x, dim, unbiased, keepdim, correction=correction), mean(x, over, keepdim)


def std_mean(
    x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """`std` and `mean` over the same dims."""
    over = None if isinstance(dim, bool) else dim
    return std(x, dim, unbiased, keepdim, correction=correction), mean(x, over, keepdim)


def nansum(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum over dims of the elements that are not NaN."""
    return sum_of(masked_fill(x, isnan(x), 0), dim, keepdim)


def nanmean(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Mean over dims of the elements that are not NaN; NaN where there are none.

    Raises:
        DtypeError: ``x`` is not floating point.
    """
    if dtypes.category(x.data.dtype) != dtypes.FLOATING:
        raise DtypeError(f"nanmean: expected a floating point type, got {x.data.dtype}; convert with .float()")
    count = sum_of(~isnan(x), dim, keepdim)
    return cast(divide(nansum(x, dim, keepdim), count), dtype=x.data.dtype)


@op
def _count(xp: Any, x: Array, *, axes: tuple[int, ...]) -> Any:
    return (x != 0).sum(axis=axes, dtype=dtypes.int64.dtype), None


def count_nonzero(x: Tensor, dim: Dims = None) -> Tensor:
    """Number of elements over dims that are not 0.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    return _count(x, axes=axes_of("count_nonzero", x.data.ndim, dim))


# ---------------------------------------------------------------- distinct elements


def _several(*parts: Any) -> Any:
    kept = tuple(wrap(part) for part in parts if part is not None)
    return kept[0] if len(kept) == 1 else kept


def _lines(name: str, x: Tensor, dim: int | None) -> tuple[Any, Any]:
    """What is compared, along the first dim of an array, and the shape of the inverse."""
    if dim is None:
        return x.data.reshape(-1), x.data.shape
    axis = axis_of(name, x.data.ndim, dim)
    xp = array_module(x.data)
    lines = xp.moveaxis(x.data.reshape(x.data.shape or (1,)), axis, 0)
    return lines, (lines.shape[0],)


def _groups(xp: Any, lines: Any, differs: Any, order: Any) -> tuple[Any, Any, Any]:
    """Of lines in order, ``differs`` says which are not equal to the one before: firsts, inverse and counts."""
    n = lines.shape[0]
    starts = xp.flatnonzero(differs)
    number = xp.cumsum(differs) - 1
    inverse = number
    if order is not None:
        inverse = xp.zeros(n, dtypes.int64.dtype)
        inverse[order] = number
    counts = xp.diff(xp.concatenate([starts, xp.asarray([n])]))
    first = lines[starts] if order is None else lines[order][starts]
    return first, inverse.astype(dtypes.int64.dtype), counts.astype(dtypes.int64.dtype)


def _differs(xp: Any, lines: Any) -> Any:
    result = xp.ones(lines.shape[0], bool)
    if lines.shape[0] > 1:
        unequal = lines[1:] != lines[:-1]
        result[1:] = unequal.any(axis=tuple(range(1, unequal.ndim)))
    return result


def unique(
    x: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, or distinct slices along a dim, in order.

    Args:
        x: Any shape.
        sorted: In ascending order; False leaves the order open, today it is the same.
        return_inverse: Also return, for each element, the number of its value.
        return_counts: Also return how often each occurs.
        dim: Dim of the slices; None compares single elements.

    Returns:
        The values, or a tuple with what else was asked for.

    Raises:
        ShapeError: there is no such dim.
    """
    xp = array_module(x.data)
    lines, shape = _lines("unique", x, dim)
    flat = lines.reshape(lines.shape[0], -1) if lines.size else lines.reshape(lines.shape[0], 0)
    if flat.dtype == dtypes.BFLOAT16:
        flat = flat.astype(dtypes.float32.dtype)
    if flat.dtype.kind == "b":
        flat = flat.view("uint8")
    order = xp.lexsort(flat.T[::-1]) if flat.shape[1] else xp.arange(flat.shape[0])
    first, inverse, counts = _groups(xp, lines, _differs(xp, lines[order]), order)
    values = first if dim is None else xp.moveaxis(first, 0, axis_of("unique", x.data.ndim, dim))
    return _several(values, inverse.reshape(shape) if return_inverse else None, counts if return_counts else None)


def unique_consecutive(
    x: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements, or slices along a dim, without those that equal the one before.

    Args:
        x: Any shape.
        return_inverse: Also return, for each element, the number of its group.
        return_counts: Also return the size of each group.
        dim: Dim of the slices; None goes through the elements in row-major order.

    Returns:
        The values, or a tuple with what else was asked for.

    Raises:
        ShapeError: there is no such dim.
    """
    xp = array_module(x.data)
    lines, shape = _lines("unique_consecutive", x, dim)
    first, inverse, counts = _groups(xp, lines, _differs(xp, lines), None)
    values = first if dim is None else xp.moveaxis(first, 0, axis_of("unique_consecutive", x.data.ndim, dim))
    return _several(values, inverse.reshape(shape) if return_inverse else None, counts if return_counts else None)


@op
def _bincount(xp: Any, x: Array, weights: Array | None, *, minlength: int) -> Any:
    counts = xp.bincount(x, weights, minlength)
    return counts if weights is None or weights.dtype.kind != "f" else counts.astype(weights.dtype), None


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 on occurs; with weights the sum of theirs.

    Args:
        x: Integers from 0, shape (n,).
        weights: Shape (n,).
        minlength: Smallest size of the result.

    Raises:
        ShapeError: a shape is another.
        DtypeError: ``x`` holds no integers.
        ValueError: a negative integer.
    """
    if dtypes.category(x.data.dtype) != dtypes.INTEGER:
        raise DtypeError(f"bincount: expected integers, got {x.data.dtype}")
    if x.data.ndim != 1 or (weights is not None and weights.data.shape != x.data.shape):
        raise ShapeError(f"bincount: expected x (n,) and weights of its shape, got {tuple(x.data.shape)}")
    if x.data.size and int(x.data.min()) < 0:
        raise ValueError(f"bincount: expected integers from 0, got {int(x.data.min())}")
    return _bincount(x, weights, minlength=minlength)


@op(quiet_floats=True)
def _histc(xp: Any, x: Array, *, bins: int, low: float, high: float) -> Any:
    wide = x.astype(dtypes.float64.dtype)
    inside = wide[(wide >= low) & (wide <= high)]
    place = xp.minimum(((inside - low) * (bins / (high - low))).astype(dtypes.int64.dtype), bins - 1)
    return xp.bincount(place, None, bins).astype(x.dtype), None


def histc(x: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements are in each of ``bins`` equal intervals, counted in the type of ``x``.

    Args:
        x: Floating point, any shape.
        bins: How many intervals.
        min: Start of the first one.
        max: End of the last one, which belongs to it; if both are equal the extremes of ``x`` take their place.

    Raises:
        ValueError: ``bins`` is not positive, ``max`` is below ``min``, or the extremes are not finite.
    """
    if bins <= 0 or max < min:
        raise ValueError(f"histc: expected a positive number of bins and min up to max, got {bins}, {min} and {max}")
    low, high = float(min), float(max)
    if low == high and x.data.size:
        low, high = float(x.data.min()), float(x.data.max())
    if low == high:
        low, high = low - 1, high + 1
    if not np.isfinite([low, high]).all():
        raise ValueError(f"histc: expected a finite range, got {low} to {high}")
    return _histc(reshape(x, -1), bins=bins, low=low, high=high)
