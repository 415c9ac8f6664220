"""Writing and adding at positions along a dim, at an index, or under a mask; each makes a new tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import CPU, Array, device_of, to_device
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.accumulate import along_axis, sum_at, wide_dtype
from flownn.ops.axes import axis_of
from flownn.ops.elementwise import multiply
from flownn.ops.index import plain_key, require_index, written_vjp
from flownn.ops.shape import broadcast_to, reshape

if TYPE_CHECKING:
    from flownn.tensor import Tensor


# ---------------------------------------------------------------- at an index


@op
def _put(xp: Any, x: Array, value: Array, *, key: Any) -> Any:
    y = x.copy()
    y[key] = value
    return y, written_vjp(xp, key, value.shape)


@op
def _add_at(xp: Any, x: Array, value: Array, *, key: Any) -> Any:
    place = np.broadcast_shapes(x[key].shape, value.shape)
    y = x + sum_at(xp, x.shape, key, xp.broadcast_to(value, place).astype(x.dtype, copy=False))
    return y, _added_vjp(key)


def _added_vjp(key: Any) -> Any:
    return lambda g: (g, lambda: g[key])


def index_put(x: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """A copy of ``x`` with ``values`` at an index.

    Args:
        x: Any shape.
        indices: A tuple of tensors of integers or bools, for the first dims; they broadcast.
        values: Tensor or number that broadcasts to ``x[indices]``.
        accumulate: Add instead of replacing; a place that is named several times gets all of them.

    Raises:
        DtypeError: ``values`` is of another type than ``x``.
        ShapeError: ``values`` does not fit.
        IndexError: a position is out of range.
    """
    key = plain_key(tuple(indices))
    values = _like(x, "index_put", values)
    try:
        return (_add_at if accumulate else _put)(x, values, key=key)
    except ValueError as error:
        raise ShapeError(f"index_put: {error}") from error


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``x`` whose elements where ``mask`` is true are those of ``source``, one after the other.

    Args:
        x: Any shape.
        mask: A bool tensor that broadcasts with it.
        source: As many elements as ``mask`` has true ones, or more.

    Raises:
        DtypeError: ``mask`` is not bool, or ``source`` is of another type than ``x``.
        ShapeError: ``source`` has too few elements.
    """
    if mask.data.dtype != dtypes.bool_.dtype:
        raise DtypeError(f"masked_scatter: expected a bool mask, got {mask.data.dtype}")
    shape = np.broadcast_shapes(x.data.shape, mask.data.shape)
    key = broadcast_to(mask, shape).data
    count = int(key.sum())
    if source.data.size < count:
        raise ShapeError(f"masked_scatter: expected {count} elements in source or more, got {source.data.size}")
    values = reshape(_like(x, "masked_scatter", source), -1)[:count]
    return _put(broadcast_to(x, shape), values, key=key)


def _like(x: Tensor, name: str, value: Any) -> Any:
    """A number as an array of the type of ``x``; a tensor must have it."""
    if isinstance(value, (bool, int, float)):
        return np.asarray(value).astype(x.data.dtype)
    if value.data.dtype != x.data.dtype:
        raise DtypeError(f"{name}: expected values of type {x.data.dtype}, got {value.data.dtype}; convert with .to()")
    return value


# ---------------------------------------------------------------- slices along a dim


