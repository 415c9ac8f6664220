"""Rows of the campaign: a kernel, and how to draw arguments for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flownn.kernels import Kernel


def _as_list(result: Any) -> list[Any]:
    return [array for array in (result if isinstance(result, tuple | list) else [result]) if array is not None]


@dataclass(frozen=True)
class Row:
    """One kernel with a body of oneDNN.

    Args:
        kernel: The kernel; its portable body in float64 is the reference.
        draw: Gives the arguments after ``xp`` for a random stream, arrays in float32 (or whatever else the kernel
            takes). Some should be what the body declines.
        run: Calls a body with ``np`` and such arguments and gives the float arrays to compare; for kernels whose
            result is not an array or a tuple of arrays, or that write into their arguments.
        largest: 2e-5 unless the definition itself is that sensitive, with the reason beside it.
    """

    kernel: Kernel
    draw: Callable[[random.Random], Sequence[Any]]
    run: Callable[[Callable[..., Any], Sequence[Any]], list[Any]] = lambda body, args: _as_list(body(np, *args))
    largest: float = 2e-5

    def __str__(self) -> str:
        return self.kernel.name


def numbers(rng: random.Random, shape: Sequence[int]) -> Any:
    """Normally distributed float32 numbers."""
    return np.random.default_rng(rng.randrange(2**32)).standard_normal(tuple(shape), np.float32)


def relaid(rng: random.Random, x: Any, *, shared: bool = True) -> Any:
    """The same values in some memory layout: plain, channels-last, any order of dims, with gaps, backwards, shared.

    Shared means that all of the first dim is one; not for one that is summed over, where rounding would all go one way.
    """
    kind = rng.choice(["plain", "last", "last", "last", "order", "gaps", "backwards", "shared"])
    order = list(range(x.ndim))
    if kind == "last" and x.ndim > 1:
        order = [0, *order[2:], 1]
    elif kind == "order":
        rng.shuffle(order)
    elif kind == "gaps":
        wide = np.full([size + rng.randrange(3) for size in x.shape], np.nan, x.dtype)
        view = wide[tuple(slice(n) for n in x.shape)]
        view[...] = x
        return view
    elif kind == "backwards":
        flips = tuple(slice(None, None, rng.choice([1, -1])) for _ in order)
        return np.ascontiguousarray(x[flips])[flips]
    elif kind == "shared" and shared and x.shape and x.shape[0]:
        return np.broadcast_to(x[:1], x.shape)
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def small_size(rng: random.Random, largest: int) -> int:
    """1 to ``largest``, mostly near 1, and multiples of 16 more often than by chance."""
    size = 1 + int(largest * rng.random() ** 2.5)
    return min(largest, -(-size // 16) * 16) if rng.random() < 0.25 else min(largest, size)
