"""Picking elements by position or mask, and writing to them. Indices work as in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import dtypes
from flownn.autograd import TensorBase, op
from flownn.backend import Array
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.accumulate import along_axis, sum_at
from flownn.ops.axes import axis_of
from flownn.ops.shape import expand, reshape, unbind, unsqueeze

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def plain_key(key: Any) -> Any:
    """The index with arrays in place of tensors, lists as arrays, and integers of tensors as such."""
    if isinstance(key, tuple):
        return tuple(plain_key(each) for each in key)
    if isinstance(key, TensorBase):
        key = key.data
        return int(key) if key.ndim == 0 and key.dtype.kind in "iu" else key
    if isinstance(key, list):
        return np.asarray([plain_key(each) for each in key], dtype=None if key else dtypes.int64.dtype)
    if isinstance(key, slice):
        return slice(
            *(int(each.data) if isinstance(each, TensorBase) else each for each in (key.start, key.stop, key.step))
        )
    return key


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _on_device(xp: Any, key: Any) -> Any:
    """The index with its arrays where ``xp`` can use them."""
    if isinstance(key, tuple):
        return tuple(_on_device(xp, each) for each in key)
    return xp.asarray(key) if getattr(key, "ndim", 0) else key


def _picks_once(key: Any) -> bool:
    """Whether no element can be picked twice: there are no integer arrays."""
    return all(each.dtype.kind == "b" for each in _parts(key) if getattr(each, "ndim", 0))


@op(view=True)
def _getitem(xp: Any, x: Array, *, key: Any) -> Any:
    shape, key = x.shape, _on_device(xp, key)

    def vjp(g: Array) -> Any:
        if not _picks_once(key):
            return (sum_at(xp, shape, key, g),)
        gradient = xp.zeros(shape, g.dtype)
        gradient[key] = g
        return (gradient,)

    y = x[key]
    if isinstance(y, np.generic):  # NumPy copies a single element; here it is a view like any other part
        y = x[(*_parts(key), ...)]
    return y, vjp


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]``: a view for integers, slices, None and Ellipsis; a copy for bool and integer arrays.

    Args:
        x: Any shape.
        key: As NumPy takes it; tensors count as arrays.

    Raises:
        IndexError: the index is out of range or has too many parts.
    """
    return _getitem(x, key=plain_key(key))


@op
def _setitem(xp: Any, x: Array, value: Array, *, key: Any) -> Any:
    key = _on_device(xp, key)
    x[key] = value
    return x, written_vjp(xp, key, value.shape)


def written_vjp(xp: Any, key: Any, value_shape: tuple[int, ...]) -> Any:
    """The gradient of ``x[key] = value``: what was kept and what was written."""

    def vjp(g: Array) -> Any:
        def of_kept() -> Any:
            kept = g.copy()
            kept[key] = 0
            return kept

        return of_kept, lambda: _fit_leading(_of_written(xp, g, key), value_shape)

    return vjp


def _of_written(xp: Any, g: Array, key: Any) -> Any:
    """``g[key]``, but 0 where another value was written to the same place afterwards."""
    picked = g[key]
    if _picks_once(key):
        return picked
    order = xp.arange(picked.size).reshape(picked.shape)
    last = xp.zeros(g.shape, order.dtype)
    last[key] = order
    return picked * (last[key] == order)


def _fit_leading(g: Array, shape: tuple[int, ...]) -> Any:
    """Room for leading dims of size 1 that NumPy let the value have."""
    return g.reshape((1,) * (len(shape) - g.ndim) + g.shape) if len(shape) > g.ndim else g


def write(x: Any, key: Any, value: Any, by: str) -> Any:
    """Change ``x``'s array at ``key``, and return a tensor over it with the graph of the change.

    The caller lets ``x`` continue at that graph, see `flownn.inplace`.

    Raises:
        IndexError: the index is out of range or has too many parts.
        ShapeError: the value does not broadcast to the indexed part.
    """
    if isinstance(value, (bool, int, float, list, tuple)):
        value = np.asarray(value).astype(x.data.dtype)  # not by way of the default type
    try:
        return _setitem(x, value, key=plain_key(key))
    except ValueError as error:
        raise ShapeError(f"{by}: {error}") from error


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Slices along a dim, in the order of a list of positions.

    Args:
        x: Any shape.
        dim: Dim to pick along.
        index: Integers of shape (n,).

    Raises:
        ShapeError: there is no such dim, or ``index`` is not 1-dim.
        DtypeError: ``index`` holds no integers.
        IndexError: a position is out of range.
    """
    axis = axis_of("index_select", x.data.ndim, dim)
    require_index("index_select", index)
    if index.data.ndim != 1:
        raise ShapeError(f"index_select: expected an index of shape (n,), got {tuple(index.data.shape)}")
    return _getitem(x, key=(*(slice(None),) * axis, index.data))


@op
def _gather(xp: Any, x: Array, *, axis: int, index: Array) -> Any:
    shape = x.shape
    if not shape:
        return x.copy(), lambda g: (g,)
    key = along_axis(xp, index, axis)
    return x[key], lambda g: (sum_at(xp, shape, key, g),)


def pick(x: Tensor, axis: int, index: Array) -> Tensor:
    """`gather` along an axis at positions that are known to fit; a 0-dim tensor has the one at 0."""
    return _gather(x, axis=axis, index=index)


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """For each place of ``index`` the element of ``x`` there, but at position ``index[place]`` along ``dim``.

    Args:
        x: Any shape.
        dim: Dim that the positions count along.
        index: Integers, with as many dims as ``x`` and no size larger but along ``dim``.

    Raises:
        ShapeError: there is no such dim, or ``index`` does not fit.
        DtypeError: ``index`` holds no integers.
        IndexError: a position is out of range.
    """
    axis = axis_of("gather", x.data.ndim, dim)
    require_index("gather", index)
    shape, wanted = x.data.shape, index.data.shape
    if len(shape) != len(wanted) or any(b > a for i, (a, b) in enumerate(zip(shape, wanted, strict=True)) if i != axis):
        raise ShapeError(f"gather: index of shape {tuple(wanted)} does not fit into {tuple(shape)} along dim {axis}")
    if wanted and index.data.size and not 0 <= int(index.data.min()) <= int(index.data.max()) < shape[axis]:
        raise IndexError(f"gather: positions must be from 0 to {shape[axis] - 1} along dim {axis}")
    return _gather(x, axis=axis, index=index.data)


def require_index(name: str, index: Any) -> None:
    """Refuse what is no tensor of integers.

    Raises:
        DtypeError: it is something else.
    """
    kind = getattr(getattr(index, "data", None), "dtype", None)
    if kind is None or dtypes.category(kind) != dtypes.INTEGER:
        raise DtypeError(f"{name}: expected a tensor of integers as index, got {kind or type(index).__name__}")


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements where ``mask`` is true, in row-major order, as one dim.

    Args:
        x: Any shape.
        mask: A bool tensor that broadcasts with it.

    Raises:
        DtypeError: ``mask`` is not bool.
    """
    if mask.data.dtype != dtypes.bool_.dtype:
        raise DtypeError(f"masked_select: expected a bool tensor, got {mask.data.dtype}")
    shape = np.broadcast_shapes(x.data.shape, mask.data.shape)
    return _getitem(expand(x, shape), key=expand(mask, shape).data)


