"""Arithmetic shared by the kernels that treat every channel alike: accumulation width and per-channel sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import FLOATING, accumulator, category
from flownn.errors import DtypeError

__all__ = ["channel_dot", "channel_sum", "compute_dtype"]


def compute_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype ``name`` computes in: float32 for the 16-bit floats, which are only storage here, else ``dtype``.

    Raises:
        DtypeError: ``dtype`` is not a floating point type.
    """
    if category(dtype) != FLOATING:
        raise DtypeError(f"{name}: expected a floating point input, got {dtype}; convert it with .float()")
    return accumulator(dtype) or dtype


def channel_sum(xp: Any, x: NDArray[Any]) -> NDArray[Any]:
    """Sum x (N, *spatial, C) over all but the last axis; in float64, of short float32 partial sums.

    One float32 running sum over a large batch loses digits; a float64 pass over everything is slow. So rows are
    added along the last spatial dim in the input's own width, and the (few) partial sums in float64.
    """
    if x.ndim > 2:
        x = x.sum(axis=-2)
    result: NDArray[Any] = x.reshape(-1, x.shape[-1]).sum(axis=0, dtype=np.float64)
    return result


def channel_dot(xp: Any, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """``channel_sum(x * y)`` without the product in memory."""
    if x.ndim > 2:
        x = xp.einsum("...wc,...wc->...c", x, y)
        return channel_sum(xp, x.reshape(-1, x.shape[-1]))
    return channel_sum(xp, x * y)
