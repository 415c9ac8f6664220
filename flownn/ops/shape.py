"""Other shapes for the same elements: views that share memory where possible, joining and splitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flownn.autograd import memory_owner, op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.ops.axes import also_as_in_numpy, axes_of, axis_of, sizes_of
from flownn.ops.elementwise import clone

if TYPE_CHECKING:
    from flownn.tensor import Tensor


# ---------------------------------------------------------------- views


@op(view=True)
def _reshape(xp: Any, x: Array, *, shape: tuple[int, ...]) -> Any:
    before = x.shape
    return x.reshape(shape), lambda g: (g.reshape(before),)


def _fitting(name: str, before: Sequence[int], sizes: Sequence[Any]) -> tuple[int, ...]:
    """The wanted shape with its -1 worked out."""
    shape = sizes_of(name, sizes)
    count = math.prod(before)
    unknown = [i for i, size in enumerate(shape) if size == -1]
    known = math.prod(size for size in shape if size != -1)
    if len(unknown) == 1 and known and count % known == 0:
        i = unknown[0]
        shape = (*shape[:i], count // known, *shape[i + 1 :])
    if math.prod(shape) != count or any(size < 0 for size in shape):
        raise ShapeError(f"{name}: {count} elements of shape {tuple(before)} do not fit into shape {shape}")
    return shape


def reshape(x: Tensor, *sizes: Any) -> Tensor:
    """The same elements in row-major order in another shape; a view where the memory layout allows one.

    Args:
        x: Any shape.
        *sizes: Sizes, or one sequence of them; one may be -1, to be worked out.

    Raises:
        ShapeError: the number of elements differs.
    """
    return _reshape(x, shape=_fitting("reshape", x.data.shape, sizes))


def view(x: Tensor, *sizes: Any) -> Tensor:
    """`reshape` that never copies.

    Args:
        x: Any shape.
        *sizes: Sizes, or one sequence of them; one may be -1, to be worked out.

    Raises:
        ShapeError: the number of elements differs, or the memory layout allows no view of this shape.
    """
    result = _reshape(x, shape=_fitting("view", x.data.shape, sizes))
    if memory_owner(result.data) is not memory_owner(x.data):
        raise ShapeError(
            f"view: the memory layout of shape {tuple(x.data.shape)} has no view of shape {tuple(result.data.shape)}; "
            "use reshape, which copies where it must"
        )
    return result


def view_as(x: Tensor, other: Tensor) -> Tensor:
    """`view` in the shape of another tensor."""
    return view(x, other.data.shape)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of another tensor."""
    return reshape(x, other.data.shape)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dims from ``start_dim`` to ``end_dim`` into one.

    Args:
        x: Any shape.
        start_dim: First dim to merge.
        end_dim: Last dim to merge.

    Raises:
        ShapeError: there is no such dim, or they are in the wrong order.
    """
    shape = x.data.shape
    first, last = axis_of("flatten", len(shape), start_dim), axis_of("flatten", len(shape), end_dim)
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {tuple(shape)}")
    merged = math.prod(shape[first : last + 1])
    return _reshape(x, shape=(*shape[:first], merged, *shape[last + 1 :]))


@also_as_in_numpy
def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drop dims of size 1.

    Args:
        x: Any shape.
        dim: Dims to drop where they have size 1; None for every such dim.

    Raises:
        ShapeError: there is no such dim.
    """
    shape = x.data.shape
    axes = axes_of("squeeze", len(shape), dim)
    return _reshape(x, shape=tuple(size for axis, size in enumerate(shape) if size != 1 or axis not in axes))


@also_as_in_numpy
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Insert a dim of size 1.

    Args:
        x: Any shape.
        dim: Where the new dim is in the result.

    Raises:
        ShapeError: there is no such place.
    """
    shape = x.data.shape
    axis = axis_of("unsqueeze", len(shape) + 1, dim)
    return _reshape(x, shape=(*shape[:axis], 1, *shape[axis:]))


def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one dim into several.

    Args:
        x: Any shape.
        dim: Dim to split.
        sizes: Sizes of the new dims; one may be -1, to be worked out.

    Raises:
        ShapeError: there is no such dim, or the sizes do not fit.
    """
    shape = x.data.shape
    axis = axis_of("unflatten", len(shape), dim)
    inner = _fitting("unflatten", shape[axis : axis + 1], (tuple(sizes),))
    return _reshape(x, shape=(*shape[:axis], *inner, *shape[axis + 1 :]))


@op(view=True)
def _permute(xp: Any, x: Array, *, axes: tuple[int, ...]) -> Any:
    back = [axes.index(axis) for axis in range(len(axes))]
    return x.transpose(axes), lambda g: (g.transpose(back),)


