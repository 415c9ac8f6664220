"""What the kernels share that treat every channel alike: accumulation width, per-channel sums, scale and shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import FLOATING, accumulator, category
from flownn.errors import DtypeError, ShapeError

__all__ = ["channel_affine", "channel_dot", "channel_sum", "check_parameters", "compute_dtype"]

# So many numbers are added in their own width before float64 takes over.
_RUN = 256


def compute_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype ``name`` computes in: float32 for the 16-bit floats, which are only storage here, else ``dtype``.

    Raises:
        DtypeError: ``dtype`` is not a floating point type.
    """
    if category(dtype) != FLOATING:
        raise DtypeError(f"{name}: expected a floating point input, got {dtype}; convert it with .float()")
    return accumulator(dtype) or dtype


def check_parameters(name: str, dtype: np.dtype[Any] | None, shape: tuple[int, ...], **parameters: Any) -> None:
    """Raise unless each of these that is there has this shape and fits an input of ``dtype``; None takes any dtype.

    Raises:
        ShapeError: one has another shape than ``shape``.
        DtypeError: one has another dtype, and is not the float32 that is fine beside a 16-bit input.
    """
    for which, array in parameters.items():
        if array is None:
            continue
        if array.shape != shape:
            raise ShapeError(f"{name}: expected {which} of shape {shape}, got {tuple(array.shape)}")
        if dtype is not None and array.dtype not in (dtype, accumulator(dtype) or dtype):
            raise DtypeError(f"{name}: expected {which} of the input's dtype {dtype}, got {array.dtype}")


def channel_sum(xp: Any, x: NDArray[Any], *, keep: int = 0) -> NDArray[Any]:
    """Sum x (N, *spatial, C) over all axes but the last and the first ``keep``; in float64, of short partial sums.

    One float32 running sum over a large batch loses digits; a float64 pass over everything is slow. So rows are
    added along the last spatial dim in the input's own width, and the (few) partial sums in float64.
    """
    return _sum_of_runs(xp, lambda run: run.sum(axis=-2), keep, x)


def channel_dot(xp: Any, x: NDArray[Any], y: NDArray[Any], *, keep: int = 0) -> NDArray[Any]:
    """``channel_sum(x * y)`` without the product in memory."""
    return _sum_of_runs(xp, lambda run, other: xp.einsum("...wc,...wc->...c", run, other), keep, x, y)


def _sum_of_runs(xp: Any, reduce: Callable[..., Any], keep: int, *arrays: NDArray[Any]) -> NDArray[Any]:
    """Reduce the last axis but one of arrays (..., W, C) in runs of up to ``_RUN``, and add the results in float64."""
    if arrays[0].ndim == max(keep + 1, 2):  # (N, C): every row is a run of its own
        arrays = tuple(array[..., None, :] for array in arrays)
    channels = arrays[0].shape[-1]
    whole = arrays[0].shape[-2] // _RUN * _RUN
    parts = [reduce(*(array[..., whole:, :] for array in arrays))]
    if whole:
        runs = (array[..., :whole, :].reshape(*array.shape[:-2], -1, _RUN, channels) for array in arrays)
        parts.append(reduce(*runs))
    total: NDArray[Any] = sum(
        part.reshape(*part.shape[:keep], math.prod(part.shape[keep:-1]), channels).sum(axis=-2, dtype=np.float64)
        for part in parts
    )
    return total


def channel_affine(
    xp: Any, image: NDArray[Any], steps: Sequence[tuple[str, NDArray[Any]]], out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Apply (ufunc name, vector) steps to a contiguous image (N, *spatial, C), into ``out`` or anew.

    A vector holds one number per channel, (C,), or per sample and channel, (N, C). The last spatial dim and the
    channels are taken as one axis, so that the inner loop is long also with few channels; but not where vectors per
    sample would become as large as the image.
    """
    result: NDArray[Any] = xp.empty_like(image) if out is None else out
    shared = all(vector.ndim == 1 for _, vector in steps)
    width = image.shape[-2] if image.ndim > (2 if shared else 3) else 1
    shape = (image.shape[0], math.prod(image.shape[1:-1]) // max(width, 1), width * image.shape[-1])
    rows, into = image.reshape(shape), result.reshape(shape)
    for name, vector in steps:
        tiled = xp.tile(vector.astype(image.dtype), width)
        getattr(xp, name)(rows, tiled if vector.ndim == 1 else tiled[:, None], out=into)
        rows = into
    return result
