"""Random softmax: rows along any axis, flat and peaked ones; its logarithm is declined."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np

from flownn.kernels.softmax import exp_in_place, softmax_backward, softmax_forward
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def _shape_and_axis(rng: random.Random) -> tuple[tuple[int, ...], int]:
    """At least a hundred numbers: of fewer, which the library does not get, the largest error is a matter of luck."""
    while True:
        ndim = rng.choice([1, 2, 2, 3, 4])
        shape = tuple(small_size(rng, (5000, 300, 60, 24)[ndim - 1]) for _ in range(ndim))
        if math.prod(shape) >= 100:
            return shape, rng.choice([ndim - 1, ndim - 1, ndim - 1, 1 % ndim, rng.randrange(ndim)])


def _scores(rng: random.Random, shape: tuple[int, ...]) -> Any:
    return relaid(rng, numbers(rng, shape) * np.float32(rng.choice([1, 5, 30])))


def draw_forward(rng: random.Random) -> Any:
    shape, axis = _shape_and_axis(rng)
    return [_scores(rng, shape), axis, rng.random() < 0.1]


def draw_backward(rng: random.Random) -> Any:
    shape, axis = _shape_and_axis(rng)
    log = rng.random() < 0.1
    # Not peaked: there the gradient is a small difference of large numbers, whoever computes it.
    y = softmax_forward.portable(np, relaid(rng, numbers(rng, shape)), axis, log)
    g = numbers(rng, shape)
    return [relaid(rng, g) if axis else g, y, axis, log]  # one number for a whole row would have the gradient 0


def draw_exp(rng: random.Random) -> Any:
    shape, _ = _shape_and_axis(rng)
    scores = np.ascontiguousarray(_scores(rng, shape))
    return [scores - (0 if rng.random() < 0.1 else scores.max())]


def run_exp(body: Any, args: Any) -> list[Any]:
    x = args[0].copy()
    body(np, x)
    return [x]


ROWS = [
    Row(exp_in_place, draw_exp, run=run_exp),
    Row(softmax_forward, draw_forward),
    Row(softmax_backward, draw_backward),
]