def permute(x: Tensor, *dims: Any) -> Tensor:
    """The dims in another order.

    Args:
        x: Any shape.
        *dims: Every dim once, or one sequence of them.

    Raises:
        ShapeError: a dim is missing, named twice, or does not exist.
    """
    wanted = sizes_of("permute", dims)
    axes = tuple(axis_of("permute", x.data.ndim, dim) for dim in wanted)
    if sorted(axes) != list(range(x.data.ndim)):
        raise ShapeError(f"permute: expected each of {x.data.ndim} dims once, got {wanted}")
    return _permute(x, axes=axes)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dims.

    Args:
        x: Any shape.
        dim0: One dim.
        dim1: The other.

    Raises:
        ShapeError: there is no such dim.
    """
    axes = list(range(x.data.ndim))
    first, second = axis_of("transpose", len(axes), dim0), axis_of("transpose", len(axes), dim1)
    if axes:
        axes[first], axes[second] = second, first
    return _permute(x, axes=tuple(axes))


def t(x: Tensor) -> Tensor:
    """A matrix transposed; a vector as it is.

    Raises:
        ShapeError: more than two dims.
    """
    if x.data.ndim > 2:
        raise ShapeError(f"t: expected at most 2 dims, got shape {tuple(x.data.shape)}; use transpose or permute")
    return transpose(x, 0, -1)


def movedim(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move dims to other places; the others keep their order.

    Args:
        x: Any shape.
        source: Dims to move.
        destination: Where each of them goes.

    Raises:
        ShapeError: there is no such dim, one appears twice, or the counts differ.
    """
    ndim = x.data.ndim
    start = [] if source == () else list(axes_of("movedim", ndim, source))
    end = [] if destination == () else list(axes_of("movedim", ndim, destination))
    if len(start) != len(end):
        raise ShapeError(f"movedim: expected as many destinations as sources, got {source} and {destination}")
    rest = iter(axis for axis in range(ndim) if axis not in start)
    return _permute(x, axes=tuple(start[end.index(i)] if i in end else next(rest) for i in range(ndim)))


@op(view=True)
def _broadcast(xp: Any, x: Array, *, shape: tuple[int, ...]) -> Any:
    return xp.broadcast_to(x, shape), lambda g: (g,)  # the engine sums


def expand(x: Tensor, *sizes: Any) -> Tensor:
    """Repeat dims of size 1, and new ones in front, without copying.

    Args:
        x: Any shape.
        *sizes: Sizes of the result, or one sequence of them; -1 keeps a size.

    Raises:
        ShapeError: a size other than 1 would change.
    """
    wanted, shape = sizes_of("expand", sizes), x.data.shape
    extra = len(wanted) - len(shape)
    full = (-2,) * extra + tuple(shape)  # -2 equals no size that can be asked for
    target = tuple(have if want == -1 else want for want, have in zip(wanted, full, strict=False))
    if extra < 0 or any(want < 0 or have not in (-2, 1, want) for want, have in zip(target, full, strict=False)):
        raise ShapeError(f"expand: shape {tuple(shape)} does not expand to {wanted}")
    return _broadcast(x, shape=target)


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of another tensor."""
    return expand(x, other.data.shape)


broadcast_to = expand


# ---------------------------------------------------------------- joining, splitting, repeating


@op
def _cat(xp: Any, *arrays: Array, axis: int) -> Any:
    sizes = [array.shape[axis] for array in arrays]

    def vjp(g: Array) -> Any:
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + size)
        before = (slice(None),) * axis
        return [g[(*before, slice(starts[i], starts[i + 1]))] for i in range(len(sizes))]

    return xp.concatenate(arrays, axis=axis), vjp


@also_as_in_numpy
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dim.

    Args:
        tensors: One or more, of equal shapes but for ``dim``; a 1-dim tensor without elements is left out.
        dim: Dim to join along.

    Raises:
        ShapeError: no tensors, or shapes that do not fit together.
    """
    parts = [each for each in tensors if each.data.shape != (0,)] or list(tensors)[:1]
    if not parts:
        raise ShapeError("cat: expected one tensor or more, got none")
    shape = parts[0].data.shape
    axis = axis_of("cat", len(shape), dim)
    for part in parts:
        other = part.data.shape
        if (
            not other
            or len(other) != len(shape)
            or any(a != b for i, (a, b) in enumerate(zip(shape, other, strict=True)) if i != axis)
        ):
            shapes = ", ".join(str(tuple(each.data.shape)) for each in parts)
            raise ShapeError(f"cat: expected one or more dims and equal sizes but in dim {axis}, got {shapes}")
    return _cat(*parts, axis=axis)


