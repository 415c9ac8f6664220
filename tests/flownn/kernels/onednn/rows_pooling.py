"""Random pooling: 1 to 3 dims, uneven windows, hanging over with ceil_mode, equal elements, dilation (declined)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from flownn.kernels.pooling import (
    PoolWindow,
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def draw_geometry(rng: random.Random, dilated: bool) -> tuple[PoolWindow, tuple[int, ...], tuple[int, ...]]:
    """How the windows lie, the shape of the input, and how many windows there are per dim."""
    while True:
        n = rng.choice([1, 2, 2, 2, 3])
        kernel = tuple(rng.choice([1, 2, 2, 3, 3, 3, 4, 5, 7]) for _ in range(n))
        stride = tuple(rng.choice([1, 1, 2, 2, 3, 5]) for _ in range(n))
        padding = tuple(rng.randrange(k // 2 + 1) for k in kernel)
        dilation = tuple(rng.choice([1, 2, 3]) for _ in range(n)) if dilated and rng.random() < 0.1 else (1,) * n
        spatial = tuple(small_size(rng, (200, 40, 14)[n - 1]) for _ in range(n))
        ceil_mode, out = rng.random() < 0.3, []
        for size, k, s, p, d in zip(spatial, kernel, stride, padding, dilation, strict=True):
            spare = size + 2 * p - d * (k - 1) - 1
            count = (spare + (s - 1 if ceil_mode else 0)) // s + 1
            out.append(count - (ceil_mode and (count - 1) * s >= size + p))
        samples = 0 if rng.random() < 0.02 else rng.choice([1, 1, 2, 3, 4])
        shape = (samples, small_size(rng, 80), *spatial)
        if min(out) >= 1 and math.prod(shape[:2]) * math.prod(out) * math.prod(kernel) <= 3_000_000:
            return PoolWindow(kernel, stride, padding, dilation), shape, tuple(out)


def _with_equal_ones(rng: random.Random, shape: Sequence[int]) -> Any:
    x = numbers(rng, shape)
    return np.round(x) if rng.random() < 0.4 else x


def draw_max(rng: random.Random) -> Any:
    window, shape, out = draw_geometry(rng, True)
    return [relaid(rng, _with_equal_ones(rng, shape)), window, out, rng.random() < 0.8]


def draw_max_backward(rng: random.Random) -> Any:
    window, shape, out = draw_geometry(rng, True)
    _, winners = max_pool_forward.portable(np, _with_equal_ones(rng, shape), window, out, True)
    return [relaid(rng, numbers(rng, winners.shape)), winners, window, shape]


def _divided(rng: random.Random) -> list[Any]:
    return [rng.random() < 0.5, rng.choice([0, 0, 0, 0, 0, 3])]


def draw_avg(rng: random.Random) -> Any:
    window, shape, out = draw_geometry(rng, False)
    return [relaid(rng, numbers(rng, shape)), window, out, *_divided(rng)]


def draw_avg_backward(rng: random.Random) -> Any:
    window, shape, out = draw_geometry(rng, False)
    return [relaid(rng, numbers(rng, (*shape[:2], *out))), window, shape, *_divided(rng)]


ROWS = [
    Row(max_pool_forward, draw_max),
    Row(max_pool_backward, draw_max_backward),
    Row(avg_pool_forward, draw_avg),
    Row(avg_pool_backward, draw_avg_backward),
]
