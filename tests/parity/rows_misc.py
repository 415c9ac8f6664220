"""Linear layers, lookups, rearrangements and resampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from tests.parity.spec import WITH_INTEGERS, WITH_MIXED, Case, Row, Values, normal, row, without_unknown

# ---------------------------------------------------------------- linear

LINEAR = row(
    "Linear",
    {"in_features": [4, 5, 1, 0], "out_features": [3, 1, 0, -1], "bias": [True, False]},
    factors={"shape": [(3, -1), (-1,), (2, 3, -1), (2, 1, 3, -1), (0, -1), (2, 0, -1), (3, 7), ()]},
    channels="in_features",
    precisions=WITH_MIXED,
    accepts=lambda c: (
        len(c.shape) > 0 and c.shape[-1] == c.in_features and c.out_features >= 0 and c.precision != "mixed"
    ),
)


def mlp(torch: Any, case: Case) -> Any:
    """Linear layers with ReLU between them, and behind the last unless it is skipped; named as in OneFlow."""
    sizes = [case.c.in_features, *case.c.hidden_features, case.c.out_features]

    class Layers(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
                self.register_parameter(f"weight_{i}", torch.nn.Parameter(torch.rand(fan_out, fan_in)))
                self.register_parameter(f"bias_{i}", torch.nn.Parameter(torch.rand(fan_out)))

        def forward(self, x: Any) -> Any:
            for i in range(len(sizes) - 1):
                x = torch.nn.functional.linear(x, getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}"))
                x = x if case.c.skip_final_activation and i == len(sizes) - 2 else torch.relu(x)
            return x

    return Layers()


FUSED_MLP = row(
    "FusedMLP",
    {
        "in_features": [4, 5],
        "hidden_features": [(3,), [6, 2], (1, 2, 3), ()],
        "out_features": [3, 1],
        "skip_final_activation": [False, True],
    },
    factors={"shape": [(3, -1), (1, -1), (2, 3, -1), (0, -1), (3, 7), (-1,)]},
    channels="in_features",
    reference=mlp,
    speakers=("linear",),
    precisions=WITH_MIXED,
    accepts=lambda c: c.shape[-1] == c.in_features and c.precision != "mixed",
)

# ---------------------------------------------------------------- lookups


def indices(c: Values, rng: np.random.Generator) -> list[Any]:
    found = rng.integers(0, c.num_embeddings, c.size)
    if c.index == "outside" and found.size:
        found.flat[-1] = c.num_embeddings
    return [np.asarray(found, np.int32 if c.index == "int32" else np.int64)]


def embedding(torch: Any, case: Case) -> Any:
    """None, the documented default of ``norm_type``, is PyTorch's 2; gradients dense, to be looked at."""
    given = case.arguments(torch, "norm_type", "sparse")
    return torch.nn.Embedding(**given, norm_type=case.c.norm_type or 2.0)


def embedding_accepts(c: Values) -> bool:
    if c.padding_idx is not None and not -c.num_embeddings <= c.padding_idx < c.num_embeddings:
        return False
    if c._weight is not None and c._weight.label != f"normal[{c.num_embeddings}, {c.embedding_dim}]":
        return False
    return c.index != "outside" or math.prod(c.size) == 0


EMBEDDING = row(
    "Embedding",
    {
        "num_embeddings": [6, 5],
        "embedding_dim": [3, 4],
        "padding_idx": [None, 0, -2, 5],
        "max_norm": [None, 1.0, 3.0],
        "norm_type": [None, 1.0, 3],
        "scale_grad_by_freq": [False, True],
        "sparse": [False, True],
        "_weight": [None, normal(6, 3), normal(5, 4)],
    },
    factors={"size": [(2, 4), (3,), (), (0,), (1, 2, 3)], "index": ["int64", "int32", "outside"]},
    inputs=indices,
    reference=embedding,
    accepts=embedding_accepts,
)

# ---------------------------------------------------------------- shapes


def flatten_accepts(c: Values) -> bool:
    n = max(len(c.shape), 1)
    if isinstance(c.start_dim, float) or not (-n <= c.start_dim < n and -n <= c.end_dim < n):
        return False
    return c.start_dim % n <= c.end_dim % n


FLATTEN = row(
    "Flatten",
    {"start_dim": [1, 0, 2, -2, 0.0], "end_dim": [-1, 1, 2, -2]},
    factors={"shape": [(2, 3, 4), (3, 4), (2, 3, 1, 5), (0, 3, 4), (4,), (), (2, 0, 3, 4)]},
    precisions=WITH_INTEGERS,
    accepts=flatten_accepts,
)

IDENTITY = row(
    "Identity",
    {"args": [(), (54,), (1, "b")], "kwargs": [{}, {"unused": 0.1}]},
    factors={"shape": [(3, 4), (), (2, 3, 4, 5), (0, 3)]},
    build=lambda lib, case: lib.nn.Identity(*case.c.args, **case.c.kwargs),
    reference=lambda lib, case: lib.nn.Identity(*case.c.args, **case.c.kwargs),
)


