"""Random images and groups of channels to normalise, with and without scale and shift, and their gradients."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flownn.kernels.group_norm import normalize_groups
from tests.flownn.kernels.onednn.rows_batch_norm import laid_out
from tests.flownn.kernels.onednn.table import Row, numbers, small_size


def draw(rng: random.Random) -> Any:
    """The kernel's arguments, then the gradient; at least 8 numbers per group, so that its gradient does not vanish."""
    while True:
        n, groups = rng.choice([1, 2, 2, 3]), small_size(rng, 40)
        spatial = [small_size(rng, (300, 40, 12)[n - 1]) for _ in range(n)]
        per_group = small_size(rng, 20)
        if per_group * np.prod(spatial) >= 8:
            break
    shape = (rng.choice([1, 2, 3, 5]), groups * per_group, *spatial)
    x = (numbers(rng, shape) + np.float32(rng.choice([0, 0, 0.5, -1000]))) * np.float32(rng.choice([1, 0.1, 20]))
    vectors = np.random.default_rng(rng.randrange(2**32)).standard_normal((2, shape[1]))
    scale, shift = (each if rng.random() < 0.8 else None for each in vectors)
    return [laid_out(rng, x), scale, shift, groups, rng.choice([1e-5, 1e-3, 0.1]), laid_out(rng, numbers(rng, shape))]


def run(body: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    *call, g = args
    found = body(np, *call)
    if found is None:
        return []
    y, backward, moments = found
    return [y, *moments, *backward(g)]


ROWS = [Row(normalize_groups, draw, run)]
