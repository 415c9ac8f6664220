"""Norms of vectors and matrices, sizes of their differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.ops.axes import Dims, also_as_in_numpy, axes_of
from flownn.ops.decompose import svdvals
from flownn.ops.elementwise import absolute, subtract
from flownn.ops.reduce import Axes, amax, amin, require_elements, require_floating, spread, widened
from flownn.ops.reduce import sum as sum_of
from flownn.ops.shape import movedim, reshape

if TYPE_CHECKING:
    from flownn.tensor import Tensor


@op(quiet_floats=True)
def _norm(xp: Any, x: Array, *, p: float, axes: Axes, keepdim: bool) -> Any:
    require_floating("norm", x)
    wide = widened(x)
    size = abs(wide)
    if abs(p) == math.inf:
        require_elements("norm", x, axes)
    if p == 2:
        y = xp.sqrt((wide * wide).sum(axis=axes, keepdims=True))
    elif p == 0:
        y = (size != 0).sum(axis=axes, keepdims=True).astype(wide.dtype)
    elif p == math.inf:
        y = size.max(axis=axes, keepdims=True)
    elif p == -math.inf:
        y = size.min(axis=axes, keepdims=True)
    else:
        y = (size**p).sum(axis=axes, keepdims=True) ** (1 / p)

    def vjp(g: Array) -> Any:
        g = spread(xp, g, x.shape, axes, keepdim)
        if p == 0:
            return (g * 0,)
        if p == 2:
            return (g * xp.where(y == 0, 0, wide / y),)
        if abs(p) == math.inf:
            extreme = size == y
            return (g * xp.sign(wide) * extreme / extreme.sum(axis=axes, keepdims=True),)
        return (g * xp.where(size == 0, 0, xp.sign(wide) * (size / y) ** (p - 1)),)

    result = y if keepdim else xp.squeeze(y, axis=axes)
    return result.astype(x.dtype), vjp


@also_as_in_numpy
def norm(x: Tensor, p: float | str | None = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm of all elements along dims: ``sum(abs(x) ** p) ** (1 / p)``.

    Args:
        x: Floating point, any shape.
        p: Any order; ``inf`` and ``-inf`` for the largest and smallest absolute value; 0 counts the elements that are
            not 0; ``"fro"`` and None are 2.
        dim: Dims to reduce, None for all.
        keepdim: Keep them with size 1.

    Raises:
        ValueError: ``p`` is another word.
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim, or it appears twice.
    """
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: expected p a number or 'fro', got {p!r}")
    order = 2.0 if p is None or isinstance(p, str) else float(p)
    return _norm(x, p=order, axes=axes_of("norm", x.data.ndim, dim), keepdim=keepdim)


def vector_norm(x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """`norm` under the name it has in ``flownn.linalg``."""
    return norm(x, ord, dim, keepdim)


def ordered_norm(x: Tensor, ord: float | str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The norm of matrices where two dims are meant, else of vectors.

    Args:
        x: Floating point.
        ord: As `matrix_norm` or `vector_norm` takes it; None for the root of the sum of all squares along ``dim``.
        dim: One dim for vectors, two for matrices; None for all, which with an ``ord`` are one or two.
        keepdim: Keep the dims with size 1.

    Raises:
        ShapeError: with an ``ord``, ``x`` or ``dim`` has more than two dims.
        ValueError: ``ord`` is a word, and there is one dim.
    """
    if ord is None:
        return norm(x, 2, dim, keepdim)
    axes = axes_of("norm", x.data.ndim, dim)
    if len(axes) > 2:
        raise ShapeError(f"norm: expected one or two dims with an ord, got shape {tuple(x.data.shape)} and dim {dim}")
    if len(axes) == 2:
        return matrix_norm(x, ord, (axes[0], axes[1]), keepdim)
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is for matrices")
    return vector_norm(x, ord, axes, keepdim)


def matrix_norm(x: Tensor, ord: float | str = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False) -> Tensor:
    """The norm of matrices.

    Args:
        x: Floating point, two dims or more.
        ord: ``"fro"``: root of the sum of squares; ``"nuc"``: sum of the singular values; 2 and -2: the largest and
            the smallest of them; 1 and -1: largest and smallest sum of absolute values of a column; ``inf`` and
            ``-inf``: those of a row.
        dim: The rows' and the columns' dim.
        keepdim: Keep the dims with size 1.

    Raises:
        ValueError: another ``ord``.
        ShapeError: the dims are not two different ones that exist.
    """
    axes = axes_of("matrix_norm", x.data.ndim, tuple(dim))
    if len(axes) != 2:
        raise ShapeError(f"matrix_norm: expected two dims, got {dim}")
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    if ord == "fro":
        return norm(x, 2, axes, keepdim)
    matrices = movedim(x, axes, (-2, -1))
    if ord == "nuc":
        result = sum_of(svdvals(matrices), -1)
    else:
        number = float(ord)
        values = svdvals(matrices) if abs(number) == 2 else sum_of(absolute(matrices), -2 if abs(number) == 1 else -1)
        result = (amax if number > 0 else amin)(values, -1)
    return reshape(result, [1 if i in axes else size for i, size in enumerate(x.data.shape)]) if keepdim else result


def dist(x: Tensor, y: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference of two tensors, which broadcast."""
    return norm(subtract(x, y), p)
