"""Products of vectors and matrices by name; each checks its shapes and calls `matmul` or `multiply`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flownn.errors import ShapeError
from flownn.ops.axes import axis_of
from flownn.ops.diagonal import diagonal
from flownn.ops.distance import norm
from flownn.ops.elementwise import add, multiply, subtract
from flownn.ops.matmul import bmm, matmul, require_one_dtype
from flownn.ops.rearrange import roll
from flownn.ops.reduce import sum as sum_of
from flownn.ops.shape import expand, movedim, reshape, unsqueeze

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def _require_dims(name: str, *wanted: tuple[Tensor, int]) -> None:
    if any(tensor.data.ndim != ndim for tensor, ndim in wanted):
        shapes = " and ".join(str(tuple(tensor.data.shape)) for tensor, _ in wanted)
        raise ShapeError(f"{name}: expected {' and '.join(f'{ndim}' for _, ndim in wanted)} dims, got shapes {shapes}")


def mm(x: Tensor, y: Tensor) -> Tensor:
    """Product of two matrices, (n, k) with (k, m) to (n, m).

    Raises:
        ShapeError: other numbers of dims, or inner sizes that differ.
        DtypeError: the operands have different types.
    """
    _require_dims("mm", (x, 2), (y, 2))
    return matmul(x, y)


def mv(x: Tensor, y: Tensor) -> Tensor:
    """Product of a matrix and a vector, (n, k) with (k,) to (n,).

    Raises:
        ShapeError: other numbers of dims, or inner sizes that differ.
        DtypeError: the operands have different types.
    """
    _require_dims("mv", (x, 2), (y, 1))
    return matmul(x, y)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Sum of the products of two vectors of one size.

    Raises:
        ShapeError: other numbers of dims, or sizes that differ.
        DtypeError: the operands have different types.
    """
    _require_dims("dot", (x, 1), (y, 1))
    return matmul(x, y)


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Sums of products along the last dims, (..., k) with (***, k) to (..., ***); with a 0-dim operand the product.

    Raises:
        ShapeError: the last sizes differ.
        DtypeError: the operands have different types.
    """
    if not x.data.ndim or not y.data.ndim:
        return multiply(x, y)
    lines = reshape(y, -1, y.data.shape[-1])
    if x.data.shape[-1] != y.data.shape[-1]:
        raise ShapeError(f"inner: expected equal last sizes, got {tuple(x.data.shape)} and {tuple(y.data.shape)}")
    return reshape(matmul(x, movedim(lines, 0, 1)), *x.data.shape[:-1], *y.data.shape[:-1])


def outer(x: Tensor, y: Tensor) -> Tensor:
    """Every product of an element of one vector with one of the other, (n,) with (m,) to (n, m).

    Raises:
        ShapeError: other numbers of dims.
    """
    _require_dims("outer", (x, 1), (y, 1))
    return multiply(unsqueeze(x, 1), y)


ger = outer


def kron(x: Tensor, y: Tensor) -> Tensor:
    """Kronecker product: a copy of ``y`` times each element of ``x``; dims are added in front where one has fewer."""
    ndim = max(x.data.ndim, y.data.ndim)
    shapes = [(1,) * (ndim - each.data.ndim) + each.data.shape for each in (x, y)]
    apart = [
        [size for pair in zip(shapes[0], [1] * ndim, strict=True) for size in pair],
        [size for pair in zip([1] * ndim, shapes[1], strict=True) for size in pair],
    ]
    product = multiply(reshape(x, apart[0]), reshape(y, apart[1]))
    return reshape(product, [a * b for a, b in zip(*shapes, strict=True)])


def cross(x: Tensor, y: Tensor, dim: int = -1) -> Tensor:
    """Cross product of vectors with three components along a dim; the other dims broadcast.

    Raises:
        ShapeError: there is no such dim, or it has another size.
    """
    axis = axis_of("cross", x.data.ndim, dim)
    if x.data.ndim != y.data.ndim or x.data.shape[axis] != 3 or y.data.shape[axis] != 3:
        raise ShapeError(
            f"cross: expected size 3 along dim {dim} of both, got {tuple(x.data.shape)} and {tuple(y.data.shape)}"
        )
    return subtract(
        multiply(roll(x, -1, axis), roll(y, -2, axis)),
        multiply(roll(x, -2, axis), roll(y, -1, axis)),
    )


def trace(x: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix.

    Raises:
        ShapeError: another number of dims.
    """
    _require_dims("trace", (x, 2))
    return sum_of(diagonal(x))


def cdist(x: Tensor, y: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distance of each row of ``x`` (..., n, k) from each of ``y`` (..., m, k), as (..., n, m).

    Raises:
        ShapeError: fewer than two dims, or last sizes that differ.
    """
    if min(x.data.ndim, y.data.ndim) < 2 or x.data.shape[-1] != y.data.shape[-1]:
        raise ShapeError(
            f"cdist: expected (..., n, k) and (..., m, k), got {tuple(x.data.shape)} and {tuple(y.data.shape)}"
        )
    return norm(subtract(unsqueeze(x, -2), unsqueeze(y, -3)), p, dim=-1)


# ---------------------------------------------------------------- a product added to something


def _combined(name: str, x: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """``beta * x + alpha * product``; with ``beta`` 0 whatever is in ``x`` does not count."""
    require_one_dtype(name, x.data, product.data)
    whole = expand(x, product.data.shape)
    scaled = product if alpha == 1 else multiply(product, alpha)
    if beta == 0:
        return scaled
    return add(scaled, whole if beta == 1 else multiply(whole, beta))


def addmm(x: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * x + alpha * mat1 @ mat2`` for matrices; ``x`` broadcasts to the product.

    Raises:
        ShapeError: shapes that do not fit.
        DtypeError: the operands have different types.
    """
    return _combined("addmm", x, mm(mat1, mat2), beta, alpha)


def addmv(x: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * x + alpha * mat @ vec``; ``x`` broadcasts to the product.

    Raises:
        ShapeError: shapes that do not fit.
        DtypeError: the operands have different types.
    """
    return _combined("addmv", x, mv(mat, vec), beta, alpha)


def addr(x: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * x + alpha * outer(vec1, vec2)``; ``x`` broadcasts to the product.

    Raises:
        ShapeError: shapes that do not fit.
        DtypeError: the operands have different types.
    """
    return _combined("addr", x, outer(vec1, vec2), beta, alpha)


def baddbmm(x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * x + alpha * bmm(batch1, batch2)``; ``x`` broadcasts to the product.

    Raises:
        ShapeError: shapes that do not fit.
        DtypeError: the operands have different types.
    """
    return _combined("baddbmm", x, bmm(batch1, batch2), beta, alpha)


def addbmm(x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * x + alpha`` times the sum of the products of a batch; ``x`` broadcasts to one product.

    Raises:
        ShapeError: shapes that do not fit.
        DtypeError: the operands have different types.
    """
    return _combined("addbmm", x, sum_of(bmm(batch1, batch2), 0), beta, alpha)
