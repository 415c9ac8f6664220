"""Normalisation layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.parity.spec import WITH_MIXED, Case, Row, Values, by_name, row

SPATIAL = {1: (5,), 2: (4, 3), 3: (2, 3, 4)}


def shapes(n: int) -> list[tuple[int, ...]]:
    """A batch, one sample, without what may be left out, one element per channel, an empty batch, wrong channels."""
    size = SPATIAL[n]
    without = (4, -1) if n == 1 else (-1, *size)
    return [(3, -1, *size), (1, -1, *size), without, (1, -1, *(1,) * n), (0, -1, *size), (2, 5, *size)]


NORM = {"num_features": [3, 4, 1], "eps": [1e-5, 1e-2, 0.0], "momentum": [0.1, 0.4, None, 0.0, 1.0]}
SWITCHES = {"affine": [True, False], "track_running_stats": [True, False]}


def wrong_channels(c: Values, axis: int = 1) -> bool:
    return bool(c.shape[axis] != c.num_features)


def learns_or_remembers(c: Values) -> bool:
    """Without anything in the size of ``num_features`` PyTorch does not look at it."""
    return bool(c.affine or c.track_running_stats)


def batch_statistics(c: Values) -> bool:
    return c.training or not c.track_running_stats


def batch_norm_accepts(n: int, c: Values) -> bool:
    if len(c.shape) not in ((2, 3) if n == 1 else (n + 2,)) or (wrong_channels(c) and learns_or_remembers(c)):
        return False
    if c.precision == "mixed" and learns_or_remembers(c):
        return False
    return not (batch_statistics(c) and (c.eps == 0 or math.prod(c.shape) // c.shape[1] == 1))


def batch_norm(n: int) -> Row:
    return row(
        f"BatchNorm{n}d",
        {**NORM, **SWITCHES},
        factors={"shape": shapes(n)},
        channels="num_features",
        steps=2,
        precisions=WITH_MIXED,
        accepts=lambda c: batch_norm_accepts(n, c),
    )


def with_addend(c: Values, rng: np.random.Generator) -> list[Any]:
    return [rng.standard_normal(c.shape), rng.standard_normal(c.shape) if c.addend else None]


def fused_batch_norm(torch: Any, case: Case) -> Any:
    """The formula of the text: ReLU(BatchNorm(input) + addend)."""

    class Fused(getattr(torch.nn, case.row.name.removeprefix("Fused"))):  # type: ignore[misc]
        def forward(self, x: Any, addend: Any = None) -> Any:
            y = super().forward(x)
            return torch.relu(y if addend is None else y + addend)

    return Fused(**case.arguments(torch))


def fused(n: int) -> Row:
    return row(
        f"FusedBatchNorm{n}d",
        {**NORM, **SWITCHES},
        factors={"shape": shapes(n), "addend": [False, True]},
        inputs=with_addend,
        reference=fused_batch_norm,
        channels="num_features",
        steps=2,
        precisions=WITH_MIXED,
        accepts=lambda c: batch_norm_accepts(n, c),
    )


def instance_norm_accepts(n: int, c: Values) -> bool:
    if len(c.shape) not in (n + 1, n + 2):
        return False
    if (wrong_channels(c, -n - 1) and learns_or_remembers(c)) or (c.precision == "mixed" and c.affine):
        return False
    if c.shape[0] == 0 and len(c.shape) == n + 2 and c.affine:  # an IndexError from inside PyTorch
        return False
    return not (batch_statistics(c) and math.prod(c.shape[-n:]) == 1)


def instance_norm(n: int) -> Row:
    return row(
        f"InstanceNorm{n}d",
        {**NORM, "affine": [False, True], "track_running_stats": [False, True]},
        factors={"shape": [(3, -1, *SPATIAL[n]), (-1, *SPATIAL[n]), *shapes(n)[1:2], *shapes(n)[3:]]},
        channels="num_features",
        steps=2,
        reference=contiguous_gradient,
        precisions=WITH_MIXED,
        accepts=lambda c: instance_norm_accepts(n, c),
    )


def contiguous_gradient(lib: Any, case: Case) -> Any:
    """PyTorch's gradient is wrong where that of the output is channels-last and the batch has one sample."""
    module = by_name(lib, case)

    def keep_contiguous(_: Any, __: Any, y: Any) -> None:
        if y.requires_grad:
            y.register_hook(lambda g: g.contiguous())

    module.register_forward_hook(keep_contiguous)
    return module


# As many groups as channels, on inputs (N, C), would leave nothing but rounding errors to compare.
GROUP_NORM = row(
    "GroupNorm",
    {"num_groups": [1, 2, 5], "num_channels": [6, 12], "eps": [1e-5, 1e-2], "affine": [True, False]},
    factors={"shape": [(2, -1, 3, 4), (3, -1), (1, -1, 1), (2, -1, 5), (0, -1, 3), (2, 5, 3), (-1,), (2, -1, 2, 1, 3)]},
    channels="num_channels",
    precisions=WITH_MIXED,
    accepts=lambda c: (
        c.num_channels % c.num_groups == 0
        and not (c.precision == "mixed" and c.affine)
        and len(c.shape) > 1
        and (c.shape[1] == c.num_channels or (not c.affine and c.shape[1] % c.num_groups == 0))
        and math.prod(c.shape) // c.shape[1] * c.num_channels // c.num_groups != 1
    ),
)


def layer_norm_accepts(c: Values) -> bool:
    wanted = (c.normalized_shape,) if isinstance(c.normalized_shape, int) else tuple(c.normalized_shape)
    if c.precision == "mixed" and c.elementwise_affine:
        return False
    return len(wanted) > 0 and tuple(c.shape[len(c.shape) - len(wanted) :]) == wanted and len(c.shape) >= len(wanted)


LAYER_NORM = row(
    "LayerNorm",
    {"normalized_shape": [4, (4,), (3, 4), [2, 3, 4], 5], "eps": [1e-5, 1e-2], "elementwise_affine": [True, False]},
    factors={"shape": [(2, 3, 4), (4,), (3, 4), (0, 3, 4), (5, 2, 3, 4), (2, 5), ()]},
    precisions=WITH_MIXED,
    accepts=layer_norm_accepts,
)

ROWS = [*(make(n) for make in (batch_norm, fused, instance_norm) for n in (1, 2, 3)), GROUP_NORM, LAYER_NORM]
