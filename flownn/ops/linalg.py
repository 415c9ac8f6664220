"""Determinants, inverses, linear systems and Cholesky factors of matrices in the last two dims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError, ShapeError

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class SignAndLogarithm(NamedTuple):
    """The sign of a determinant, and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor


def require_square(name: str, x: Array) -> Any:
    """The matrices, half precision as float32.

    Raises:
        ShapeError: they are not square.
        DtypeError: they are not floating point.
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name}: expected square matrices (..., n, n), got shape {tuple(x.shape)}")
    if dtypes.category(x.dtype) != dtypes.FLOATING:
        raise DtypeError(f"{name}: expected a floating point type, got {x.dtype}; convert with .float()")
    return x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)


def _inverse(name: str, xp: Any, x: Array) -> Any:
    try:
        return xp.linalg.inv(x)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"{name}: a matrix has no inverse: {error}") from None


def swapped(x: Array) -> Any:
    """The matrices transposed."""
    return x.swapaxes(-1, -2)


@op
def inv(xp: Any, x: Array) -> Any:
    """Inverse matrices.

    Raises:
        ShapeError: the matrices are not square.
        DtypeError: they are not floating point.
        ValueError: one has no inverse.
    """
    y = _inverse("inv", xp, require_square("inv", x))
    return y.astype(x.dtype, copy=False), lambda g: (-(swapped(y) @ g.astype(y.dtype, copy=False) @ swapped(y)),)


@op
def det(xp: Any, x: Array) -> Any:
    """Determinants; the gradient needs an inverse.

    Raises:
        ShapeError: the matrices are not square.
        DtypeError: they are not floating point.
    """
    wide = require_square("det", x)
    y = xp.asarray(xp.linalg.det(wide))
    return y.astype(x.dtype, copy=False), lambda g: (
        (g * y)[..., None, None] * swapped(_inverse("det_backward", xp, wide)),
    )


@op(tuple_output=True, quiet_floats=True)
def _slogdet(xp: Any, x: Array) -> Any:
    wide = require_square("slogdet", x)
    sign, logarithm = xp.linalg.slogdet(wide)

    def vjp(g: list[Any]) -> Any:
        if g[1] is None:  # the sign is constant almost everywhere
            return (None,)
        return (g[1][..., None, None] * swapped(_inverse("slogdet_backward", xp, wide)),)

    return (xp.asarray(sign).astype(x.dtype), xp.asarray(logarithm).astype(x.dtype)), vjp


def slogdet(x: Tensor) -> SignAndLogarithm:
    """Sign of the determinants, and logarithm of their absolute values, without overflow.

    Raises:
        ShapeError: the matrices are not square.
        DtypeError: they are not floating point.
    """
    return SignAndLogarithm(*_slogdet(x))


@op
def _solve(xp: Any, x: Array, y: Array, *, columns: bool) -> Any:
    matrix = require_square("solve", x)
    right = y.astype(matrix.dtype, copy=False)
    right = right if columns else right[..., None]

    def solved(matrix: Array, right: Array) -> Any:
        try:
            return xp.linalg.solve(matrix, right)
        except np.linalg.LinAlgError as error:
            raise ValueError(f"solve: a matrix has no inverse: {error}") from None

    z = solved(matrix, right)

    def vjp(g: Array) -> Any:
        g = g.astype(matrix.dtype, copy=False)
        of_right = solved(swapped(matrix), g if columns else g[..., None])
        return lambda: -(of_right @ swapped(z)), lambda: of_right if columns else of_right[..., 0]

    return (z if columns else z[..., 0]).astype(x.dtype, copy=False), vjp


def solve(x: Tensor, y: Tensor) -> Tensor:
    """The ``z`` with ``x @ z == y``.

    Args:
        x: Square matrices (..., n, n).
        y: Vectors (..., n) with the leading dims of ``x``, else matrices (..., n, k).

    Raises:
        ShapeError: the matrices are not square, or ``y`` does not fit.
        DtypeError: the types differ, or are not floating point.
        ValueError: a matrix has no inverse.
    """
    shapes = x.data.shape, y.data.shape
    columns = shapes[1] != shapes[0][:-1]
    if x.data.dtype != y.data.dtype:
        raise DtypeError(f"solve: expected operands of one type, got {x.data.dtype} and {y.data.dtype}")
    if not shapes[1] or (columns and (len(shapes[1]) < 2 or shapes[1][-2] != shapes[0][-1])):
        raise ShapeError(f"solve: expected (..., n, n) and (..., n, k) or (..., n), got {shapes[0]} and {shapes[1]}")
    return _solve(x, y, columns=columns)


@op
def cholesky(xp: Any, x: Array) -> Any:
    """Lower triangular ``y`` with ``y @ y.mT == x`` for symmetric positive definite matrices.

    Raises:
        ShapeError: the matrices are not square.
        DtypeError: they are not floating point.
        ValueError: one is not positive definite.
    """
    wide = require_square("cholesky", x)
    try:
        y = xp.linalg.cholesky(wide)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"cholesky: a matrix is not positive definite: {error}") from None

    def vjp(g: Array) -> Any:
        # Murray (2016): with P the lower triangle and half the diagonal, half of inv(y).T P(y.T g) inv(y), symmetric
        inverse = _inverse("cholesky_backward", xp, y)
        middle = xp.tril(swapped(y) @ g.astype(y.dtype, copy=False))
        middle = middle - 0.5 * middle * xp.eye(y.shape[-1], dtype=y.dtype)
        whole = swapped(inverse) @ middle @ inverse
        return (0.5 * (whole + swapped(whole)),)

    return y.astype(x.dtype, copy=False), vjp
