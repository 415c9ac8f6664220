"""Random convolutions: 1 to 3 dims, groups, strides, dilations, uneven and negative padding, empty batches."""

from __future__ import annotations

import math
import random
from typing import Any

from flownn.kernels.convolution import correlate, correlate_adjoint, correlate_filters
from flownn.kernels.windows import output_size
from tests.flownn.kernels.onednn.table import Row, numbers, relaid, small_size


def draw_geometry(rng: random.Random) -> dict[str, Any]:
    """Shapes and attributes of a convolution of at most some million products."""
    while True:
        n = rng.choice([1, 2, 2, 2, 3])
        groups = rng.choice([1, 1, 1, 2, 3, small_size(rng, 64)])
        per_group_in, per_group_out = (small_size(rng, 80 if groups < 4 else 3) for _ in range(2))
        kernel = [rng.choice([1, 1, 2, 3, 3, 3, 4, 5, 7]) for _ in range(n)]
        stride = [rng.choice([1, 1, 1, 2, 2, 3, 5]) for _ in range(n)]
        dilation = [rng.choice([1, 1, 1, 1, 2, 3]) for _ in range(n)]
        padding = [(rng.choice([0, 0, 1, 1, 2, 5]), rng.choice([0, 0, 1, 1, 2, 5])) for _ in range(n)]
        if rng.random() < 0.4:
            padding = [(before, before) for before, _ in padding]
        if rng.random() < 0.05:
            padding[0] = (rng.choice([-1, -2]), padding[0][1])
        spatial = [small_size(rng, (200, 40, 14)[n - 1]) for _ in range(n)]
        padded = [size + sum(pair) for size, pair in zip(spatial, padding, strict=True)]
        out = list(map(output_size, padded, kernel, stride, dilation))
        if min(out) < 1 or min(s + min(b, 0) + min(a, 0) for s, (b, a) in zip(spatial, padding, strict=True)) < 1:
            continue
        samples = 0 if rng.random() < 0.02 else rng.choice([1, 1, 2, 3, 4])
        filters = (groups * per_group_out, per_group_in, *kernel)
        if samples * math.prod(filters) * math.prod(out) > 4_000_000:
            continue
        return {
            "image": (samples, groups * per_group_in, *spatial),
            "result": (samples, groups * per_group_out, *out),
            "filters": filters,
            "attributes": (tuple(stride), tuple(padding), tuple(dilation), groups),
        }


def _bias(rng: random.Random, channels: int) -> Any:
    return numbers(rng, (channels,)) if rng.random() < 0.5 else None


def draw_correlate(rng: random.Random) -> Any:
    g = draw_geometry(rng)
    bias = _bias(rng, g["result"][1])
    return [relaid(rng, numbers(rng, g["image"])), relaid(rng, numbers(rng, g["filters"])), bias, *g["attributes"]]


def draw_adjoint(rng: random.Random) -> Any:
    g = draw_geometry(rng)
    arrays = relaid(rng, numbers(rng, g["result"])), relaid(rng, numbers(rng, g["filters"]))
    return [*arrays, _bias(rng, g["image"][1]), g["image"][2:], *g["attributes"]]


def draw_filters(rng: random.Random) -> Any:
    g = draw_geometry(rng)
    arrays = relaid(rng, numbers(rng, g["result"])), relaid(rng, numbers(rng, g["image"]))
    return [*arrays, g["filters"], *g["attributes"]]


ROWS = [
    Row(correlate, draw_correlate),
    # Stride 1, the most: every filter reaches the number with every element.
    Row(correlate_adjoint, draw_adjoint),
    Row(correlate_filters, draw_filters),
]
