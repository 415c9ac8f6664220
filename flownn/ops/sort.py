"""Order along a dim: sorting, the k largest, medians, quantiles. NaN counts as the largest number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op, wrap
from flownn.backend import Array, array_module
from flownn.errors import DtypeError, ShapeError
from flownn.ops.arithmetic import lerp
from flownn.ops.axes import axis_of
from flownn.ops.compare import masked_fill
from flownn.ops.index import pick
from flownn.ops.reduce import ValuesAndIndices
from flownn.ops.shape import movedim, reshape, squeeze

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def _comparable(x: Array) -> Any:
    """The values in a type that every array module can sort."""
    if x.dtype == dtypes.BFLOAT16:
        return x.astype(dtypes.float32.dtype)
    return x.view("uint8") if x.dtype.kind == "b" else x


def order_of(x: Array, axis: int, descending: bool = False) -> Any:
    """Positions along the axis in the order of the values; equal ones stay in their order."""
    xp = array_module(x)
    if not x.ndim:
        return xp.zeros((), dtypes.int64.dtype)
    values = _comparable(x)
    if not descending:
        return xp.argsort(values, axis=axis, kind="stable")
    return xp.flip(x.shape[axis] - 1 - xp.argsort(xp.flip(values, axis), axis=axis, kind="stable"), axis)


def _picked(x: Tensor, axis: int, index: Array, keepdim: bool) -> ValuesAndIndices:
    """One element along the axis for each line, at these positions, which have size 1 there."""
    values, indices = pick(x, axis, index), wrap(index)
    if not keepdim and x.data.ndim:
        values, indices = squeeze(values, axis), wrap(index.squeeze(axis))
    return ValuesAndIndices(values, indices)


def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> ValuesAndIndices:
    """The elements in order along a dim, and where each was.

    Args:
        x: Any shape.
        dim: Dim to sort along.
        descending: Largest first.
        stable: Equal elements stay in their order; they do so in any case.

    Raises:
        ShapeError: there is no such dim.

    >>> import flownn as flow
    >>> sort(flow.tensor([2, 1, 3]), descending=True).indices.tolist()
    [2, 0, 1]
    """
    axis = axis_of("sort", x.data.ndim, dim)
    index = order_of(x.data, axis, descending)
    return ValuesAndIndices(pick(x, axis, index), wrap(index))


def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Positions along a dim in the order of the values.

    Args:
        x: Any shape.
        dim: Dim to sort along.
        descending: Largest first.
        stable: Equal elements stay in their order; they do so in any case.

    Raises:
        ShapeError: there is no such dim.
    """
    result: Tensor = wrap(order_of(x.data, axis_of("argsort", x.data.ndim, dim), descending))
    return result


def msort(x: Tensor) -> Tensor:
    """The elements in order along the first dim."""
    return sort(x, 0).values


