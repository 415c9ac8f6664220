"""Running sums, products and extremes against loops and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import OpCase, asked, away_from_zero, normal


def running(function: Any, axis: int) -> Any:
    """``function`` of the elements up to each along an axis."""

    def slow(x: Any) -> Any:
        lines = np.moveaxis(x, axis, -1)
        parts = [function(lines[..., : i + 1]) for i in range(lines.shape[-1])]
        return np.moveaxis(np.stack(parts, -1), -1, axis)

    return slow


def running_extreme(largest: bool, axis: int) -> Any:
    values = running(lambda part: part.max(-1) if largest else part.min(-1), axis)
    places = running(lambda part: part.argmax(-1) if largest else part.argmin(-1), axis)
    return lambda x: (values(x), places(x))


CASES = [
    *(
        OpCase(lambda x, name=name, d=d: getattr(flow, name)(x, d), [shape], name=f"{name}-{d}-{len(shape)}d",
               expected=running(slow, d), sample=sample, rtol={"float16": 2e-2},
               torch=lambda torch, x, name=name, d=d: getattr(torch, name)(x, d))
        for name, slow, sample in (
            ("cumsum", lambda part: part.sum(-1), normal),
            ("cumprod", lambda part: part.prod(-1), away_from_zero),
            ("logcumsumexp", lambda part: np.log(np.exp(part).sum(-1)), normal),
        )
        for shape, d in (((7,), 0), ((3, 5), -1), ((2, 4, 3), 1))
    ),
    *(
        OpCase(lambda x, name=name, d=d: getattr(flow, name)(x, d), [shape], name=f"{name}-{d}-{len(shape)}d",
               expected=running_extreme(name == "cummax", d),
               torch=lambda torch, x, name=name, d=d: getattr(torch, name)(x, d))
        for name in ("cummax", "cummin") for shape, d in (((7,), 0), ((3, 5), -1), ((2, 4, 3), 1))
    ),
    *(
        OpCase(lambda x, name=name: getattr(flow, name)(x, 0), [()], name=f"{name}-0-dim", expected=lambda x: x,
               torch=lambda torch, x, name=name: getattr(torch, name)(x, 0))
        for name in ("cumsum", "cumprod", "logcumsumexp")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("zeros", [[0], [2], [4], [1, 3], [0, 1, 4]])
def test_the_gradient_of_a_running_product_with_zeros(zeros: list[int], rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 2, (2, 5))
    x[1, zeros] = 0
    check_vjp(lambda each: flow.cumprod(each, 1), x, rng=rng)


@pytest.mark.torch
def test_ties_and_nan_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = np.array([1.0, 3, 3, np.nan, 5, 2, np.nan, 3])
    for values in (x, x[:3], x[4:6], np.array([2.0, 2, 1, 1])):
        for name in ("cummax", "cummin"):
            ours, theirs = getattr(flow, name)(flow.tensor(values), 0), getattr(torch, name)(torch.tensor(values), 0)
            np.testing.assert_array_equal(ours.values.numpy(), theirs.values.numpy())
            assert ours.indices.tolist() == theirs.indices.tolist()


def test_integers_and_bools_are_counted_as_int64() -> None:
    for dtype in ("bool", "uint8", "int32"):
        x = flow.tensor([1, 0, 1], dtype=dtype)
        assert (x.cumsum(0).tolist(), x.cumsum(0).dtype) == ([1, 1, 2], flow.int64)
        assert (x.cumprod(0).tolist(), x.cumprod(0).dtype) == ([1, 0, 0], flow.int64)
        assert (x.cummax(0).values.dtype.name, x.cummax(0).indices.tolist()) == (dtype, [0, 0, 2])
    assert flow.tensor(3, dtype=flow.int8).cumsum(0).dtype is flow.int64
    assert flow.ones(3).cumsum(0, dtype=flow.float64).dtype is flow.float64
    assert flow.ones(3, dtype=flow.int32).cumprod(0, dtype=flow.float32).dtype is flow.float32
    assert flow.zeros(2, 0).cumsum(1).shape == flow.zeros(2, 0).cummax(1).values.shape == (2, 0)


def test_large_values_do_not_overflow() -> None:
    x = flow.tensor([1000.0, -1000.0, 1000.0, -np.inf], dtype=flow.float64, requires_grad=True)
    y = flow.logcumsumexp(x, 0)
    np.testing.assert_allclose(y.numpy(), [1000, 1000, 1000 + np.log(2), 1000 + np.log(2)])
    y.backward(flow.tensor([1.0, -2.0, 3.0, 0.0], dtype=flow.float64))
    np.testing.assert_allclose(x.grad.numpy(), [0.5, 0, 1.5, 0])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.cumsum(2), ShapeError, "cumsum: expected a dim from -2 to 1"),
    (lambda x: x.cummin(-3), ShapeError, "cummin: expected a dim"),
    (lambda x: x.long().logcumsumexp(0), DtypeError, "logcumsumexp: expected a floating point type"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(3, 4))
