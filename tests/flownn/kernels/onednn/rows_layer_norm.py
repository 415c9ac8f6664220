"""Random rows to normalise, with and without scale and shift, and their gradients."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flownn.kernels.layer_norm import normalize_rows
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def draw(rng: random.Random) -> Any:
    """The kernel's arguments, then the gradient of the result; rows so long that their gradient does not vanish."""
    count, width = rng.choice([1, small_size(rng, 600)]), 7 + small_size(rng, rng.choice([40, 900]))
    x = numbers(rng, (count, width)) * np.float32(rng.choice([1, 1, 0.1, 20])) + np.float32(rng.choice([0, 0, 1, -5]))
    scale, shift = (numbers(rng, (width,)) if rng.random() < 0.8 else None for _ in range(2))
    eps, centre = rng.choice([1e-5, 1e-5, 1e-12, 0.1]), rng.random() < 0.9
    return [relaid(rng, x), scale, shift, eps, centre, relaid(rng, numbers(rng, (count, width)))]


def run(body: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    *call, g = args
    found = body(np, *call)
    if found is None:
        return []
    y, backward = found
    return [y, *(each for each in backward(g) if each is not None)]


ROWS = [Row(normalize_rows, draw, run)]