@op
def _nonzero(xp: Any, x: Array) -> Any:
    places = xp.nonzero(xp.atleast_1d(x))
    return xp.stack(places, axis=1).astype(dtypes.int64.dtype)[:, : x.ndim], None


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0, one row each, in row-major order.

    Args:
        x: Any shape.
        as_tuple: Return a tensor per dim instead, which together are an index for these elements.

    >>> import flownn as flow
    >>> nonzero(flow.tensor([0, 3, 4])).tolist()
    [[1], [2]]
    """
    rows = _nonzero(x if x.data.ndim or not as_tuple else unsqueeze(x, 0))
    return unbind(rows, 1) if as_tuple else rows


def argwhere(x: Tensor) -> Tensor:
    """The positions of the elements that are not 0, one row each, in row-major order."""
    return _nonzero(x)


def select(x: Tensor, dim: int, index: int) -> Tensor:
    """One slice along a dim, without that dim, as a view.

    Args:
        x: One dim or more.
        dim: Dim to pick along.
        index: Position; negative ones count from the end.

    Raises:
        ShapeError: there is no such dim.
        IndexError: the position is out of range.
    """
    if not x.data.ndim:
        raise ShapeError("select: expected one dim or more, got a 0-dim tensor")
    return getitem(x, (*(slice(None),) * axis_of("select", x.data.ndim, dim), int(index)))


def narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The part of a dim from ``start`` on, as a view.

    Args:
        x: One dim or more.
        dim: Dim to cut.
        start: First position; a negative one counts from the end.
        length: Size of the part.

    Raises:
        ShapeError: there is no such dim, or the part does not lie inside it.
    """
    if not x.data.ndim:
        raise ShapeError("narrow: expected one dim or more, got a 0-dim tensor")
    axis = axis_of("narrow", x.data.ndim, dim)
    size = x.data.shape[axis]
    first = int(start) + size if start < 0 else int(start)
    if not 0 <= first <= size or not 0 <= length <= size - first:
        raise ShapeError(f"narrow: start {start} and length {length} do not fit into size {size} of dim {axis}")
    return getitem(x, (*(slice(None),) * axis, slice(first, first + length)))


def take(x: Tensor, index: Tensor) -> Tensor:
    """The elements at these positions of the tensor in row-major order, in the shape of ``index``.

    Args:
        x: Any shape.
        index: Integers of any shape.

    Raises:
        DtypeError: ``index`` holds no integers.
        IndexError: a position is out of range.
    """
    require_index("take", index)
    return _getitem(reshape(x, -1), key=index.data)


def take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """For each place of ``indices`` the element of ``x`` there, but at that position along ``dim``.

    Args:
        x: Any shape.
        indices: Integers; broadcast with ``x`` in all dims but ``dim``.
        dim: Dim that the positions count along; None counts through all elements in row-major order.

    Raises:
        ShapeError: there is no such dim, or the shapes do not broadcast.
        DtypeError: ``indices`` holds no integers.
        IndexError: a position is out of range.
    """
    require_index("take_along_dim", indices)
    if dim is None:
        return gather(reshape(x, -1), 0, reshape(indices, -1))
    axis = axis_of("take_along_dim", x.data.ndim, dim)
    have, wanted = list(x.data.shape), list(indices.data.shape)
    if len(have) != len(wanted):
        raise ShapeError(f"take_along_dim: expected {len(have)} dims in indices, got shape {tuple(wanted)}")
    along = have[axis], wanted[axis]
    have[axis] = wanted[axis] = 1
    try:
        common = list(np.broadcast_shapes(tuple(have), tuple(wanted)))
    except ValueError as error:
        raise ShapeError(
            f"take_along_dim: shapes {tuple(x.data.shape)} and {tuple(indices.data.shape)} do not broadcast but in "
            f"dim {axis}"
        ) from error
    common[axis] = along[0]
    whole = expand(x, common)
    common[axis] = along[1]
    return gather(whole, axis, expand(indices, common))
