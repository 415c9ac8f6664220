"""Triangles and diagonals of matrices."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from flownn.autograd import op
from flownn.autograd import wrap as tensor_of
from flownn.backend import Array, array_module
from flownn.errors import ShapeError
from flownn.ops.axes import axis_of
from flownn.ops.scatter import index_put
from flownn.ops.shape import reshape

if TYPE_CHECKING:
    from flownn.tensor import Tensor


@op
def _triangle(xp: Any, x: Array, *, diagonal: int, lower: bool) -> Any:
    cut = xp.tril if lower else xp.triu
    return cut(x, diagonal), lambda g: (cut(g, diagonal),)


def require_matrix(name: str, x: Tensor) -> None:
    """Refuse fewer than two dims.

    Raises:
        ShapeError: there are.
    """
    if x.data.ndim < 2:
        raise ShapeError(f"{name}: expected two dims or more, got shape {tuple(x.data.shape)}")


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with zeros above a diagonal.

    Args:
        x: Two dims or more, of which the last two are the matrices.
        diagonal: 0 is the main one; positive ones are above it.

    Raises:
        ShapeError: fewer than two dims.
    """
    require_matrix("tril", x)
    return _triangle(x, diagonal=diagonal, lower=True)


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with zeros below a diagonal.

    Args:
        x: Two dims or more, of which the last two are the matrices.
        diagonal: 0 is the main one; positive ones are above it.

    Raises:
        ShapeError: fewer than two dims.
    """
    require_matrix("triu", x)
    return _triangle(x, diagonal=diagonal, lower=False)


# ---------------------------------------------------------------- diagonals


@op(view=True)
def _diagonal(xp: Any, x: Array, *, offset: int, axes: tuple[int, int]) -> Any:
    shape = x.shape

    def vjp(g: Array) -> Any:
        whole = xp.zeros(shape, g.dtype)
        n = g.shape[-1]
        rows, columns = xp.arange(n) + max(-offset, 0), xp.arange(n) + max(offset, 0)
        xp.moveaxis(whole, axes, (-2, -1))[..., rows, columns] = g
        return (whole,)

    y = x.diagonal(offset, *axes)
    if xp is np:  # which makes it read-only by default
        y.flags.writeable = x.flags.writeable
    return y, vjp


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonals of matrices as the last dim, a view.

    Args:
        x: Two dims or more.
        offset: 0 is the main diagonal; positive ones are above it.
        dim1: Dim of the rows.
        dim2: Dim of the columns.

    Raises:
        ShapeError: the dims are not two different ones that exist.
    """
    require_matrix("diagonal", x)
    axes = axis_of("diagonal", x.data.ndim, dim1), axis_of("diagonal", x.data.ndim, dim2)
    if axes[0] == axes[1]:
        raise ShapeError(f"diagonal: expected two different dims, got {dim1} and {dim2}")
    return _diagonal(x, offset=offset, axes=axes)


@op
def _diag_embed(xp: Any, x: Array, *, offset: int, axes: tuple[int, int]) -> Any:
    n = x.shape[-1]
    size = n + abs(offset)
    rows, columns = xp.arange(n) + max(-offset, 0), xp.arange(n) + max(offset, 0)
    whole = xp.zeros((*x.shape[:-1], size, size), x.dtype)
    whole[..., rows, columns] = x
    return xp.moveaxis(whole, (-2, -1), axes), lambda g: (xp.moveaxis(g, axes, (-2, -1))[..., rows, columns],)


def diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last dim of ``x`` on a diagonal, and zeros elsewhere.

    Args:
        x: One dim or more.
        offset: 0 is the main diagonal; positive ones are above it.
        dim1: Dim of the rows in the result.
        dim2: Dim of the columns in the result.

    Raises:
        ShapeError: the dims are not two different ones, or ``x`` has none.
    """
    if not x.data.ndim:
        raise ShapeError("diag_embed: expected one dim or more, got a 0-dim tensor")
    ndim = x.data.ndim + 1
    axes = axis_of("diag_embed", ndim, dim1), axis_of("diag_embed", ndim, dim2)
    if axes[0] == axes[1]:
        raise ShapeError(f"diag_embed: expected two different dims, got {dim1} and {dim2}")
    return _diag_embed(x, offset=offset, axes=axes)


def fill_diagonal(x: Tensor, fill_value: float) -> Tensor:
    """A copy of a matrix with one number on its main diagonal.

    Raises:
        ShapeError: another number of dims.
    """
    if x.data.ndim != 2:
        raise ShapeError(f"fill_diagonal: expected a matrix, got shape {tuple(x.data.shape)}")
    index = tensor_of(array_module(x.data).arange(min(x.data.shape)))
    return index_put(x, (index, index), fill_value)


def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with this vector on a diagonal, or that diagonal of a matrix.

    Raises:
        ShapeError: another number of dims.
    """
    if x.data.ndim not in (1, 2):
        raise ShapeError(f"diag: expected one or two dims, got shape {tuple(x.data.shape)}")
    if x.data.ndim == 1:
        return diag_embed(x, diagonal)
    return _diagonal(x, offset=diagonal, axes=(0, 1)).clone()


def diagflat(x: Tensor, offset: int = 0) -> Tensor:
    """A matrix with the elements in row-major order on a diagonal."""
    return diag_embed(reshape(x, -1), offset)


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with these matrices along its diagonal and zeros elsewhere; vectors are rows.

    Raises:
        ShapeError: a tensor has more than two dims.
    """
    parts = [each if each.data.ndim > 1 else reshape(each, 1, -1) for each in tensors]
    if any(each.data.ndim > 2 for each in parts):
        raise ShapeError(f"block_diag: expected matrices, got shapes {[tuple(each.data.shape) for each in parts]}")
    return _block_diag(*parts)


@op
def _block_diag(xp: Any, *arrays: Array) -> Any:
    ends = list(itertools.accumulate((array.shape for array in arrays), lambda a, b: (a[0] + b[0], a[1] + b[1])))
    places = [
        (slice(end[0] - array.shape[0], end[0]), slice(end[1] - array.shape[1], end[1]))
        for array, end in zip(arrays, ends, strict=True)
    ]
    whole = xp.zeros(ends[-1], arrays[0].dtype)
    for place, array in zip(places, arrays, strict=True):
        whole[place] = array
    return whole, lambda g: [g[place] for place in places]
