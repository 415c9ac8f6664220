"""Arithmetic, comparison and functions of single elements against plain NumPy, and the rules of promotion."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError
from flownn.ops import compare, elementwise
from tests.helpers.op_cases import OpCase, asked, away_from_zero, bools, inside, integers, normal, positive


def erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def torch_name(name: str) -> Callable[..., Any]:
    return lambda torch, *tensors, **attrs: getattr(torch, name)(*tensors, **attrs)


BROADCAST = [[(3, 4), (3, 4)], [(3, 1), (2, 3, 4)], [(), (2, 3)], [(0, 3), (1, 3)], [(), ()]]
BINARY: list[tuple[Any, Any, Any]] = [
    (elementwise.add, np.add, normal),
    (elementwise.subtract, np.subtract, normal),
    (elementwise.multiply, np.multiply, normal),
    (elementwise.true_divide, np.divide, away_from_zero),
    (elementwise.power, np.power, positive),
    (elementwise.maximum, np.maximum, normal),
    (elementwise.minimum, np.minimum, normal),
]
UNARY: list[tuple[Any, Any, Any]] = [
    (elementwise.negative, np.negative, normal),
    (elementwise.absolute, np.abs, away_from_zero),
    (elementwise.exp, np.exp, normal),
    (elementwise.expm1, np.expm1, normal),
    (elementwise.log, np.log, positive),
    (elementwise.log1p, np.log1p, positive),
    (elementwise.log2, np.log2, positive),
    (elementwise.log10, np.log10, positive),
    (elementwise.sqrt, np.sqrt, positive),
    (elementwise.rsqrt, lambda x: 1 / np.sqrt(x), positive),
    (elementwise.square, np.square, normal),
    (elementwise.reciprocal, lambda x: 1 / x, away_from_zero),
    (elementwise.sin, np.sin, normal),
    (elementwise.cos, np.cos, normal),
    (elementwise.tan, np.tan, inside),
    (elementwise.asin, np.arcsin, inside),
    (elementwise.acos, np.arccos, inside),
    (elementwise.atan, np.arctan, normal),
    (elementwise.sinh, np.sinh, normal),
    (elementwise.cosh, np.cosh, normal),
    (elementwise.erf, erf, normal),
    (elementwise.clone, np.array, normal),
    (elementwise.sign, np.sign, away_from_zero),
]
COMPARISONS: list[tuple[Any, Any]] = [
    (compare.eq, np.equal),
    (compare.not_equal, np.not_equal),
    (compare.less, np.less),
    (compare.less_equal, np.less_equal),
    (compare.greater, np.greater),
    (compare.greater_equal, np.greater_equal),
]
OTHER_NAME = {"power": "pow"}  # where torch's function of our name is missing or means another thing


def torch_of(op: Any) -> Any:
    name = op.__name__.strip("_")
    return torch_name(OTHER_NAME.get(name, name))


def clamped(x: Any, min: Any = None, max: Any = None) -> Any:
    return np.minimum(np.maximum(x, -np.inf if min is None else min), np.inf if max is None else max)


CASES = [
    *(
        OpCase(op, shapes, expected=expected, sample=sample, torch=torch_of(op))
        for op, expected, sample in BINARY
        for shapes in BROADCAST
    ),
    *(
        OpCase(op, [shape], expected=expected, sample=sample, torch=torch_of(op))
        for op, expected, sample in UNARY
        for shape in ((3, 4), (), (0, 2))
    ),
    *(
        OpCase(op, [(3, 1), (3, 4)], expected=expected, sample=integers(3), torch=torch_of(op), differentiable=False)
        for op, expected in COMPARISONS
    ),
    OpCase(elementwise.add, [(3,), (2, 3)], {"alpha": -2}, lambda x, y, alpha: x + alpha * y, torch=torch_name("add")),
    OpCase(elementwise.subtract, [(3,), (2, 3)], {"alpha": 3}, lambda x, y, alpha: x - alpha * y,
           torch=torch_name("sub")),
    OpCase(elementwise.remainder, [(3, 4), (4,)], expected=np.mod, sample=(normal, away_from_zero),
           torch=torch_name("remainder"), dtypes=("float64",)),
    OpCase(elementwise.floor_divide, [(3, 4), (4,)], expected=np.floor_divide, sample=integers(9, 1),
           torch=torch_name("floor_divide"), differentiable=False),
    OpCase(elementwise.clamp, [(3, 4)], {"min": -0.5, "max": 0.7}, clamped, torch=torch_name("clamp")),
    OpCase(elementwise.clamp, [(3, 4)], {"max": 0.0}, clamped, torch=torch_name("clamp")),
    OpCase(elementwise.clamp, [(3, 4), (4,), (3, 1)], {}, clamped, torch=torch_name("clamp")),
    OpCase(elementwise.clamp, [(3, 4), None, (3, 1)], {}, clamped, torch=torch_name("clamp")),
    OpCase(elementwise.floor, [(3, 4)], expected=np.floor, torch=torch_name("floor")),
    OpCase(elementwise.ceil, [(3, 4)], expected=np.ceil, torch=torch_name("ceil")),
    OpCase(elementwise.trunc, [(3, 4)], expected=np.trunc, torch=torch_name("trunc")),
    OpCase(elementwise.round_, [(3, 4)], expected=np.round, torch=torch_name("round")),
    OpCase(lambda x, y: elementwise.divide(x, y, rounding_mode="trunc"), [(20,), (20,)], name="divide-trunc",
           expected=lambda x, y: np.trunc(x / y).astype(int), sample=(integers(9, -9), integers(5, 1)),
           torch=lambda torch, x, y: torch.div(x, y, rounding_mode="trunc"), differentiable=False),
    OpCase(compare.where, [(3, 4), (4,), (3, 1)], expected=np.where, sample=(bools, normal, normal),
           torch=torch_name("where")),
    OpCase(lambda x, m: compare.masked_fill(x, m, 2.5), [(3, 4), (4,)], name="masked_fill",
           expected=lambda x, m: np.where(m, 2.5, x), sample=(normal, bools),
           torch=lambda torch, x, m: x.masked_fill(m, 2.5)),
    OpCase(compare.logical_and, [(9,), (9,)], expected=np.logical_and, sample=integers(2), differentiable=False,
           torch=torch_name("logical_and")),
    OpCase(compare.logical_xor, [(9,), (9,)], expected=np.logical_xor, sample=integers(2), differentiable=False,
           torch=torch_name("logical_xor")),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize(("op", "x", "want"), [
    (elementwise.log, [0.0, -1.0], [-np.inf, np.nan]),
    (elementwise.sqrt, [-1.0, 4.0], [np.nan, 2.0]),
    (elementwise.exp, [1000.0, -1000.0], [np.inf, 0.0]),
])  # fmt: skip
def test_extreme_values_give_no_warning(op: Any, x: Any, want: Any) -> None:
    np.testing.assert_array_equal(op(flow.tensor(x, dtype=flow.float64)).numpy(), want)


TENSORS = {
    "f16": flow.ones(2, dtype=flow.float16), "bf16": flow.ones(2, dtype=flow.bfloat16), "f32": flow.ones(2),
    "f64": flow.ones(2, dtype=flow.float64), "i64": flow.ones(2, dtype=flow.int64),
    "u8": flow.ones(2, dtype=flow.uint8), "bool": flow.ones(2, dtype=flow.bool),
    "0-dim f64": flow.tensor(1.0, dtype=flow.float64), "0-dim f16": flow.tensor(1.0, dtype=flow.float16),
    "0-dim i64": flow.tensor(1),
    "True": True, "int": 2, "float": 0.5,
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("first", [name for name, value in TENSORS.items() if isinstance(value, flow.Tensor)])
@pytest.mark.parametrize("name", ["add", "mul", "true_divide", "eq", "maximum"])
def test_promotion_is_that_of_torch(name: str, first: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def theirs(value: Any) -> Any:
        if not isinstance(value, flow.Tensor):
            return value
        return torch.ones(tuple(value.shape), dtype=getattr(torch, value.dtype.name))

    one = TENSORS[first]
    for second, other in TENSORS.items():
        is_number = not isinstance(other, flow.Tensor)
        if name == "maximum" and is_number:  # theirs takes tensors only
            continue
        want = str(getattr(torch, name)(theirs(one), theirs(other)).dtype).replace("torch.", "flownn.")
        assert repr(getattr(flow, name)(one, other).dtype) == want, second
        if is_number and name in ("add", "mul"):
            assert repr((other + one if name == "add" else other * one).dtype) == want, second


def test_a_number_does_not_decide_the_type() -> None:
    for kind in (flow.float16, flow.bfloat16, flow.float32, flow.float64):
        x = flow.ones(2, dtype=kind)
        for result in (x * 2.5, 2.5 - x, x / 3, x**2, 2**x, x + True, x % 0.3, x.clamp(0.25), x.clamp(max=0.5)):
            assert result.dtype is kind
    assert (flow.ones(2, dtype=flow.int32) * 2.5).dtype is flow.float32
    assert (flow.ones(2, dtype=flow.int32) / 2).dtype is flow.float32
    assert (flow.ones(2, dtype=flow.int32) * 2).dtype is flow.int32
    assert flow.exp(flow.tensor(1)).dtype is flow.float32


def test_bfloat16_is_not_widened() -> None:
    x = flow.tensor([0.5, -1.5, 2.0], dtype=flow.bfloat16, requires_grad=True)
    for y in (x + 1.5, x.clamp(-1.0, 1.0), flow.matmul(x, x), flow.ops.activation.gelu(x), x.sum(), x.mean(), x.std(),
              x.erf(), x.relu(), x.norm(), x.cumsum(0), x.sigmoid()):  # fmt: skip
        assert y.dtype is flow.bfloat16
        x.grad = None
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.dtype is flow.bfloat16
    assert x.float().dtype is flow.float32


def test_gradient_of_mixed_types_has_the_type_of_each_input() -> None:
    x, y = flow.ones(3, dtype=flow.float16, requires_grad=True), flow.ones(3, dtype=flow.float64, requires_grad=True)
    product = x * y
    assert product.dtype is flow.float64
    product.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (flow.float16, flow.float64)


def test_power_of_zero() -> None:
    x, y = flow.tensor([0.0, 0.0, 2.0], requires_grad=True), flow.tensor([0.0, 2.0, 0.0], requires_grad=True)
    (x**y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 0])
    np.testing.assert_allclose(y.grad.numpy(), [0, 0, math.log(2)], rtol=1e-6)


def test_equal_values_share_the_gradient_of_maximum() -> None:
    x, y = flow.tensor([1.0, 2.0], requires_grad=True), flow.tensor([1.0, 3.0], requires_grad=True)
    flow.maximum(x, y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.5, 0])
    np.testing.assert_array_equal(y.grad.numpy(), [0.5, 1])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: flow.ones(2) + "a", DtypeError, "add: expected a tensor, an array or a number, got str"),
    (lambda: flow.where(flow.ones(2), 1, 2), DtypeError, "where: expected a bool tensor, got float32"),
    (lambda: flow.arange(3) ** -1, DtypeError, "power: integers to negative powers"),
    (lambda: flow.ones(2).clamp(), ValueError, "clamp: expected min, max or both"),
    (lambda: flow.divide(flow.ones(2), 2, rounding_mode="up"), ValueError, "rounding_mode"),
    (lambda: -flow.ones(2, dtype=flow.bool), DtypeError, "negative: bool"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
