"""Reductions against plain NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.ops import reduce
from tests.helpers.op_cases import OpCase, asked, away_from_zero, bools, integers, normal


def over(function: Any) -> Any:
    """A NumPy reduction with the names of our arguments."""

    def reduced(x: Any, dim: Any = None, keepdim: bool = False, **attrs: Any) -> Any:
        axes = tuple(dim) if isinstance(dim, (tuple, list)) else dim
        return function(x, axis=axes, keepdims=keepdim, **attrs)

    return reduced


def torch_name(name: str) -> Any:
    def call(torch: Any, x: Any, dim: Any = None, keepdim: bool = False, **attrs: Any) -> Any:
        if dim is None:
            dim = tuple(range(x.ndim))
        return getattr(torch, name)(x, dim=dim, keepdim=keepdim, **attrs)

    return call


def norm(p: float) -> Any:
    return over(lambda x, axis, keepdims, p=p: (np.abs(x) ** p).sum(axis=axis, keepdims=keepdims) ** (1 / p))


def variance(root: bool) -> Any:
    def reduced(x: Any, axis: Any, keepdims: Any, unbiased: bool = True) -> Any:
        result = np.var(x, axis=axis, keepdims=keepdims, ddof=int(unbiased))
        return np.sqrt(result) if root else result

    return over(reduced)


SITUATIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((3, 4), {}),
    ((3, 4), {"dim": 1}),
    ((2, 3, 4), {"dim": (0, -1), "keepdim": True}),
    ((2, 3, 4), {"dim": -2, "keepdim": True}),
]
TABLE: list[tuple[Any, Any, Any, Any]] = [
    (reduce.sum, over(np.sum), normal, torch_name("sum")),
    (reduce.mean, over(np.mean), normal, torch_name("mean")),
    (reduce.prod, over(np.prod), away_from_zero, None),
    (reduce.var, variance(False), normal, torch_name("var")),
    (reduce.std, variance(True), normal, torch_name("std")),
    (flow.norm, norm(2), normal, lambda torch, x, dim=None, keepdim=False: torch.linalg.vector_norm(
        x, 2, dim, keepdim)),
    (reduce.amax, over(np.max), normal, torch_name("amax")),
    (reduce.amin, over(np.min), normal, torch_name("amin")),
]  # fmt: skip
CASES = [
    *(
        OpCase(op, [shape], attrs, expected, sample, torch, rtol={"float16": 1e-2})
        for op, expected, sample, torch in TABLE
        for shape, attrs in SITUATIONS
    ),
    *(
        OpCase(op, [()], {}, expected, sample, torch)
        for op, expected, sample, torch in TABLE
        if op not in (reduce.var, reduce.std)
    ),
    OpCase(reduce.sum, [(0, 3)], {"dim": 0}, over(np.sum), torch=torch_name("sum")),
    OpCase(reduce.sum, [(5,)], {}, over(np.sum), bools, differentiable=False, torch=torch_name("sum")),
    OpCase(reduce.sum, [(2, 5)], {"dim": 1}, over(np.sum), integers(9), differentiable=False, torch=torch_name("sum")),
    OpCase(reduce.var, [(3, 4)], {"dim": 1, "unbiased": False}, variance(False), torch=torch_name("var")),
    OpCase(flow.norm, [(3, 4)], {"p": 1, "dim": 1}, norm(1), away_from_zero),
    OpCase(flow.norm, [(3, 4)], {"p": 3, "keepdim": True}, norm(3), away_from_zero),
    OpCase(flow.norm, [(3, 4)], {"p": np.inf, "dim": 0}, over(lambda x, axis, keepdims, p: np.abs(x).max(
        axis=axis, keepdims=keepdims))),
    OpCase(reduce.logsumexp, [(3, 4)], {"dim": 1}, over(lambda x, axis, keepdims: np.log(np.exp(x).sum(
        axis=axis, keepdims=keepdims))), torch=torch_name("logsumexp")),
    OpCase(flow.cumsum, [(3, 4)], {"dim": -1}, lambda x, dim: np.cumsum(x, axis=dim), torch=lambda torch, x, dim:
           torch.cumsum(x, dim), rtol={"float16": 1e-2}),
    OpCase(reduce.max, [(3, 4)], {"dim": 1}, lambda x, dim: (x.max(axis=dim), x.argmax(axis=dim)),
           torch=lambda torch, x, dim: tuple(torch.max(x, dim))),
    OpCase(reduce.min, [(3, 4)], {"dim": 0, "keepdim": True}, lambda x, dim, keepdim:
           (x.min(axis=dim, keepdims=True), x.argmin(axis=dim, keepdims=True)),
           torch=lambda torch, x, dim, keepdim: tuple(torch.min(x, dim, keepdim))),
    OpCase(reduce.max, [(3, 4)], {}, np.max, torch=lambda torch, x: torch.max(x)),
    OpCase(reduce.argmax, [(3, 4)], {"dim": 1}, lambda x, dim: x.argmax(axis=dim), differentiable=False,
           torch=lambda torch, x, dim: torch.argmax(x, dim)),
    OpCase(reduce.argmin, [(3, 4)], {}, lambda x: x.argmin(), differentiable=False),
    OpCase(reduce.all, [(3, 4)], {"dim": 1}, over(np.all), bools, differentiable=False, torch=torch_name("all")),
    OpCase(reduce.any, [(3, 4)], {"dim": 1}, over(np.any), bools, differentiable=False, torch=torch_name("any")),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize("values", [[0.0, 2, 3], [0.0, 2, 0], [1.0, 2, 3], [0.0]])
def test_gradient_of_a_product_with_zeros(values: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = flow.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    ours.prod().backward()
    theirs.prod().backward()
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def test_equal_values_share_the_gradient_of_amax_and_the_first_has_it_for_max() -> None:
    x = flow.tensor([[3.0, 1, 3]], requires_grad=True)
    x.amax(1).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0.5, 0, 0.5]])
    x.grad = None
    values, indices = x.max(1)
    values.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[1, 0, 0]])
    assert indices.dtype is flow.int64


def test_sums_of_half_precision_do_not_stop_growing() -> None:
    assert flow.ones(10000, dtype=flow.float16).sum().item() == 10000
    assert flow.ones(10000, dtype=flow.bfloat16).mean().item() == 1
    x = flow.zeros(1, dtype=flow.float16, requires_grad=True)
    (x + flow.zeros(4097, dtype=flow.float16)).sum().backward()
    assert x.grad.item() == 4096  # 4097 itself is no float16; a float16 sum would have stopped at 2048


def test_means_of_nothing_are_nan_and_extremes_of_nothing_an_error() -> None:
    empty = flow.zeros(0, 3)
    assert np.isnan(empty.mean(0).numpy()).all()
    assert np.isnan(flow.ones(1).var().item())
    assert empty.sum().item() == 0
    assert empty.max(1).values.shape == (0,)
    for reduction in (lambda: empty.max(0), empty.max, empty.argmax, lambda: empty.amin(0)):
        with pytest.raises(ShapeError, match="nothing to choose from"):
            reduction()


def test_gradient_at_the_kinks_is_zero_not_nan() -> None:
    for reduction in (lambda x: x.norm(), lambda x: x.std()):
        x = flow.zeros(3, requires_grad=True)
        reduction(x).backward()
        np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 0])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.sum(2), ShapeError, "sum: expected a dim from -2 to 1, got 2"),
    (lambda x: x.sum((0, -2)), ShapeError, "appears twice"),
    (lambda x: x.long().mean(), DtypeError, "mean: expected a floating point type, got int64"),
    (lambda x: x.norm("nuc"), ValueError, "expected p a number or 'fro'"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.ones(2, 3))


def test_dims_may_be_integers_of_numpy() -> None:
    x = flow.arange(6, dtype=flow.float32).reshape(2, 3)
    assert x.sum(np.int64(0)).tolist() == [3, 5, 7]
    assert x.max(np.int64(1)).values.tolist() == [2, 5]


def test_logsumexp_does_not_overflow() -> None:
    x = flow.tensor([1000.0, 1000.0], requires_grad=True)
    y = x.logsumexp(0)
    np.testing.assert_allclose(y.item(), 1000 + np.log(2), rtol=1e-6)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.5, 0.5])
    assert flow.full((2,), -np.inf).logsumexp(0).item() == -np.inf


def test_positive_products_of_integers_are_int64() -> None:
    assert flow.tensor([2, 3], dtype=flow.int8).prod().dtype is flow.int64
    assert flow.tensor([200, 100], dtype=flow.uint8).sum().item() == 300
