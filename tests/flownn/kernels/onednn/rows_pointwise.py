"""Random functions of single elements: all that oneDNN knows, with attributes that it serves and some it does not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.kernels.normal import normal_distribution
from flownn.kernels.pointwise import Pointwise, pointwise, pointwise_gradient
from flownn.ops import activation
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def function_of(op: Callable[..., Any], **attrs: Any) -> Pointwise:
    """What an op computes with, as its vjp keeps it."""
    vjp = op(wrap(np.ones(1), requires_grad=True), **attrs).grad_fn.vjp
    (function,) = (cell.cell_contents for cell in vjp.__closure__ if isinstance(cell.cell_contents, Pointwise))
    return function


def draw_function(rng: random.Random) -> Pointwise:
    op, attrs = rng.choice(
        [
            (activation.relu, {}),
            (activation.leaky_relu, {"negative_slope": rng.choice([0.01, 0.2, 0.0, 1.5, -0.3])}),
            (activation.elu, {"alpha": rng.choice([1.0, 0.5, 2.0])}),
            (activation.celu, {"alpha": rng.choice([1.0, 1.0, 0.5])}),
            (activation.sigmoid, {}),
            (activation.log_sigmoid, {}),
            (activation.tanh, {}),
            (activation.softplus, {"beta": rng.choice([1.0, 1.0, 2.0]), "threshold": rng.choice([20.0, 20.0, 5.0])}),
            (activation.silu, {}),
            (activation.mish, {}),
            (activation.gelu, {}),
            (activation.gelu, {"approximate": "tanh"}),
            (activation.hardtanh, {"min_val": rng.choice([0.0, -1.0]), "max_val": rng.choice([6.0, 1.0])}),
            (activation.hardsigmoid, {}),
            (activation.hardswish, {}),
            (activation.hardshrink, {}),
        ]
    )
    return function_of(op, **attrs)


def _shape(rng: random.Random) -> tuple[int, ...]:
    """At least a hundred numbers: of fewer, which the library does not get, the largest error is a matter of luck."""
    while True:
        ndim = rng.choice([1, 2, 3, 4, 4, 5])
        shape = tuple(small_size(rng, (20000, 200, 40, 20, 8)[ndim - 1]) for _ in range(ndim))
        if math.prod(shape) >= 100:
            return shape


def _values(rng: random.Random, shape: tuple[int, ...]) -> Any:
    return relaid(rng, numbers(rng, shape) * np.float32(rng.choice([1, 3, 10])))


def draw_value(rng: random.Random) -> Any:
    return [_values(rng, _shape(rng)), draw_function(rng)]


def draw_gradient(rng: random.Random) -> Any:
    shape, function = _shape(rng), draw_function(rng)
    saved = _values(rng, shape)
    if function.saves_result:
        saved = pointwise.portable(np, saved, function)
    return [relaid(rng, numbers(rng, shape)), saved, function]


def run(body: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """The portable bodies are measured by the definition of the normal distribution, not by NumPy's faster formula."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normal_distribution, "bodies", {})
        return [body(np, *args)]


ROWS = [Row(pointwise, draw_value, run=run), Row(pointwise_gradient, draw_gradient, run=run)]
