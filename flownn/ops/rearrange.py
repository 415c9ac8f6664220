"""Joining, cutting and moving elements: stacks, tiles, rolls, rotations, triangles, diagonals, sliding windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array, array_module
from flownn.errors import ShapeError
from flownn.kernels.accumulate import sum_at
from flownn.ops.axes import Dims, axes_of, axis_of
from flownn.ops.compare import not_equal
from flownn.ops.diagonal import require_matrix
from flownn.ops.elementwise import subtract
from flownn.ops.index import narrow
from flownn.ops.index import require_index as require_integers
from flownn.ops.shape import cat, expand, flatten, flip, repeat, reshape, split, transpose, unsqueeze

if TYPE_CHECKING:
    from flownn.tensor import Tensor


# ---------------------------------------------------------------- joining and cutting


def atleast_1d(x: Tensor) -> Tensor:
    """The tensor with one dim or more."""
    return x if x.data.ndim else reshape(x, 1)


def atleast_2d(x: Tensor) -> Tensor:
    """The tensor with two dims or more; new ones come first."""
    return x if x.data.ndim >= 2 else unsqueeze(atleast_1d(x), 0)


def atleast_3d(x: Tensor) -> Tensor:
    """The tensor with three dims or more; a matrix gets a last one."""
    return x if x.data.ndim >= 3 else unsqueeze(atleast_2d(x), -1)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along the second dim, vectors along their only one.

    Raises:
        ShapeError: no tensors, or shapes that do not fit together.
    """
    parts = [atleast_1d(each) for each in tensors]
    return cat(parts, 0 if parts and parts[0].data.ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along the first dim; vectors are rows.

    Raises:
        ShapeError: no tensors, or shapes that do not fit together.
    """
    return cat([atleast_2d(each) for each in tensors], 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along the third dim.

    Raises:
        ShapeError: no tensors, or shapes that do not fit together.
    """
    return cat([atleast_3d(each) for each in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along the second dim; vectors are columns.

    Raises:
        ShapeError: no tensors, or shapes that do not fit together.
    """
    return cat([each if each.data.ndim > 1 else reshape(each, -1, 1) for each in tensors], 1)


def tensor_split(x: Tensor, indices_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor into views along a dim, in parts as equal as possible or before given positions.

    Args:
        x: One dim or more.
        indices_or_sections: Number of parts, of which the first may be one larger; or positions to cut before.
        dim: Dim to cut.

    Raises:
        ShapeError: there is no such dim, or the number of parts is not positive.
    """
    if not x.data.ndim:
        raise ShapeError("tensor_split: expected one dim or more, got a 0-dim tensor")
    axis = axis_of("tensor_split", x.data.ndim, dim)
    size = x.data.shape[axis]
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        if n <= 0:
            raise ShapeError(f"tensor_split: expected a positive number of parts, got {n}")
        return split(x, [size // n + (i < size % n) for i in range(n)], axis)
    ends = [0, *(slice(int(each)).indices(size)[1] for each in indices_or_sections), size]
    return tuple(narrow(x, axis, start, max(0, end - start)) for start, end in itertools.pairwise(ends))


def hsplit(x: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along the second dim, or the only one."""
    return tensor_split(x, indices_or_sections, 0 if x.data.ndim == 1 else 1)


def vsplit(x: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along the first dim of two or more."""
    require_matrix("vsplit", x)
    return tensor_split(x, indices_or_sections, 0)


def dsplit(x: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along the third dim."""
    return tensor_split(x, indices_or_sections, 2)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Each vector repeated along the dims of all others, as views.

    Args:
        *tensors: Vectors or 0-dim tensors, or one sequence of them.
        indexing: ``"ij"``: dim i goes along vector i; ``"xy"``: the first two dims are swapped.

    Raises:
        ShapeError: a tensor has several dims.
        ValueError: another ``indexing``.
    """
    vectors = list(tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors)
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: expected indexing 'ij' or 'xy', got {indexing!r}")
    if any(each.data.ndim > 1 for each in vectors):
        raise ShapeError(f"meshgrid: expected vectors, got shapes {[tuple(each.data.shape) for each in vectors]}")
    sizes = [each.data.size for each in vectors]
    grids = [
        expand(reshape(each, [-1 if i == axis else 1 for i in range(len(sizes))]), sizes)
        for axis, each in enumerate(vectors)
    ]
    return tuple(transpose(each, 0, 1) for each in grids) if indexing == "xy" and len(sizes) > 1 else tuple(grids)


# ---------------------------------------------------------------- repeating


def tile(x: Tensor, *dims: Any) -> Tensor:
    """Copies of the tensor side by side; fewer numbers than dims count for the last ones.

    Args:
        x: Any shape.
        *dims: Copies along each dim, or one sequence of them.
    """
    counts = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    return repeat(x, *(1,) * (x.data.ndim - len(counts)), *counts)


@op
def _pick_slices(xp: Any, x: Array, *, axis: int, index: Array) -> Any:
    shape = x.shape
    key: Any = (*(slice(None),) * axis, index)
    return x[key], lambda g: (sum_at(xp, shape, key, g),)


def repeat_interleave(x: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Each slice along a dim several times in a row.

    Args:
        x: Any shape.
        repeats: How often: one number, or a tensor with a number per slice.
        dim: Dim of the slices; None means the elements in row-major order.

    Raises:
        ShapeError: there is no such dim, or the number of counts is not its size.
        DtypeError: ``repeats`` holds no integers.
        ValueError: a negative count.
    """
    lines = reshape(x, -1) if dim is None else x
    axis = axis_of("repeat_interleave", lines.data.ndim, 0 if dim is None else dim)
    xp, size = array_module(x.data), lines.data.shape[axis]
    if isinstance(repeats, int):
        counts = xp.full(1, repeats, dtypes.int64.dtype)
    else:
        require_integers("repeat_interleave", repeats)
        counts = repeats.data.reshape(-1)
    if counts.size not in (1, size):
        raise ShapeError(f"repeat_interleave: expected 1 or {size} counts for dim {axis}, got {counts.size}")
    if counts.size and int(counts.min()) < 0:
        raise ValueError(f"repeat_interleave: expected counts from 0, got {int(counts.min())}")
    ends = xp.cumsum(xp.broadcast_to(counts, (size,)))
    index = xp.searchsorted(ends, xp.arange(int(ends[-1]) if size else 0), side="right")
    return _pick_slices(lines, axis=axis, index=index)


# ---------------------------------------------------------------- moving


@op
def _roll(xp: Any, x: Array, *, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    back = tuple(-each for each in shifts)
    return xp.roll(x, shifts, axes), lambda g: (xp.roll(g, back, axes),)


def roll(x: Tensor, shifts: int | Sequence[int], dims: Dims = None) -> Tensor:
    """The elements moved along dims; those that leave at one end come back at the other.

    Args:
        x: Any shape.
        shifts: By how much, one number per dim.
        dims: Dims to move along; None moves through all elements in row-major order.

    Raises:
        ShapeError: there is no such dim, or the numbers of shifts and dims differ.
    """
    counts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None or dims == ():
        if len(counts) != 1:
            raise ShapeError(f"roll: expected one shift without dims, got {counts}")
        return reshape(_roll(reshape(x, -1), shifts=counts, axes=(0,)), x.data.shape)
    named = (int(dims),) if not isinstance(dims, Sequence) else tuple(dims)
    if len(named) != len(counts):
        raise ShapeError(f"roll: expected a shift per dim, got shifts {counts} and dims {named}")
    return _roll(x, shifts=counts, axes=tuple(axis_of("roll", x.data.ndim, each) for each in named))


def fliplr(x: Tensor) -> Tensor:
    """The elements in reverse order along the second dim.

    Raises:
        ShapeError: fewer than two dims.
    """
    return flip(x, axis_of("fliplr", min(x.data.ndim, 2), 1))


def flipud(x: Tensor) -> Tensor:
    """The elements in reverse order along the first dim.

    Raises:
        ShapeError: a 0-dim tensor.
    """
    if not x.data.ndim:
        raise ShapeError("flipud: expected one dim or more, got a 0-dim tensor")
    return flip(x, 0)


def rot90(x: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Rotate by ``k`` times 90 degrees in the plane of two dims, from the first towards the second.

    Args:
        x: Two dims or more.
        k: How often.
        dims: The two dims.

    Raises:
        ShapeError: not two different dims that exist.
    """
    axes = axes_of("rot90", x.data.ndim, tuple(dims))
    if len(axes) != 2:
        raise ShapeError(f"rot90: expected two dims, got {tuple(dims)}")
    first, second = axes
    if k % 4 == 0:
        return x.clone()
    if k % 4 == 2:
        return flip(x, axes)
    return transpose(flip(x, second), first, second) if k % 4 == 1 else flip(transpose(x, first, second), second)


# ---------------------------------------------------------------- windows and differences


@op(view=True)
def _unfold(xp: Any, x: Array, *, axis: int, size: int, step: int) -> Any:
    shape, count = x.shape, (x.shape[axis] - size) // step + 1
    strides = [*x.strides, x.strides[axis]]
    strides[axis] *= step
    windows = xp.lib.stride_tricks.as_strided(x, (*shape[:axis], count, *shape[axis + 1 :], size), strides)
    if xp is np and step < size:
        windows.flags.writeable = False  # one element is in several windows

    def vjp(g: Array) -> Any:
        whole = xp.zeros(shape, g.dtype)
        before = (slice(None),) * axis
        for i in range(size):  # positions inside a window, each for all windows at once
            whole[(*before, slice(i, i + step * (count - 1) + 1, step))] += g[..., i]
        return (whole,)

    return windows, vjp


def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Every window along a dim as a view: the dim counts windows, a new last dim the elements in them.

    Args:
        x: One dim or more.
        dimension: Dim to slide along.
        size: Elements in a window.
        step: Distance of the windows' starts.

    Raises:
        ShapeError: there is no such dim, no window fits, or the step is not positive.
    """
    if not x.data.ndim:
        raise ShapeError("unfold: expected one dim or more, got a 0-dim tensor")
    axis = axis_of("unfold", x.data.ndim, dimension)
    if not 0 <= size <= x.data.shape[axis] or step <= 0:
        raise ShapeError(
            f"unfold: expected a size from 0 to {x.data.shape[axis]} and a positive step, got {size} and {step}"
        )
    return _unfold(x, axis=axis, size=size, step=step)


def diff(x: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    """What each element along a dim has more than the one before it, ``n`` times over; of bools whether they differ.

    Args:
        x: One dim or more.
        n: How often.
        dim: Dim to go along.

    Raises:
        ShapeError: there is no such dim, or ``x`` is 0-dim.
    """
    if not x.data.ndim:
        raise ShapeError("diff: expected one dim or more, got a 0-dim tensor")
    axis = axis_of("diff", x.data.ndim, dim)
    difference = not_equal if x.data.dtype.kind == "b" else subtract
    for _ in range(n):
        size = max(x.data.shape[axis] - 1, 0)
        x = difference(narrow(x, axis, min(1, x.data.shape[axis]), size), narrow(x, axis, 0, size))
    return x


def adjoint(x: Tensor) -> Tensor:
    """The last two dims swapped, as a view; of real numbers the same as ``mT``.

    Raises:
        ShapeError: fewer than two dims.
    """
    require_matrix("adjoint", x)
    return transpose(x, -2, -1)


def ravel(x: Tensor) -> Tensor:
    """All elements in row-major order as one dim; a view where the memory layout allows one."""
    return flatten(x) if x.data.ndim else reshape(x, 1)
