"""Activations against their formulas in plain NumPy and against PyTorch, also at corners, infinities and NaN."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.ops import activation
from flownn.ops import softmax as softmaxes
from tests.helpers.gradcheck import gradients_of
from tests.helpers.op_cases import OpCase, asked, away_from_zero


def erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.log(1 + np.exp(x))


def softmin(x: Any, axis: int) -> Any:
    return np.exp(-x) / np.exp(-x).sum(axis=axis, keepdims=True)


def glu(x: Any, dim: int) -> Any:
    signal, gate = np.split(x, 2, axis=dim)
    return signal * sigmoid(gate)


def prelu(x: Any, weight: Any) -> Any:
    y = x.copy()
    for place in np.ndindex(*x.shape):
        slope = weight.ravel()[place[1] if weight.size > 1 else 0]
        y[place] = max(0, x[place]) + slope * min(0, x[place])
    return y


def functional(name: str) -> Callable[..., Any]:
    if name == "hardsigmoid":  # whose gradient in float64 is a 1/6 of float32
        return lambda torch, x: torch.clamp(x / 6 + 0.5, 0, 1)
    return lambda torch, *tensors, **attrs: getattr(torch.nn.functional, name)(*tensors, **attrs)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
# op, attrs, formula, PyTorch's name; draws stay away from the corners at 0, the others are met with probability 0
ELEMENTWISE: list[tuple[Any, dict[str, Any], Any, str]] = [
    (activation.relu, {}, lambda x: x * (x > 0), "relu"),
    (activation.leaky_relu, {"negative_slope": 0.2}, lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
     "leaky_relu"),
    (activation.elu, {"alpha": 0.5}, lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), "elu"),
    (activation.celu, {"alpha": 0.5}, lambda x, alpha:
     np.maximum(0, x) + np.minimum(0, alpha * (np.exp(x / alpha) - 1)), "celu"),
    (activation.selu, {}, lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * (np.exp(x) - 1)), "selu"),
    (activation.sigmoid, {}, sigmoid, "sigmoid"),
    (activation.log_sigmoid, {}, lambda x: np.log(sigmoid(x)), "logsigmoid"),
    (activation.tanh, {}, np.tanh, "tanh"),
    (activation.softsign, {}, lambda x: x / (1 + np.abs(x)), "softsign"),
    (activation.softplus, {}, lambda x: softplus(x), "softplus"),
    (activation.softplus, {"beta": 2.0, "threshold": 1.0}, lambda x, beta, threshold:
     np.where(beta * x > threshold, x, softplus(beta * x) / beta), "softplus"),
    (activation.silu, {}, lambda x: x * sigmoid(x), "silu"),
    (activation.mish, {}, lambda x: x * np.tanh(softplus(x)), "mish"),
    (activation.gelu, {}, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2, "gelu"),
    (activation.gelu, {"approximate": "tanh"}, lambda x, approximate:
     x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), "gelu"),
    (activation.hardtanh, {"min_val": -1.0, "max_val": 0.75}, lambda x, min_val, max_val: np.clip(x, min_val, max_val),
     "hardtanh"),
    (activation.threshold, {"threshold": 0.75, "value": 20.0}, lambda x, threshold, value:
     np.where(x > threshold, x, value), "threshold"),
    (activation.hardsigmoid, {}, lambda x: np.clip(x / 6 + 0.5, 0, 1), "hardsigmoid"),
    (activation.hardswish, {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), "hardswish"),
    (activation.hardshrink, {"lambd": 1.1}, lambda x, lambd: np.where(np.abs(x) > lambd, x, 0), "hardshrink"),
    (activation.softshrink, {"lambd": 1.1}, lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
     "softshrink"),
]  # fmt: skip


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Also beyond -3 and 3, where some of the lines bend."""
    return away_from_zero(rng, shape) * rng.choice([1.0, 2.5], shape)