def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """The ``k`` largest or smallest elements along a dim, and where they are.

    Args:
        x: Any shape.
        k: How many.
        dim: Dim to search along.
        largest: The largest instead of the smallest.
        sorted: Best first. False leaves the order open; today it is the same.

    Raises:
        ShapeError: there is no such dim, or it has fewer than ``k`` elements.
    """
    axis = axis_of("topk", x.data.ndim, dim)
    size = x.data.shape[axis] if x.data.ndim else 1
    if not 0 <= k <= size:
        raise ShapeError(f"topk: expected k from 0 to {size}, the size of dim {axis}, got {k}")
    index = order_of(x.data, axis, largest)
    if x.data.ndim:
        index = index[(*(slice(None),) * axis, slice(k))]
    return ValuesAndIndices(pick(x, axis, index), wrap(index))


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The ``k``-th smallest element along a dim, counted from 1, and where it is.

    Args:
        x: Any shape.
        k: Its rank.
        dim: Dim to search along.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or it has fewer than ``k`` elements.
    """
    axis = axis_of("kthvalue", x.data.ndim, dim)
    size = x.data.shape[axis] if x.data.ndim else 1
    if not 1 <= k <= size:
        raise ShapeError(f"kthvalue: expected k from 1 to {size}, the size of dim {axis}, got {k}")
    index = order_of(x.data, axis)
    if x.data.ndim:
        index = index[(*(slice(None),) * axis, slice(k - 1, k))]
    return _picked(x, axis, index, keepdim)


def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, of an even number the lower one; NaN if there is one, or nothing at all.

    Args:
        x: Any shape.
        dim: Dim to search along, for (values, indices); None for the median of all as one tensor.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    return _median("median", x, dim, keepdim, ignore_nan=False)


def nanmedian(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element of those that are not NaN, of an even number the lower one.

    Args:
        x: Any shape.
        dim: Dim to search along, for (values, indices); None for the median of all as one tensor.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    return _median("nanmedian", x, dim, keepdim, ignore_nan=True)


def _median(name: str, x: Tensor, dim: int | None, keepdim: bool, *, ignore_nan: bool) -> Any:
    if dim is None and not x.data.size and dtypes.category(x.data.dtype) == dtypes.FLOATING:
        return wrap(array_module(x.data).asarray(math.nan, x.data.dtype))
    if dim is None:
        return _median(name, reshape(x, -1), 0, False, ignore_nan=ignore_nan).values
    axis = axis_of(name, x.data.ndim, dim)
    order = order_of(x.data, axis)
    if not x.data.ndim:
        return _picked(x, axis, order, keepdim)
    size = x.data.shape[axis]
    if not size:
        raise ShapeError(f"{name}: nothing to choose from along dim {axis} of shape {tuple(x.data.shape)}")
    xp = array_module(x.data)
    missing = xp.isnan(_comparable(x.data)).sum(axis=axis, keepdims=True)
    present = size - missing
    rank = xp.maximum(present - 1, 0) // 2
    if not ignore_nan:
        rank = xp.where(missing > 0, xp.minimum(present, size - 1), rank)  # the first NaN
    return _picked(x, axis, xp.take_along_axis(order, rank, axis), keepdim)


def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The most frequent element along a dim, of several the smallest, and where it is last.

    Args:
        x: Any shape.
        dim: Dim to search along.
        keepdim: Keep the dim with size 1.

    Raises:
        ShapeError: there is no such dim, or no element.
    """
    axis = axis_of("mode", x.data.ndim, dim)
    order = order_of(x.data, axis)
    if not x.data.ndim:
        return _picked(x, axis, order, keepdim)
    if not x.data.shape[axis]:
        raise ShapeError(f"mode: nothing to choose from along dim {axis} of shape {tuple(x.data.shape)}")
    xp = array_module(x.data)
    values = xp.moveaxis(xp.take_along_axis(_comparable(x.data), order, axis), axis, -1)
    starts = xp.ones(values.shape, bool)  # where a run of equal elements starts; each line starts one
    starts[..., 1:] = values[..., 1:] != values[..., :-1]
    runs = xp.cumsum(starts.reshape(-1)) - 1
    since_start = (xp.arange(starts.size) - xp.flatnonzero(starts)[runs]).reshape(values.shape)
    last = xp.moveaxis(xp.argmax(since_start, axis=-1, keepdims=True), -1, axis)
    return _picked(x, axis, xp.take_along_axis(order, last, axis), keepdim)


