"""Where oneDNN treats nan, infinities or long rows in its own way, the definition's results come out all the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flownn.nn.functional as F
from flownn.autograd import wrap
from flownn.kernels import providers
from flownn.kernels.pointwise import pointwise, pointwise_gradient
from flownn.kernels.providers import use_kernels
from flownn.kernels.softmax import exp_in_place, softmax_backward, softmax_forward
from flownn.ops import activation
from tests.flownn.kernels.onednn.rows_pointwise import function_of

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 100.0, -100.0, 1e30, -1e30, 1e-30], np.float32)
OPS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (activation.relu, {}),
    (activation.leaky_relu, {}),
    (activation.leaky_relu, {"negative_slope": 0.0}),
    (activation.elu, {}),
    (activation.celu, {}),
    (activation.selu, {}),
    (activation.sigmoid, {}),
    (activation.log_sigmoid, {}),
    (activation.tanh, {}),
    (activation.softplus, {}),
    (activation.silu, {}),
    (activation.mish, {}),
    (activation.gelu, {}),
    (activation.gelu, {"approximate": "tanh"}),
    (activation.hardtanh, {}),
    (activation.hardsigmoid, {}),
    (activation.hardswish, {}),
]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("op", "attrs"), OPS, ids=lambda case: getattr(case, "__name__", ""))
def test_functions_of_single_elements(op: Callable[..., Any], attrs: dict[str, Any], alone: bool) -> None:
    function = function_of(op, **attrs)
    for chosen in SPECIAL[:, None] if alone else [SPECIAL]:
        x = np.resize(chosen, 50)
        with np.errstate(all="ignore"), use_kernels("onednn"):
            y = pointwise(np, x, function)
            expected = pointwise.portable(np, x, function)
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
            saved = expected if function.saves_result else x
            for g in (np.ones_like(x), np.full_like(x, np.nan)):
                back = pointwise_gradient(np, g, saved, function)
                np.testing.assert_allclose(back, pointwise_gradient.portable(np, g, saved, function), atol=1e-6)


@pytest.mark.parametrize("op", [activation.hardsigmoid, activation.hardswish, activation.hardtanh, activation.relu])
@pytest.mark.parametrize("edge", [-3, -1, 0, 1, 3])
def test_gradients_beside_an_edge(op: Callable[..., Any], edge: float) -> None:
    function = function_of(op)
    x = np.float32(edge) + np.arange(-8, 9, dtype=np.float32) * np.spacing(np.float32(edge or 1))
    for part in (x, x[x != np.nextafter(np.float32(3), np.float32(0))]):
        part = np.resize(part, 200)
        saved = pointwise.portable(np, part, function) if function.saves_result else part
        with use_kernels("onednn"):
            back = pointwise_gradient(np, np.ones_like(part), saved, function)
        expected = pointwise_gradient.portable(np, np.ones_like(part), saved, function)
        np.testing.assert_allclose(back, expected, rtol=1e-5, atol=1e-6)


def test_an_infinite_gradient_stays_where_the_function_is_flat() -> None:
    function, g = function_of(activation.relu), np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    with use_kernels("onednn"):
        back = pointwise_gradient(np, g, np.zeros(4, np.float32), function)
    np.testing.assert_array_equal(back, np.zeros(4))


def test_softmax() -> None:
    rows = np.zeros((6, 4), np.float32)
    rows[0, 1], rows[1, 1], rows[2, 1], rows[3] = np.nan, np.inf, -np.inf, -np.inf
    rows[4], rows[5] = [1e30, -1e30, 0, 1e30], [0, -100, -90, -80]
    for chosen in [rows, *rows[:, None]]:
        with np.errstate(all="ignore"), use_kernels("onednn"):
            y = softmax_forward(np, chosen, 1, False)
            expected = softmax_forward.portable(np, chosen, 1, False)
            np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)
            back = softmax_backward(np, np.ones_like(y), expected, 1, False)
            np.testing.assert_allclose(
                back, softmax_backward.portable(np, np.ones_like(y), expected, 1, False), atol=1e-7
            )


def test_exponentials() -> None:
    for chosen in [SPECIAL, *SPECIAL[:, None]]:
        x = np.resize(chosen, 20)
        with np.errstate(all="ignore"), use_kernels("onednn"):
            exponentials = x.copy()
            exp_in_place(np, exponentials)
            np.testing.assert_allclose(exponentials, np.exp(x), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("size", [(14, 6), (7, 12), (3, 3), (28, 3)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resampling(size: tuple[int, int], mode: str) -> None:
    """What is infinite spreads no further than the definition says, a weight of 0 does not make it nan."""
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(np.float32)
    x[0, 0, 3, 2], x[0, 1, 0, 0], x[1, 2, 6, 5] = np.inf, np.nan, -np.inf
    results = []
    for chosen in ("portable", "onednn"):
        with np.errstate(all="ignore"), use_kernels(chosen):
            results.append(F.interpolate(wrap(x), size=size, mode=mode).data)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-6)
