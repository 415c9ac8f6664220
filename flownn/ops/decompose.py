"""Matrices as products: QR, eigenvalues of symmetric matrices, singular values. Matrices are the last two dims.

The factors are unique up to signs only (and more, where values are equal): a gradient is meaningful for what does not
depend on that choice. Where values are equal the gradient through vectors is infinite or NaN, as in PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError, ShapeError
from flownn.ops.linalg import require_square, swapped

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class QR(NamedTuple):
    """Orthonormal columns, and an upper triangle."""

    Q: Tensor
    R: Tensor


class Eigen(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVD(NamedTuple):
    """Left vectors as columns, singular values in descending order, right vectors as rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _matrices(name: str, x: Array) -> Any:
    """The matrices, half precision as float32.

    Raises:
        ShapeError: fewer than two dims.
        DtypeError: they are not floating point.
    """
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected matrices (..., n, m), got shape {tuple(x.shape)}")
    if dtypes.category(x.dtype) != dtypes.FLOATING:
        raise DtypeError(f"{name}: expected a floating point type, got {x.dtype}; convert with .float()")
    return x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)


def _or_zeros(xp: Any, gradients: list[Any], outputs: tuple[Array, ...]) -> list[Any]:
    return [
        xp.zeros_like(y) if g is None else g.astype(y.dtype, copy=False)
        for g, y in zip(gradients, outputs, strict=True)
    ]


def _diagonals(xp: Any, values: Array) -> Any:
    """Matrices with these values on the diagonal."""
    return values[..., None] * xp.eye(values.shape[-1], dtype=values.dtype)


@op(tuple_output=True, quiet_floats=True)
def _qr(xp: Any, x: Array) -> Any:
    q, r = xp.linalg.qr(_matrices("qr", x))

    def vjp(gradients: list[Any]) -> Any:
        if q.shape[-2] < r.shape[-1]:
            raise NotImplementedError("qr: no gradient for matrices with more columns than rows")
        gq, gr = _or_zeros(xp, gradients, (q, r))
        middle = r @ swapped(gr) - swapped(gq) @ q
        symmetric = xp.tril(middle) + swapped(xp.tril(middle, -1))
        return (swapped(xp.linalg.solve(r, swapped(gq + q @ symmetric))),)

    return (q.astype(x.dtype, copy=False), r.astype(x.dtype, copy=False)), vjp


def qr(x: Tensor) -> QR:
    """Orthonormal columns ``Q`` and an upper triangle ``R`` with ``Q @ R == x``.

    Args:
        x: Matrices (..., n, m); for a gradient of full rank and no more columns than rows.

    Raises:
        ShapeError: fewer than two dims.
        DtypeError: ``x`` is not floating point.
    """
    return QR(*_qr(x))


@op(tuple_output=True, quiet_floats=True)
def _eigh(xp: Any, x: Array) -> Any:
    values, vectors = xp.linalg.eigh(require_square("eigh", x))

    def vjp(gradients: list[Any]) -> Any:
        inner = xp.zeros_like(vectors)
        if gradients[1] is not None:
            gaps = values[..., None, :] - values[..., :, None]
            eye = xp.eye(values.shape[-1], dtype=bool)
            turned = swapped(vectors) @ gradients[1].astype(vectors.dtype, copy=False)
            inner = xp.where(eye, 0, turned / xp.where(eye, 1, gaps))
        if gradients[0] is not None:
            inner = inner + _diagonals(xp, gradients[0].astype(vectors.dtype, copy=False))
        return (vectors @ inner @ swapped(vectors),)

    return (values.astype(x.dtype, copy=False), vectors.astype(x.dtype, copy=False)), vjp


def eigh(x: Tensor) -> Eigen:
    """Eigenvalues and eigenvectors of symmetric matrices, of which the lower triangle is read.

    Args:
        x: Symmetric matrices (..., n, n).

    Raises:
        ShapeError: the matrices are not square.
        DtypeError: ``x`` is not floating point.
    """
    return Eigen(*_eigh(x))


def eigvalsh(x: Tensor) -> Tensor:
    """The eigenvalues of `eigh`."""
    return eigh(x).eigenvalues


@op(tuple_output=True, quiet_floats=True)
def _svd(xp: Any, x: Array, *, full_matrices: bool) -> Any:
    outputs = xp.linalg.svd(_matrices("svd", x), full_matrices=full_matrices)
    u, s, vh = outputs
    count = s.shape[-1]
    u, vh = u[..., :count], vh[..., :count, :]

    def vjp(gradients: list[Any]) -> Any:
        gu, gs, gvh = gradients
        gu = gu if gu is None else gu[..., :count]  # what is beyond is any basis of what is left
        gvh = gvh if gvh is None else gvh[..., :count, :]
        inner = xp.zeros((*s.shape, s.shape[-1]), s.dtype) if gs is None else _diagonals(xp, gs.astype(s.dtype))
        eye = xp.eye(s.shape[-1], dtype=bool)
        gaps = xp.where(eye, 1, (s[..., None, :] - s[..., :, None]) * (s[..., None, :] + s[..., :, None]))

        def turned(product: Array) -> Any:
            return (product - swapped(product)) / gaps

        total = 0
        if gu is not None:
            gu = gu.astype(u.dtype, copy=False)
            inner = inner + turned(swapped(u) @ gu) * s[..., None, :]
            total = ((gu - u @ (swapped(u) @ gu)) / s[..., None, :]) @ vh
        if gvh is not None:
            gvh = gvh.astype(vh.dtype, copy=False)
            inner = inner + s[..., :, None] * turned(vh @ swapped(gvh))
            total = total + u @ ((gvh - (gvh @ swapped(vh)) @ vh) / s[..., :, None])
        return (total + u @ inner @ vh,)

    return tuple(each.astype(x.dtype, copy=False) for each in outputs), vjp


def svd(x: Tensor, full_matrices: bool = True) -> SVD:
    """``U``, ``S`` and ``Vh`` with ``U @ diag(S) @ Vh == x``.

    Args:
        x: Matrices (..., n, m).
        full_matrices: Square ``U`` and ``Vh``; the vectors beyond the first min(n, m) get no gradient. False leaves
            them out.

    Raises:
        ShapeError: fewer than two dims.
        DtypeError: ``x`` is not floating point.
    """
    return SVD(*_svd(x, full_matrices=full_matrices))


def svdvals(x: Tensor) -> Tensor:
    """The singular values of `svd`."""
    return svd(x, full_matrices=False).S
