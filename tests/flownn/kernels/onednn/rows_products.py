"""Random products of matrices: batches, broadcast dims, transposed operands, gaps, bias."""

from __future__ import annotations

import random
from typing import Any

from flownn.kernels.products import matrix_product
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def _turned(rng: random.Random, x: Any) -> Any:
    """The array in some layout, or the transpose of its transpose."""
    if rng.random() < 0.4:
        return relaid(rng, x.swapaxes(-1, -2).copy(), shared=x.ndim > 2).swapaxes(-1, -2)
    return relaid(rng, x, shared=x.ndim > 2)


def draw_product(rng: random.Random) -> Any:
    while True:
        lead = tuple(small_size(rng, 6) for _ in range(rng.choice([0, 0, 1, 1, 2, 3])))
        n, k, m = (small_size(rng, 300) for _ in range(3))
        if rng.random() < 0.02:
            n, k, m = rng.choice([(0, k, m), (n, 0, m), (n, k, 0)])
        size = n * k * m
        for each in lead:
            size *= each
        if size <= 4_000_000:
            break
    shorter = [tuple(1 if rng.random() < 0.2 else each for each in lead)[rng.choice([0, 0, len(lead)]) :]]
    shapes = [(*lead, n, k), (*shorter[0], k, m)]
    if rng.random() < 0.3:
        shapes = [(*shorter[0], n, k), (*lead, k, m)]
    bias = numbers(rng, (m,)) if rng.random() < 0.4 else None
    return [*(_turned(rng, numbers(rng, shape)) for shape in shapes), bias]


ROWS = [Row(matrix_product, draw_product)]