@also_as_in_numpy
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dim.

    Args:
        tensors: One or more, of equal shapes.
        dim: Where the new dim is in the result.

    Raises:
        ShapeError: no tensors, or shapes that differ.
    """
    parts = list(tensors)
    if not parts or any(part.data.shape != parts[0].data.shape for part in parts):
        shapes = ", ".join(str(tuple(each.data.shape)) for each in parts)
        raise ShapeError(f"stack: expected one or more tensors of one shape, got {shapes or 'none'}")
    axis = axis_of("stack", parts[0].data.ndim + 1, dim)
    return _cat(*(unsqueeze(part, axis) for part in parts), axis=axis)


@op(tuple_output=True, view=True)
def _split(xp: Any, x: Array, *, starts: Sequence[int], axis: int) -> Any:
    shape = x.shape
    before = (slice(None),) * axis
    places = [(*before, slice(starts[i], starts[i + 1])) for i in range(len(starts) - 1)]

    def vjp(parts: list[Any]) -> Any:
        g = xp.zeros(shape, next(part.dtype for part in parts if part is not None))
        for place, part in zip(places, parts, strict=True):
            if part is not None:
                g[place] = part
        return (g,)

    return tuple(x[place] for place in places), vjp


def split(x: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor into views along a dim.

    Args:
        x: One dim or more.
        split_size_or_sections: Size of each part, the last one may be smaller; or a size for every part.
        dim: Dim to cut.

    Raises:
        ShapeError: there is no such dim, a size is not positive, or the sizes do not add up.
    """
    axis = axis_of("split", x.data.ndim, dim)
    if not x.data.ndim:
        raise ShapeError("split: expected one dim or more, got a 0-dim tensor")
    total = x.data.shape[axis]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step <= 0:
            raise ShapeError(f"split: expected a positive size, got {step}")
        starts = [*range(0, total, step), total] if total else [0, 0]
    else:
        starts = [0]
        for size in split_size_or_sections:
            starts.append(starts[-1] + size)
        if starts[-1] != total or min(split_size_or_sections, default=0) < 0:
            raise ShapeError(f"split: sizes {list(split_size_or_sections)} do not add up to size {total} of dim {axis}")
    return _split(x, starts=starts, axis=axis)


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor into at most ``chunks`` views of equal size along a dim; the last one may be smaller.

    Args:
        x: One dim or more.
        chunks: Number of parts.
        dim: Dim to cut.

    Raises:
        ShapeError: there is no such dim, or ``chunks`` is not positive.
    """
    if chunks <= 0:
        raise ShapeError(f"chunk: expected a positive number of chunks, got {chunks}")
    axis = axis_of("chunk", x.data.ndim, dim)
    if x.data.ndim and not x.data.shape[axis]:
        return _split(x, starts=[0] * (chunks + 1), axis=axis)
    return split(x, -(-x.data.shape[axis] // chunks) if x.data.ndim else 1, axis)


def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dim, without that dim.

    Args:
        x: One dim or more.
        dim: Dim to take apart.

    Raises:
        ShapeError: there is no such dim.
    """
    if x.data.ndim and not x.data.shape[axis_of("unbind", x.data.ndim, dim)]:
        return ()
    axis = axis_of("unbind", x.data.ndim, dim)
    return tuple(squeeze(part, axis) for part in split(x, 1, axis))


@op
def _flip(xp: Any, x: Array, *, axes: tuple[int, ...]) -> Any:
    return xp.flip(x, axes).copy(), lambda g: (xp.flip(g, axes),)


def flip(x: Tensor, dims: int | Sequence[int]) -> Tensor:
    """The elements in reverse order along dims.

    Args:
        x: Any shape.
        dims: Dims to reverse.

    Raises:
        ShapeError: there is no such dim, or it appears twice.
    """
    if not isinstance(dims, int) and not dims:
        return clone(x)
    return _flip(x, axes=axes_of("flip", x.data.ndim, dims))


@op
def _tile(xp: Any, x: Array, *, repeats: tuple[int, ...]) -> Any:
    shape = (1,) * (len(repeats) - x.ndim) + x.shape

    def vjp(g: Array) -> Any:
        apart = [size for pair in zip(repeats, shape, strict=True) for size in pair]
        return (g.reshape(apart).sum(axis=tuple(range(0, 2 * len(repeats), 2))),)

    return xp.tile(x, repeats), vjp


def repeat(x: Tensor, *sizes: Any) -> Tensor:
    """Copies of the tensor side by side.

    Args:
        x: Any shape.
        *sizes: Copies along each dim of the result, or one sequence of them; at least one per dim of ``x``.

    Raises:
        ShapeError: fewer numbers than dims, or a negative one.
    """
    repeats = sizes_of("repeat", sizes)
    if len(repeats) < x.data.ndim or any(count < 0 for count in repeats):
        raise ShapeError(f"repeat: expected {x.data.ndim} or more counts from 0, got {repeats}")
    return _tile(x, repeats=repeats)
