"""QR, eigenvalues and singular values through what does not depend on the signs of the factors."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked

LINALG: dict[str, Any] = {"rtol": {"float32": 1e-4, "float64": 1e-9}, "dtypes": ("float32", "float64")}


def symmetric(x: Any) -> Any:
    return (x + x.mT) / 2


def symmetric_array(x: Any) -> Any:
    return (x + np.swapaxes(x, -1, -2)) / 2


def qr_parts(m: Any, x: Any) -> Any:
    """The product, and squares of both factors, whose signs are free."""
    q, r = m.linalg.qr(x)
    return q @ r, q * q, r * r


def eigen_parts(m: Any, x: Any) -> Any:
    values, vectors = m.linalg.eigh(symmetric(x))
    return values, vectors * vectors, (vectors * values[..., None, :]) @ vectors.mT


def svd_parts(m: Any, x: Any) -> Any:
    u, s, vh = m.linalg.svd(x, full_matrices=False)
    return u * u, s, vh * vh, (u * s[..., None, :]) @ vh


def full_svd_parts(m: Any, x: Any) -> Any:
    """Only the first vectors on each side mean something."""
    u, s, vh = m.linalg.svd(x)
    count = s.shape[-1]
    return (u * u)[..., :count], s, (vh * vh)[..., :count, :], (u[..., :count] * s[..., None, :]) @ vh[..., :count, :]


def slow_qr(x: Any) -> Any:
    q, r = np.linalg.qr(x)
    return x, q * q, r * r


def slow_eigen(x: Any) -> Any:
    values, vectors = np.linalg.eigh(symmetric_array(x))
    return values, vectors**2, symmetric_array(x)


def slow_svd(x: Any) -> Any:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return u * u, s, vh * vh, x


CASES = [
    *(OpCase(lambda x: qr_parts(flow, x), [shape], name=f"qr-{shape}".replace(" ", ""), expected=slow_qr,
             torch=lambda torch, x: qr_parts(torch, x), **LINALG) for shape in ((3, 3), (2, 4, 3))),
    *(OpCase(lambda x: eigen_parts(flow, x), [shape], name=f"eigh-{shape}".replace(" ", ""), expected=slow_eigen,
             torch=lambda torch, x: eigen_parts(torch, x), **LINALG) for shape in ((3, 3), (2, 4, 4))),
    *(OpCase(lambda x: svd_parts(flow, x), [shape], name=f"svd-{shape}".replace(" ", ""), expected=slow_svd,
             torch=lambda torch, x: svd_parts(torch, x), **LINALG) for shape in ((3, 3), (2, 4, 3), (2, 5))),
    OpCase(lambda x: full_svd_parts(flow, x), [(2, 4, 3)], name="svd-full", expected=slow_svd,
           torch=lambda torch, x: full_svd_parts(torch, x), **LINALG),
    OpCase(lambda x: flow.linalg.svdvals(x), [(3, 4)], name="svdvals",
           expected=lambda x: np.linalg.svd(x, compute_uv=False),
           torch=lambda torch, x: torch.linalg.svdvals(x), **LINALG),
    OpCase(lambda x: flow.linalg.eigvalsh(symmetric(x)), [(3, 3)], name="eigvalsh",
           expected=lambda x: np.linalg.eigvalsh(symmetric_array(x)),
           torch=lambda torch, x: torch.linalg.eigvalsh(symmetric(x)), **LINALG),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_full_matrices_are_orthonormal() -> None:
    u, s, vh = flow.linalg.svd(flow.arange(6).double().reshape(2, 3))
    assert (u.shape, s.shape, vh.shape) == ((2, 2), (2,), (3, 3))
    np.testing.assert_allclose((vh @ vh.T).numpy(), np.eye(3), atol=1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    q, r = flow.linalg.qr(flow.eye(2, dtype=flow.bfloat16))
    assert (q.dtype, r.dtype) == (flow.bfloat16, flow.bfloat16)
    assert flow.linalg.svdvals(flow.eye(2, dtype=flow.float16) * 3).tolist() == [3, 3]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: flow.linalg.qr(x[0]), ShapeError, "qr: expected matrices"),
    (lambda x: flow.linalg.svd(x.long()), DtypeError, "svd: expected a floating point type"),
    (lambda x: flow.linalg.eigh(x), ShapeError, "eigh: expected square matrices"),
    (lambda x: flow.linalg.qr(x.requires_grad_()).R.sum().backward(), NotImplementedError, "more columns than rows"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.ones(2, 3))