_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(
    x: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The value below which a fraction ``q`` of the elements lies; NaN if one of them is.

    Args:
        x: Floating point, any shape.
        q: One fraction from 0 to 1, or a 1-dim tensor of them, which becomes the first dim of the result.
        dim: Dim to reduce, None for all.
        keepdim: Keep it with size 1.
        interpolation: Between two elements: ``"linear"``, ``"lower"``, ``"higher"``, ``"nearest"`` (halves to the
            even rank) or ``"midpoint"``.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim or no element.
        ValueError: a fraction outside [0, 1], or another ``interpolation``.
    """
    return _quantile("quantile", x, q, dim, keepdim, interpolation)


def nanquantile(
    x: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are not NaN; NaN where there are none."""
    return _quantile("nanquantile", x, q, dim, keepdim, interpolation)


def _quantile(name: str, x: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Tensor:
    if dtypes.category(x.data.dtype) != dtypes.FLOATING:
        raise DtypeError(f"{name}: expected a floating point type, got {x.data.dtype}; convert with .float()")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"{name}: expected interpolation one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    xp, ndim = array_module(x.data), x.data.ndim
    fractions = xp.asarray(getattr(q, "data", q), dtypes.float64.dtype)
    if not ((fractions >= 0) & (fractions <= 1)).all():
        raise ValueError(f"{name}: expected fractions from 0 to 1, got {q}")
    axis = 0 if dim is None else axis_of(name, ndim, dim)
    lines = reshape(x, -1) if dim is None or not ndim else movedim(x, axis, -1)
    size = lines.data.shape[-1]
    if not size:
        raise ShapeError(f"{name}: nothing to choose from along dim {dim} of shape {tuple(x.data.shape)}")
    missing = xp.isnan(_comparable(lines.data)).sum(axis=-1, keepdims=True)
    ranks = xp.maximum(size - missing - 1, 0) * fractions.reshape(-1)
    if interpolation in ("lower", "higher", "nearest"):
        ranks = {"lower": xp.floor, "higher": xp.ceil, "nearest": xp.rint}[interpolation](ranks)
    below, above = xp.floor(ranks).astype(dtypes.int64.dtype), xp.ceil(ranks).astype(dtypes.int64.dtype)
    weights = 0.5 * (below != above) if interpolation == "midpoint" else ranks - below
    in_order, last = sort(lines, -1).values, lines.data.ndim - 1
    between = lerp(pick(in_order, last, below), pick(in_order, last, above), wrap(weights.astype(x.data.dtype)))
    undefined = missing == size if name == "nanquantile" else missing > 0
    result = movedim(masked_fill(between, wrap(undefined), math.nan), -1, 0)
    if keepdim and ndim:
        kept = [1 if dim is None or each == axis else size for each, size in enumerate(x.data.shape)]
        result = reshape(result, -1, *kept)
    return result if fractions.ndim else squeeze(result, 0)


@op
def _searched(xp: Any, ordered: Array, values: Array, *, right: bool, dtype: Any) -> Any:
    return _ranks(xp, ordered, values, right).astype(dtype), None


def _ranks(xp: Any, ordered: Array, values: Array, right: bool) -> Any:
    """For each value how many elements of its line come before it."""
    if ordered.ndim == 1:
        return xp.searchsorted(_comparable(ordered), _comparable(values), side="right" if right else "left")
    n, m = ordered.shape[-1], values.shape[-1]
    parts = (ordered, values) if right else (values, ordered)  # of equal ones the first part comes first
    together = xp.concatenate([_comparable(each) for each in parts], axis=-1)
    order = xp.argsort(together, axis=-1, kind="stable")
    start = n if right else 0  # where the values are
    is_value = (order >= start) & (order < start + m)
    before = xp.cumsum(~is_value, axis=-1)
    result = xp.zeros((*values.shape[:-1], n + m), dtypes.int64.dtype)
    xp.put_along_axis(result, order, before, -1)
    return result[..., start : start + m]


def searchsorted(
    sorted_sequence: Tensor, values: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Tensor:
    """Where to insert each value so that the sequence stays in order.

    Args:
        sorted_sequence: Elements in order along the last dim.
        values: A number or tensor; any shape for a 1-dim sequence, else equal in all dims but the last.
        out_int32: Return int32 instead of int64.
        right: After equal elements instead of before them.
        side: ``"left"`` or ``"right"``, the same by name.

    Raises:
        ShapeError: the leading dims differ.
        ValueError: another ``side``, or one that contradicts ``right``.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ValueError(f"searchsorted: expected side 'left' or 'right' in accord with right, got {side!r}, {right}")
    shape = sorted_sequence.data.shape
    number = isinstance(values, (bool, int, float))
    if not shape or (len(shape) > 1 and (number or values.data.shape[:-1] != shape[:-1] or not values.data.ndim)):
        got = "a number" if number else tuple(values.data.shape)
        raise ShapeError(f"searchsorted: expected values of shape {(*shape[:-1], 'n')}, got {got}")
    kind = dtypes.int32.dtype if out_int32 else dtypes.int64.dtype
    return _searched(sorted_sequence, values, right=right or side == "right", dtype=kind)


def bucketize(x: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """For each element the number of the interval between ``boundaries`` that it lies in.

    Args:
        x: A number or tensor of any shape.
        boundaries: Numbers in order, shape (n,).
        out_int32: Return int32 instead of int64.
        right: An interval has its left end instead of its right one.

    Raises:
        ShapeError: ``boundaries`` is not 1-dim.
    """
    if boundaries.data.ndim != 1:
        raise ShapeError(f"bucketize: expected boundaries of shape (n,), got {tuple(boundaries.data.shape)}")
    return searchsorted(boundaries, x, out_int32=out_int32, right=right)
