"""Random linear interpolation: ratios that are multiples of a power of two, and others (declined)."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from flownn.kernels.resampling import resample_by_tables
from flownn.ops.resample import _table
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def draw(rng: random.Random) -> Any:
    n = rng.choice([1, 2, 2, 3])
    old = [small_size(rng, (300, 40, 12)[n - 1]) for _ in range(n)]
    new = [
        size * rng.choice([1, 2, 2, 4]) if rng.random() < 0.9 else small_size(rng, 40)
        for size in (size // rng.choice([1, 1, 2]) or 1 for size in old)
    ]
    is_linear = rng.random() < 0.9
    mode = "linear" if is_linear else "nearest"
    tables = [_table(False, mode, a, b, None, False, False, np.float64) for a, b in zip(old, new, strict=True)]
    shape = (0 if rng.random() < 0.02 else rng.choice([1, 2, 3]), small_size(rng, 50), *old)
    return [relaid(rng, numbers(rng, shape)), np.dtype(np.float32), tables, is_linear]


def run(body: Any, args: Any) -> list[Any]:
    x, _, tables, is_linear = args
    return [body(np, x, x.dtype, tables, is_linear)]


ROWS = [Row(resample_by_tables, draw, run=run)]
