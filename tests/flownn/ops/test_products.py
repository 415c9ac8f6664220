"""Products by name, norms and linear algebra against NumPy and PyTorch."""

import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked, away_from_zero, normal


def named(name: str, shapes: Any, expected: Any, **attrs: Any) -> OpCase:
    """A function of the same name and arguments here and in PyTorch."""
    return OpCase(
        lambda *x: getattr(flow, name)(*x, **attrs),
        shapes,
        name="-".join([name, *map(str, shapes), *map(str, attrs.values())]).replace(" ", ""),
        expected=expected,
        rtol={"float16": 2e-2, "float32": 2e-5},
        torch=lambda torch, *x: getattr(torch, name)(*x, **attrs),
    )


def spd(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Symmetric positive definite matrices."""
    x = rng.standard_normal(shape)
    return x @ np.swapaxes(x, -1, -2) + 2 * np.eye(shape[-1])


def symmetric_cholesky(x: Any) -> Any:
    """Of the symmetric part: a central difference moves the elements one by one."""
    return flow.linalg.cholesky((x + x.mT) / 2)


ADD = {"beta": 0.5, "alpha": 2}
LINALG = {"rtol": {"float16": 5e-2, "float32": 1e-4, "float64": 1e-10}, "dtypes": ("float32", "float64")}
CASES = [
    named("mm", [(2, 3), (3, 4)], np.matmul), named("mv", [(2, 3), (3,)], np.matmul),
    named("dot", [(3,), (3,)], np.dot), named("vdot", [(3,), (3,)], np.dot),
    named("inner", [(2, 3), (4, 3)], np.inner), named("inner", [(2, 2, 3), (3,)], np.inner),
    named("inner", [(), (3,)], np.inner), named("outer", [(2,), (3,)], np.outer), named("ger", [(2,), (3,)], np.outer),
    named("kron", [(2, 2), (3, 1)], np.kron), named("kron", [(2,), (2, 3)], np.kron),
    named("cross", [(2, 3), (2, 3)], np.cross, dim=-1),
    named("cross", [(3, 2), (3, 2)], lambda x, y: np.cross(x, y, axis=0), dim=0), named("trace", [(3, 4)], np.trace),
    named("addmm", [(2, 4), (2, 3), (3, 4)], lambda x, a, b: 0.5 * x + 2 * a @ b, **ADD),
    named("addmm", [(4,), (2, 3), (3, 4)], lambda x, a, b: x + a @ b),
    named("addmv", [(2,), (2, 3), (3,)], lambda x, a, b: 0.5 * x + 2 * a @ b, **ADD),
    named("addr", [(2, 3), (2,), (3,)], lambda x, a, b: 0.5 * x + 2 * np.outer(a, b), **ADD),
    named("baddbmm", [(2, 1, 2), (2, 2, 3), (2, 3, 2)], lambda x, a, b: 0.5 * x + 2 * a @ b, **ADD),
    named("addbmm", [(2, 2), (3, 2, 3), (3, 3, 2)], lambda x, a, b: 0.5 * x + 2 * (a @ b).sum(0), **ADD),
    named("cdist", [(3, 2), (4, 2)], lambda x, y: np.sqrt(((x[:, None] - y) ** 2).sum(-1)), p=2.0),
    named("cdist", [(2, 3, 2), (2, 1, 2)], lambda x, y: abs(x[:, :, None] - y[:, None]).sum(-1), p=1.0),
    named("dist", [(3, 2), (2,)], lambda x, y: np.sqrt(((x - y) ** 2).sum()), p=2),
    *(
        OpCase(lambda x, p=p: flow.linalg.vector_norm(x, p, 1), [(3, 4)], name=f"vector_norm-{p}",
               expected=lambda x, p=p: np.linalg.norm(x, p, 1), sample=away_from_zero,
               torch=None if p == 0 else lambda torch, x, p=p: torch.linalg.vector_norm(x, p, 1))
        for p in (0, 1, 2, 3, -1, math.inf, -math.inf)
    ),
    *(
        OpCase(lambda x, p=p, k=k: flow.linalg.matrix_norm(x, p, (0, 2), k), [(3, 2, 4)], name=f"matrix_norm-{p}-{k}",
               expected=lambda x, p=p, k=k: np.linalg.norm(x, p, (0, 2), k), rtol={"float16": 2e-2, "float32": 1e-4},
               torch=lambda torch, x, p=p, k=k: torch.linalg.matrix_norm(x, p, (0, 2), k))
        for p in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf) for k in (False, True)
    ),
    OpCase(flow.linalg.inv, [(2, 3, 3)], expected=np.linalg.inv, sample=spd,
           torch=lambda torch, x: torch.linalg.inv(x), **LINALG),
    OpCase(flow.linalg.det, [(2, 3, 3)], expected=np.linalg.det, torch=lambda torch, x: torch.linalg.det(x), **LINALG),
    OpCase(lambda x: flow.linalg.slogdet(x).logabsdet, [(3, 3)], expected=lambda x: np.linalg.slogdet(x)[1],
           torch=lambda torch, x: torch.linalg.slogdet(x).logabsdet, name="slogdet", **LINALG),
    OpCase(flow.linalg.solve, [(2, 3, 3), (2, 3, 4)], expected=np.linalg.solve, sample=(spd, normal),
           torch=lambda torch, x, y: torch.linalg.solve(x, y), **LINALG),
    OpCase(flow.linalg.solve, [(3, 3), (3,)], expected=np.linalg.solve, sample=(spd, normal),
           torch=lambda torch, x, y: torch.linalg.solve(x, y), **LINALG),
    OpCase(symmetric_cholesky, [(2, 3, 3)], expected=np.linalg.cholesky, sample=spd,
           torch=lambda torch, x: torch.linalg.cholesky((x + x.mT) / 2), **LINALG),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize("shapes", [
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,)),
    ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (5, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
])  # fmt: skip
def test_matmul_takes_every_rank(shapes: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays = [rng.standard_normal(shape) for shape in shapes]
    ours = [flow.tensor(each, requires_grad=True) for each in arrays]
    theirs = [torch.tensor(each, requires_grad=True) for each in arrays]
    y, want = flow.matmul(*ours), torch.matmul(*theirs)
    np.testing.assert_allclose(y.numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-12)
    (y * y).sum().backward()
    (want * want).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_with_beta_0_what_is_added_to_does_not_count() -> None:
    x = flow.full((2, 2), float("nan"))
    assert flow.addmm(x, flow.ones(2, 3), flow.ones(3, 2), beta=0).tolist() == [[3, 3], [3, 3]]


@pytest.mark.torch
def test_norms_by_order_are_those_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = rng.standard_normal((2, 3, 4))
    for call in (
        lambda m, y: m.linalg.norm(y), lambda m, y: m.linalg.norm(y, dim=(0, 2)), lambda m, y: m.linalg.norm(y, 1, 1),
        lambda m, y: m.linalg.norm(y, math.inf, (1, 2), True), lambda m, y: m.linalg.norm(y[0], "fro"),
        lambda m, y: m.linalg.norm(y[0, 0], 3), lambda m, y: m.linalg.norm(y, ord=2, dim=-1, keepdim=True),
    ):  # fmt: skip
        np.testing.assert_allclose(call(flow, flow.tensor(x)).numpy(), call(torch, torch.tensor(x)).numpy(), rtol=1e-12)
    with pytest.raises(ShapeError, match="one or two dims with an ord"):
        flow.linalg.norm(flow.tensor(x), 1)
    with pytest.raises(ValueError, match="ord='fro' is for matrices"):
        flow.linalg.norm(flow.tensor(x), "fro", 1)


def test_the_sign_of_a_determinant_has_no_gradient() -> None:
    x = flow.tensor([[0.0, 1.0], [2.0, 0.0]], requires_grad=True)
    sign, logarithm = flow.linalg.slogdet(x)
    assert (sign.item(), logarithm.item()) == (-1, pytest.approx(np.log(2)))
    assert flow.autograd.grad(sign, x, allow_unused=True) == (None,)


def test_norm_of_nothing_and_of_zeros() -> None:
    assert flow.norm(flow.zeros(0)).item() == 0
    x = flow.zeros(3, requires_grad=True)
    flow.norm(x).backward()
    assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: flow.mm(x, flow.zeros(3)), ShapeError, r"mm: expected 2 and 2 dims, got shapes \(2, 3\) and \(3,\)"),
    (lambda x: flow.mv(x, x), ShapeError, "mv: expected 2 and 1 dims"),
    (lambda x: flow.dot(x[0], flow.zeros(2)), ShapeError, r"expected \(..., n, k\)"),
    (lambda x: flow.inner(x, flow.zeros(2)), ShapeError, "equal last sizes"),
    (lambda x: flow.cross(x.T, x.T), ShapeError, "expected size 3 along dim -1"),
    (lambda x: flow.addmm(flow.zeros(3), x, x.T), ShapeError, "does not expand"),
    (lambda x: flow.addmm(flow.zeros(2).double(), x, x.T), DtypeError, "addmm: expected operands of one type"),
    (lambda x: flow.cdist(x, flow.zeros(2, 2)), ShapeError, r"cdist: expected \(..., n, k\)"),
    (lambda x: flow.linalg.inv(x), ShapeError, "inv: expected square matrices"),
    (lambda x: flow.linalg.det(flow.eye(2).long()), DtypeError, "det: expected a floating point type"),
    (lambda x: flow.linalg.inv(flow.zeros(2, 2)), ValueError, "inv: a matrix has no inverse"),
    (lambda x: flow.linalg.solve(flow.zeros(2, 2), flow.zeros(2)), ValueError, "solve: a matrix has no inverse"),
    (lambda x: flow.linalg.solve(flow.eye(2), flow.zeros(3)), ShapeError, "solve: expected"),
    (lambda x: flow.linalg.cholesky(-flow.eye(2)), ValueError, "cholesky: a matrix is not positive definite"),
    (lambda x: flow.linalg.matrix_norm(x, 3), ValueError, "expected ord 'fro', 'nuc', 1"),
    (lambda x: flow.linalg.matrix_norm(x, 1, (0,)), ShapeError, "expected two dims"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(2, 3))
