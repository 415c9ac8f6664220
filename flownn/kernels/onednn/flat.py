"""Arrays as vectors: what treats every element alike does not care about their order in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.backend import dense_order
from flownn.kernels.onednn.memory import aligned_empty

__all__ = ["are_finite", "empty_like", "flat", "is_finite"]


def flat(x: NDArray[Any]) -> NDArray[Any] | None:
    """The elements in the order in which they lie in memory, as a view; None where they are not dense or none."""
    if not x.size:
        return None
    if x.flags.c_contiguous:
        return x.reshape(-1)
    vector: NDArray[Any] = x.ravel("K")
    return vector if vector.base is not None else None


def are_finite(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether surely no element of two vectors is inf or nan; also false where the sum of the products overflows.

    One pass for both: nan and inf stay nan or inf whatever they are multiplied by.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.dot(one, other))


def is_finite(vector: NDArray[Any]) -> bool:
    """Whether surely no element is inf or nan; also false where the sum of the squares overflows."""
    return are_finite(vector, vector)


def empty_like(x: NDArray[Any]) -> NDArray[Any]:
    """An uninitialised array with the shape, dtype and memory layout of a dense one."""
    order = dense_order(x)
    assert order is not None, "only what is dense has a layout to copy"
    dense = aligned_empty(x.size, x.dtype).reshape([x.shape[axis] for axis in order])
    return dense.transpose([order.index(axis) for axis in range(x.ndim)])
