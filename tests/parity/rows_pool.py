"""Pooling and padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.spec import WITH_INTEGERS, Case, Row, Values, by_name, row
from tests.parity.windows import exceeds_bare_input, windows_fit

SPATIAL = {1: (9,), 2: (7, 8), 3: (5, 4, 6)}
SMALL = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}


def shapes(n: int) -> list[tuple[int, ...]]:
    """A batch, one sample, without the batch dim, small images, an empty batch, a wrong number of dims."""
    size = SPATIAL[n]
    return [(2, 3, *size), (1, 2, *size[:-1], size[-1] + 2), (3, *size), (2, 3, *SMALL[n]), (0, 3, *size), (*size[1:],)]


def pooled(c: Values, rng: np.random.Generator) -> list[Any]:
    """Normal numbers; small integers, where many are equal; or some that are not a number."""
    x = rng.integers(-2, 3, c.shape).astype(float) if c.content == "ties" else rng.standard_normal(c.shape)
    if c.content == "nan" and x.size:
        x.flat[:: max(x.size // 4, 1)] = np.nan
    return [x]


CONTENTS = ["normal", "ties", "nan"]


def max_pool_reference(lib: Any, case: Case) -> Any:
    """PyTorch's MaxPool3d takes channels-last inputs and gradients only with a batch dim."""
    module = by_name(lib, case)
    if case.row.name != "MaxPool3d" or len(case.c.shape) != 4:
        return module

    def batch_of_one(x: Any) -> Any:
        result = module(x[None])
        return tuple(each[0] for each in result) if isinstance(result, tuple) else result[0]

    return batch_of_one


def max_pool(n: int) -> Row:
    return row(
        f"MaxPool{n}d",
        {
            "kernel_size": [3, (2, 3, 1)[3 - n :] if n > 1 else (2,), 2, [2]],
            "stride": [None, 1, (2, 1, 2)[:n], (3,)],
            "padding": [0, 1, (1, 0, 1)[:n] if n > 1 else [1], 2, (1,)],
            "dilation": [1, 2, (1, 2, 1)[:n]],
            "return_indices": [False, True],
            "ceil_mode": [False, True],
        },
        factors={"shape": shapes(n), "content": CONTENTS},
        inputs=pooled,
        reference=max_pool_reference,
        precisions=WITH_INTEGERS,
        accepts=lambda c: windows_fit(n, c, c.dilation) and (c.precision != "int64" or n > 1 or c.return_indices),
    )


def undivided(lib: Any, case: Case) -> Any:
    """PyTorch writes None for a divisor that is not given, and has no argument of that name in 1d."""
    arguments = case.arguments(lib)
    if "divisor_override" in arguments:
        arguments["divisor_override"] = arguments["divisor_override"] or None
    return getattr(lib.nn, case.row.name)(**arguments)


def avg_pool(n: int) -> Row:
    arguments: dict[str, list[Any]] = {
        "kernel_size": [3, (2, 3, 1)[3 - n :] if n > 1 else (2,), 2, [2]],
        "stride": [None, 1, (2, 1, 2)[:n], (3,)],
        "padding": [0, 1, (1, 0, 1)[:n] if n > 1 else [1], 2, (1,)],
        "ceil_mode": [False, True],
        "count_include_pad": [True, False],
    }
    if n > 1:
        arguments["divisor_override"] = [0, 3, -2]
    return row(
        f"AvgPool{n}d",
        arguments,
        factors={"shape": shapes(n), "content": CONTENTS},
        inputs=pooled,
        reference=undivided,
        precisions=WITH_INTEGERS,
        accepts=lambda c: windows_fit(n, c) and not (n == 3 and exceeds_bare_input(n, c)),
    )


def own_size(lib: Any, case: Case) -> Any:
    """None is the input's own size, as the text says; PyTorch knows that only inside of a tuple."""
    if case.c.output_size is not None:
        return by_name(lib, case)
    n = int(case.row.name[-2])
    return lambda x: getattr(lib.nn, case.row.name)(tuple(x.shape[-n:]))(x)


def adaptive(n: int) -> Row:
    sizes: list[Any] = [3, 1, (4,) if n == 1 else (5, 2, 3)[:n], 11, None, 0]
    if n > 1:
        sizes.append((None, 2, 3)[:n])
    return row(
        f"AdaptiveAvgPool{n}d",
        {"output_size": sizes},
        factors={"shape": shapes(n), "content": CONTENTS},
        inputs=pooled,
        reference=own_size,
        precisions=WITH_INTEGERS,
        accepts=lambda c: len(c.shape) in (n + 1, n + 2) and c.output_size != 0 and c.precision != "int64",
    )


# ---------------------------------------------------------------- padding


def sides(n: int, padding: Any) -> list[tuple[int, int]]:
    """(before, after) per dim, last dim first."""
    flat = (padding,) * (2 * n) if isinstance(padding, int) else tuple(padding)
    return list(zip(flat[::2], flat[1::2], strict=True))


def another_length(n: int, c: Values) -> bool:
    """Padding for another number of dims, which PyTorch's modules pass on to a function for any number of them."""
    return not isinstance(c.padding, int) and len(c.padding) != 2 * n


def accepts_pad(n: int, c: Values, mode: str) -> bool:
    pairs = sides(n, c.padding)
    if mode != "constant" and len(c.shape) not in ((n + 1,) if another_length(n, c) else (n + 1, n + 2)):
        return False
    for (before, after), size in zip(pairs, reversed(c.shape), strict=False):
        if size + before + after < (1 if mode != "constant" else 0):
            return False
        if mode == "reflect" and max(before, after) >= size:
            return False
    return len(pairs) <= len(c.shape)


def pad(name: str, n: int, mode: str, paddings: list[Any]) -> Row:
    arguments: dict[str, list[Any]] = {"padding": paddings}
    if name.startswith("Constant"):
        arguments["value"] = [0, 3.5, -1]
    return row(
        name,
        arguments,
        factors={"shape": shapes(n), "content": ["normal", "nan"]},
        inputs=pooled,
        precisions=WITH_INTEGERS,
        accepts=lambda c: accepts_pad(n, c, mode),
    )


EDGES = [1, (1, 2, 0, 3), (0, 1, 1, 0), 4, (1, 2), (-1, 1, 0, 0)]

ROWS = [
    *(make(n) for make in (max_pool, avg_pool, adaptive) for n in (1, 2, 3)),
    pad("ConstantPad1d", 1, "constant", [1, (1, 2), (0, 3), (-1, 1), (-5, 0), (1, 2, 3, 4)]),
    pad("ConstantPad2d", 2, "constant", [1, (1, 2, 0, 3), (-1, 1, 0, -2), (0, 0, -4, 0), (1, 2)]),
    pad("ConstantPad3d", 3, "constant", [1, (1, 2, 0, 3, 1, 0), (-1, 1, 0, -1, 2, 0), (0, 0, -3, 0, 0, 0), (1, 2)]),
    pad("ZeroPad2d", 2, "constant", [1, (1, 2, 0, 3), (-1, 1, 0, -2), (0, 0, -4, 0), (1, 2)]),
    pad("ReflectionPad2d", 2, "reflect", EDGES),
    pad("ReplicationPad2d", 2, "replicate", EDGES),
]