CASES = [
    *(
        OpCase(op, [shape], attrs, expected, sample=wide, torch=functional(name))
        for op, attrs, expected, name in ELEMENTWISE
        for shape in ((4, 5), (), (0, 2))
    ),
    *(
        OpCase(activation.prelu, shapes, expected=prelu, sample=away_from_zero, torch=functional("prelu"))
        for shapes in ([(2, 3, 4, 5), (3,)], [(2, 3, 4), (1,)], [(4, 3), (3,)], [(4,), (1,)], [(), (1,)],
                       [(0, 3), (3,)], [(2, 3), ()])
    ),
    OpCase(activation.glu, [(3, 4)], {"dim": -1}, glu, torch=functional("glu")),
    OpCase(activation.glu, [(2, 6, 3)], {"dim": 1}, glu, torch=functional("glu")),
    OpCase(activation.glu, [(0, 4)], {"dim": 1}, glu, torch=functional("glu")),
    OpCase(softmaxes.softmin, [(3, 4)], {"axis": 0}, softmin,
           torch=lambda torch, x, axis: torch.nn.functional.softmin(x, axis)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize(("op", "attrs", "formula", "name"), ELEMENTWISE, ids=lambda value: str(value)[:20])
def test_corners_infinities_and_nan_are_those_of_torch(op: Any, attrs: Any, formula: Any, name: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    corners = [0.0, -0.0, *attrs.values()] if "approximate" not in attrs else [0.0]
    corners += [each * sign for each in (0.5, 1, 1.1, 3, 6, 50, 1000) for sign in (1, -1)]
    # Gradients where PyTorch's are 1 for relu(nan) and nan for softsign(inf) are 0 here.
    corners += {"relu": [np.inf, -np.inf], "softsign": [np.nan]}.get(name, [np.inf, -np.inf, np.nan])
    x = np.array(corners)
    theirs = torch.tensor(x, requires_grad=True)
    want = getattr(torch.nn.functional, name)(theirs, **attrs)
    want.backward(torch.ones_like(want))
    np.testing.assert_allclose(op(flow.tensor(x), **attrs).data, want.detach().numpy(), rtol=1e-14)
    (got,) = gradients_of(lambda x: op(x, **attrs), [x], [np.ones_like(x)])
    np.testing.assert_allclose(got, theirs.grad.numpy(), rtol=1e-7, atol=1e-15)  # PyTorch's hardsigmoid, see above


@pytest.mark.parametrize(("op", "attrs", "formula", "name"), ELEMENTWISE, ids=lambda value: str(value)[:20])
def test_half_precision_is_rounded_once(op: Any, attrs: Any, formula: Any, name: str) -> None:
    for kind in (np.float16, ml_dtypes.bfloat16):
        x = np.linspace(-4.1, 4.1, 83).astype(kind)
        y = op(flow.tensor(x), **attrs).data
        assert y.dtype == kind
        with flow.use_kernels("portable"):  # what 16 bits are computed with; a provider's may differ in the last bits
            want = op(flow.tensor(x.astype(np.float32)), **attrs).data
        np.testing.assert_allclose(
            y.astype(np.float64), want.astype(kind).astype(np.float64), rtol=float(ml_dtypes.finfo(kind).eps) * 1.01
        )


@pytest.mark.parametrize(("op", "attrs", "formula", "name"), ELEMENTWISE, ids=lambda value: str(value)[:20])
def test_gradients_in_half_precision(op: Any, attrs: Any, formula: Any, name: str) -> None:
    for kind in (flow.float16, flow.bfloat16):
        narrow = flow.tensor(np.linspace(-4.1, 4.1, 83), dtype=kind)
        wide = narrow.float()
        for x in (narrow, wide):
            op(x.requires_grad_(), **attrs).sum().backward()
        assert narrow.grad.dtype is kind
        eps = float(ml_dtypes.finfo(kind.dtype).eps)
        np.testing.assert_allclose(
            narrow.grad.data.astype(np.float32), wide.grad.data, rtol=eps, atol=eps, err_msg=str(kind)
        )


INTEGERS = np.array([-2, 0, 5])


@pytest.mark.parametrize(("call", "want"), [
    (lambda x: activation.hardtanh(x, min_val=-1.5, max_val=2.5), [-1, 0, 2]),
    (lambda x: activation.threshold(x, threshold=1, value=2.7), [2, 2, 5]),
    (activation.relu, [0, 0, 5]),
])  # fmt: skip
def test_integers_stay_integers_where_there_is_nothing_to_round(call: Any, want: Any) -> None:
    y = call(flow.tensor(INTEGERS))
    assert y.dtype is flow.int64
    assert y.data.tolist() == want


def test_integers_become_floats_where_torch_does_that() -> None:
    for op in (activation.sigmoid, activation.tanh, activation.softsign):
        assert op(flow.tensor(INTEGERS)).dtype is flow.float32


ONES = flow.ones(2, 3)


@pytest.mark.parametrize(("call", "error", "message"), [
    *((lambda op=op: op(flow.tensor(INTEGERS)), DtypeError, "expected a floating point input, got int64")
      for op in (activation.leaky_relu, activation.elu, activation.celu, activation.selu, activation.log_sigmoid,
                 activation.softplus, activation.silu, activation.mish, activation.gelu, activation.hardsigmoid,
                 activation.hardswish, activation.hardshrink, activation.softshrink)),
    (lambda: activation.gelu(ONES, approximate="erf"), ValueError, "'none' or 'tanh'"),
    (lambda: activation.celu(ONES, alpha=0), ValueError, "celu: expected an alpha other than 0"),
    (lambda: activation.softshrink(ONES, lambd=-1), ValueError, "softshrink: expected a lambd of at least 0, got -1"),
    (lambda: activation.hardtanh(ONES, min_val=2, max_val=1), ValueError, "min_val up to max_val, got 2 and 1"),
    (lambda: activation.hardtanh(flow.ones(2, dtype=flow.uint8)), ValueError, "no negative limit for uint8"),
    (lambda: activation.hardtanh(ONES > 0), DtypeError, "hardtanh: expected a tensor of numbers, got bool"),
    (lambda: activation.threshold(ONES > 0, threshold=0, value=1), DtypeError, "threshold: expected a tensor of"),
    (lambda: activation.glu(ONES), ShapeError, r"glu: expected an even size along dim -1, got shape \(2, 3\)"),
    (lambda: activation.glu(flow.tensor(1.0)), ShapeError, r"even size along dim -1, got shape \(\)"),
    (lambda: activation.glu(ONES, dim=2), ShapeError, "glu: expected a dim from -2 to 1, got 2"),
    (lambda: activation.prelu(ONES, flow.ones(2)), ShapeError, r"weight of shape \(1,\) or \(3,\), got \(2,\)"),
    (lambda: activation.prelu(ONES, flow.ones(1, 1)), ShapeError, "prelu: expected a weight of shape"),
    (lambda: activation.prelu(ONES, flow.ones(1, dtype=flow.float64)), DtypeError, "type float32, got float64"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