def _slices(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[int, Any]:
    """The axis, and the key of the slices of ``x`` that ``index`` lists."""
    axis = axis_of(name, x.data.ndim, dim)
    require_index(name, index)
    if index.data.ndim > 1:
        raise ShapeError(f"{name}: expected an index of shape (n,), got {tuple(index.data.shape)}")
    positions = index.data.reshape(-1)
    size = x.data.shape[axis] if x.data.ndim else 1
    if positions.size and not -size <= int(positions.min()) <= int(positions.max()) < size:
        raise IndexError(f"{name}: positions must be from {-size} to {size - 1} along dim {axis}")
    return axis, (*(slice(None),) * axis, positions) if x.data.ndim else (None, positions)


def _as_slices(name: str, x: Tensor, axis: int, key: Any, source: Tensor) -> Any:
    shape = list(x.data.shape)
    if shape:
        shape[axis] = key[-1].size
    if source.data.shape != tuple(shape) and not (not shape and source.data.size == key[-1].size):
        raise ShapeError(f"{name}: expected a source of shape {tuple(shape)}, got {tuple(source.data.shape)}")
    source = _like(x, name, source)
    return source if shape else reshape(source, 1, -1)


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of ``x`` with ``alpha`` times the slices of ``source`` added to those that ``index`` lists.

    Args:
        x: Any shape.
        dim: Dim that the slices are counted along.
        index: Integers of shape (n,), each as often as one likes.
        source: The shape of ``x``, but n along ``dim``.
        alpha: Factor of ``source``.

    Raises:
        ShapeError: there is no such dim, or a shape does not fit.
        DtypeError: ``index`` holds no integers, or the types differ.
        IndexError: a position is out of range.
    """
    axis, key = _slices("index_add", x, dim, index)
    values = _as_slices("index_add", x, axis, key, source)
    if alpha != 1:
        values = multiply(values, alpha)
    return _add_at(x, values, key=key) if x.data.ndim else _add_at(reshape(x, 1), values, key=key).reshape(())


def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``x`` with the slices of ``source`` in place of those that ``index`` lists; the last one stays.

    Args:
        x: Any shape.
        dim: Dim that the slices are counted along.
        index: Integers of shape (n,).
        source: The shape of ``x``, but n along ``dim``.

    Raises:
        ShapeError: there is no such dim, or a shape does not fit.
        DtypeError: ``index`` holds no integers, or the types differ.
        IndexError: a position is out of range.
    """
    axis, key = _slices("index_copy", x, dim, index)
    values = _as_slices("index_copy", x, axis, key, source)
    return _put(x, values, key=key) if x.data.ndim else _put(reshape(x, 1), values, key=key).reshape(())


def index_fill(x: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``x`` with one number in all slices that ``index`` lists.

    Args:
        x: Any shape.
        dim: Dim that the slices are counted along.
        index: Integers of shape (n,).
        value: A number or a 0-dim tensor.

    Raises:
        ShapeError: there is no such dim, or ``value`` has dims.
        DtypeError: ``index`` holds no integers.
        IndexError: a position is out of range.
    """
    _, key = _slices("index_fill", x, dim, index)
    value = _like(x, "index_fill", value)
    if getattr(value, "ndim", 0):
        raise ShapeError(f"index_fill: expected a number or a 0-dim tensor, got shape {tuple(value.shape)}")
    return _put(x, value, key=key) if x.data.ndim else _put(reshape(x, 1), value, key=key).reshape(())


# ---------------------------------------------------------------- elements along a dim


@op
def _scatter(xp: Any, x: Array, src: Array, *, axis: int, index: Array, add: bool) -> Any:
    key = along_axis(xp, index, axis) or ...
    part, src_shape = tuple(map(slice, index.shape)), src.shape
    values = src[part] if src.ndim else src
    if add:
        total = sum_at(xp, x.shape, key, xp.broadcast_to(values, index.shape).astype(x.dtype, copy=False))
        y = x + total
    else:
        y = x.copy()
        y[key] = values
    of_both: Any = _added_vjp(key) if add else written_vjp(xp, key, values.shape)

    def vjp(g: Array) -> Any:
        of_x, of_part = of_both(g)

        def of_src() -> Any:
            if src_shape in ((), index.shape):
                return of_part()
            whole = xp.zeros(src_shape, g.dtype)
            whole[part] = of_part()
            return whole

        return of_x, of_src

    return y, vjp


def scatter(x: Tensor, dim: int, index: Tensor, src: Any, *, reduce: str | None = None) -> Tensor:
    """A copy of ``x`` with the element at each place of ``src`` written to position ``index[place]`` along ``dim``.

    Args:
        x: Any shape.
        dim: Dim that the positions count along.
        index: Integers, with as many dims as ``x`` and no size larger but along ``dim``.
        src: A number, or a tensor at least as large as ``index`` in every dim. Of several elements for one place
            the last one stays, and gets the gradient.
        reduce: ``"add"`` or ``"multiply"`` combines with what is there instead of replacing it.

    Raises:
        ShapeError: there is no such dim, or a shape does not fit.
        DtypeError: ``index`` holds no integers, or the types differ.
        IndexError: a position is out of range.
        ValueError: another ``reduce``.
    """
    axis = _check_places("scatter", x, dim, index, src)
    src = _like(x, "scatter", src)
    if reduce == "multiply":
        whole = src if src.ndim or not index.data.ndim else np.broadcast_to(src, index.data.shape)
        return _scatter_reduce(x, whole, axis=axis, index=index.data, reduce="prod", include_self=True)
    if reduce not in (None, "add"):
        raise ValueError(f"scatter: expected reduce None, 'add' or 'multiply', got {reduce!r}; see scatter_reduce")
    return _scatter(x, src, axis=axis, index=index.data, add=reduce == "add")


def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``x`` with the element at each place of ``src`` added to position ``index[place]`` along ``dim``.

    Args:
        x: Any shape.
        dim: Dim that the positions count along.
        index: Integers, with as many dims as ``x`` and no size larger but along ``dim``.
        src: At least as large as ``index`` in every dim.

    Raises:
        ShapeError: there is no such dim, or a shape does not fit.
        DtypeError: ``index`` holds no integers, or the types differ.
        IndexError: a position is out of range.
    """
    axis = _check_places("scatter_add", x, dim, index, src)
    return _scatter(x, _like(x, "scatter_add", src), axis=axis, index=index.data, add=True)


def _check_places(name: str, x: Tensor, dim: int, index: Tensor, src: Any) -> int:
    axis = axis_of(name, x.data.ndim, dim)
    require_index(name, index)
    shape, wanted = x.data.shape, index.data.shape
    given = wanted if isinstance(src, (bool, int, float)) else src.data.shape
    fits = len(shape) == len(wanted) == len(given) and all(
        (i == axis or b <= a) and b <= c for i, (a, b, c) in enumerate(zip(shape, wanted, given, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"{name}: index of shape {tuple(wanted)} does not fit into {tuple(shape)} along dim {axis} with a source "
            f"of shape {tuple(given)}"
        )
    size = shape[axis] if shape else 1
    if index.data.size and not 0 <= int(index.data.min()) <= int(index.data.max()) < size:
        raise IndexError(f"{name}: positions must be from 0 to {size - 1} along dim {axis}")
    return axis


_REDUCTIONS = ("sum", "mean", "prod", "amax", "amin")


def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``x`` with all elements of ``src`` that ``index`` sends to one place reduced there.

    Args:
        x: Any shape.
        dim: Dim that the positions count along.
        index: Integers, with as many dims as ``x`` and no size larger but along ``dim``.
        src: At least as large as ``index`` in every dim.
        reduce: ``"sum"``, ``"mean"``, ``"prod"``, ``"amax"`` or ``"amin"``; equal extremes share the gradient.
        include_self: Whether the element of ``x`` takes part where something is sent to it.

    Raises:
        ShapeError: there is no such dim, or a shape does not fit.
        DtypeError: ``index`` holds no integers, or the types differ.
        IndexError: a position is out of range.
        ValueError: another ``reduce``.
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"scatter_reduce: expected reduce one of {', '.join(_REDUCTIONS)}, got {reduce!r}")
    axis = _check_places("scatter_reduce", x, dim, index, src)
    src = _like(x, "scatter_reduce", src)
    return _scatter_reduce(x, src, axis=axis, index=index.data, reduce=reduce, include_self=include_self)


@op(quiet_floats=True)
def _scatter_reduce(xp: Any, x: Array, src: Array, *, axis: int, index: Array, reduce: str, include_self: bool) -> Any:
    key = along_axis(xp, index, axis) or ...
    part, src_shape = tuple(map(slice, index.shape)), src.shape
    wide = wide_dtype(x.dtype)
    own, sent = x.astype(wide), src[part].astype(wide)
    arrivals = sum_at(xp, x.shape, key, xp.ones(index.shape, dtypes.int64.dtype))
    own_counts = (arrivals == 0) | include_self  # where the element of x takes part
    if reduce in ("sum", "mean"):
        count = arrivals + own_counts if reduce == "mean" else xp.ones_like(arrivals)
        total = xp.where(own_counts, own, 0) + sum_at(xp, x.shape, key, sent)
        count = count.astype(wide)
        y = total / count if dtypes.category(x.dtype) == dtypes.FLOATING else xp.floor_divide(total, count)

        def inner(g: Array) -> Any:
            share = g / count
            return share * own_counts, lambda: share[key]

    elif reduce == "prod":
        y = _combined_at(xp, "multiply", xp.where(own_counts, own, 1), key, sent)
        zeros = sum_at(xp, x.shape, key, (sent == 0).astype(dtypes.int64.dtype)) + (own_counts & (own == 0))
        others = _combined_at(xp, "multiply", xp.where(own_counts & (own != 0), own, 1), key, xp.where(sent, sent, 1))

        def without(factor: Array, zeros: Array, others: Array) -> Any:
            """The product at a place without one of its factors."""
            return xp.where(zeros - (factor == 0) > 0, 0, others / xp.where(factor == 0, 1, factor))

        def inner(g: Array) -> Any:
            return g * own_counts * without(own, zeros, others), lambda: g[key] * without(sent, zeros[key], others[key])

    else:
        largest = reduce == "amax"
        lowest = _least(xp, wide, largest)
        y = _combined_at(xp, "maximum" if largest else "minimum", xp.where(own_counts, own, lowest), key, sent)

        def inner(g: Array) -> Any:
            mine, theirs = own_counts & (own == y), sent == y[key]
            share = g / (sum_at(xp, y.shape, key, theirs.astype(wide)) + mine)
            return share * mine, lambda: share[key] * theirs

    def vjp(g: Array) -> Any:
        of_x, of_part = inner(g)

        def of_src() -> Any:
            whole = xp.zeros(src_shape, g.dtype)
            whole[part] = of_part()
            return whole

        return of_x, of_src

    return y.astype(x.dtype), vjp


def _least(xp: Any, dtype: Any, largest: bool) -> Any:
    """The value that every other one wins against."""
    if dtype.kind == "f":
        return -np.inf if largest else np.inf
    return xp.iinfo(dtype).min if largest else xp.iinfo(dtype).max


def _combined_at(xp: Any, name: str, start: Array, key: Any, values: Array) -> Any:
    """``start`` with all ``values`` combined at ``key``. CuPy has no ``multiply.at``: there the host does it."""
    if xp is not np and name == "multiply":
        host = tuple(to_device(each, CPU) for each in key) if isinstance(key, tuple) else key
        combined = _combined_at(np, name, to_device(start, CPU), host, to_device(values, CPU))
        return to_device(combined, device_of(start))
    getattr(xp, name).at(start, key, values)
    return start