def seeded(lib: Any, case: Case) -> Any:
    generator = lib.Generator() if case.c.generator else None
    return lib.nn.Dropout(**case.arguments(lib, "generator"), generator=generator)


DROPOUT = row(
    "Dropout",
    # What lies between is random in training; tests/flownn/nn asks about its distribution.
    {"p": [0.0, 1.0, 1, -0.5, 1.5], "inplace": [False, True], "generator": [False, True]},
    factors={"shape": [(3, 4), (), (2, 3, 4, 5), (0, 3), (7,)]},
    build=seeded,
    reference=without_unknown,
    precisions=WITH_INTEGERS,
    accepts=lambda c: 0 <= c.p <= 1,
)


def pixel_shuffle(torch: Any, case: Case) -> Any:
    """PyTorch's has one factor for both directions; the rearrangement of the text with two."""
    c = case.c
    if (c.upscale_factor is None) == (c.h_upscale_factor is None and c.w_upscale_factor is None):
        raise ValueError("either upscale_factor or both others")
    h, w = (c.upscale_factor or each for each in (c.h_upscale_factor, c.w_upscale_factor))
    if min(h or 0, w or 0) < 1:
        raise ValueError("factors are positive")

    def shuffle(x: Any) -> Any:
        *batch, channels, height, width = x.shape
        if channels % (h * w):
            raise ValueError("the factors divide the channels")
        parts = x.reshape(*batch, channels // (h * w), h, w, height, width)
        n = len(batch)
        order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
        return parts.permute(order).reshape(*batch, channels // (h * w), height * h, width * w)

    # the gradient of PyTorch's own fails for an empty batch
    return shuffle if h != w or 0 in c.shape else torch.nn.PixelShuffle(h)


def shuffle_accepts(c: Values) -> bool:
    separate = (c.h_upscale_factor, c.w_upscale_factor)
    factors = separate if c.upscale_factor is None else (c.upscale_factor,) * 2
    if c.upscale_factor is not None and separate != (None, None):
        return False
    return None not in factors and min(factors) > 0 and len(c.shape) > 2 and c.shape[-3] % math.prod(factors) == 0


PIXEL_SHUFFLES = [
    row(
        name,
        {
            "upscale_factor": [2, None, 3, 1],
            "h_upscale_factor": [None, 2, 3, 0],
            "w_upscale_factor": [None, 2, 1],
        },
        factors={"shape": [(2, 36, 2, 3), (1, 12, 3, 1), (36, 2, 3), (2, 1, 4, 2, 3), (0, 36, 2, 3), (3, 4)]},
        build=lambda lib, case: _pixel_shuffle_class(lib, case.row.name)(**case.arguments(lib)),
        reference=pixel_shuffle,
        speakers=("PixelShuffle",),
        precisions=WITH_INTEGERS,
        accepts=shuffle_accepts,
    )
    for name in ("PixelShuffle", "PixelShufflev2")
]


def _pixel_shuffle_class(lib: Any, name: str) -> Any:
    return lib.nn.PixelShuffle if name == "PixelShuffle" else lib.nn.modules.pixelshuffle.PixelShufflev2


# ---------------------------------------------------------------- resampling

MODE_DIMS = {"linear": (3,), "bilinear": (4,), "bicubic": (4,), "trilinear": (5,), "nearest": (3, 4, 5), "cubic": ()}
IMAGES: list[Any] = [(2, 3, 4, 5), (2, 3, 5), (1, 2, 3, 4, 2), (0, 3, 4, 5), (3, 4)]


def one_target(c: Values, mode: str) -> bool:
    """Exactly one of ``size`` and ``scale_factor``, with an entry per spatial dim."""
    given = [value for value in (c.size, c.scale_factor) if value is not None]
    if len(given) != 1 or len(c.shape) not in MODE_DIMS[mode]:
        return False
    return not isinstance(given[0], tuple) or len(given[0]) == len(c.shape) - 2


def upsample_accepts(c: Values) -> bool:
    return one_target(c, c.mode) and not (c.mode == "nearest" and c.align_corners is not None)


UPSAMPLES = [
    row(
        "Upsample",
        {
            "size": [None, 6, (3, 8), (5,)],
            "scale_factor": [None, 2, 1.5, (2.0, 0.5)],
            "mode": list(MODE_DIMS),
            "align_corners": [None, False, True],
        },
        factors={"shape": IMAGES},
        speakers=("interpolate",),
        accepts=upsample_accepts,
    ),
    *(
        row(
            name,
            {"size": [None, 6, (3, 8)], "scale_factor": [None, 2, 1.5, (2.0, 0.5), (1, 3)]},
            factors={"shape": IMAGES},
            speakers=("interpolate",),
            accepts=lambda c, mode=mode: one_target(c, mode),
        )
        for name, mode in (("UpsamplingNearest2d", "nearest"), ("UpsamplingBilinear2d", "bilinear"))
    ),
]

ROWS: list[Row] = [LINEAR, FUSED_MLP, EMBEDDING, FLATTEN, IDENTITY, DROPOUT, *PIXEL_SHUFFLES, *UPSAMPLES]
