"""Random images to take the moments of and to normalise, with and without an addend and ReLU, and their gradients."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flownn.kernels.batch_norm import channel_moments, normalize_channels
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def draw_shape(rng: random.Random) -> tuple[int, ...]:
    """(N, C, *spatial), not empty."""
    n = rng.choice([0, 1, 2, 2, 2, 3])
    samples = 1 + small_size(rng, 200) if n == 0 else rng.choice([1, 2, 2, 4, 8, 3])
    return (samples, small_size(rng, 300), *(small_size(rng, (0, 200, 30, 10)[n]) for _ in range(n)))


def laid_out(rng: random.Random, x: Any) -> Any:
    """Channels-last, or anything else."""
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return np.moveaxis(last, -1, 1) if rng.random() < 0.75 else relaid(rng, x)


def draw_moments(rng: random.Random) -> Any:
    x = numbers(rng, draw_shape(rng))
    offset, scale = rng.choice([0, 0, 0.5, -1000]), rng.choice([1, 1, 1e-3, 50])
    return [laid_out(rng, (x + np.float32(offset)) * np.float32(scale))]


def draw_normalize(rng: random.Random) -> Any:
    """The kernel's arguments, then what the backward takes: the gradient, and the vectors of the gradient of x."""
    shape = draw_shape(rng)
    vectors = np.random.default_rng(rng.randrange(2**32)).standard_normal((5, shape[1]))
    mean, scale, shift = vectors[0], vectors[1] + np.sign(vectors[1]), vectors[2] if rng.random() < 0.8 else None
    relu, own = rng.random() < 0.7, rng.random() < 0.7
    x, g = numbers(rng, shape), numbers(rng, shape)
    addend = numbers(rng, shape) if rng.random() < 0.4 else None
    if relu:  # no result so near to 0 that it is positive in one precision alone
        spread = (-1, *[1] * (len(shape) - 2))
        result = (x - mean.reshape(spread)) * scale.reshape(spread)
        result += (0 if shift is None else shift.reshape(spread)) + (0 if addend is None else addend)
        x += np.where(np.abs(result) < 1e-3, np.sign(scale).reshape(spread), 0).astype(np.float32)
    addend = addend if addend is None else laid_out(rng, addend)
    last = [vectors[3] / 9, vectors[4] / 9] if own else [None, None]
    return [laid_out(rng, x), mean, scale, shift, addend, relu, own, laid_out(rng, g), *last]


def run_normalize(body: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    *call, g, along_one, along_x = args
    found = body(np, *call)
    if found is None:
        return []
    y, backward = found
    gradients = backward(g)
    rest = [] if gradients.addend is None else [gradients.addend]
    return [y, gradients.sum, gradients.dot, gradients.x(along_one, along_x), *rest]


ROWS = [
    Row(channel_moments, draw_moments),
    Row(normalize_channels, draw_normalize, run_normalize),
]
