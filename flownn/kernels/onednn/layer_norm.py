"""Normalisation of rows by oneDNN: float32, by mean and variance."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.channels import channel_sum
from flownn.kernels.layer_norm import Backward
from flownn.kernels.onednn.memory import aligned_empty, descriptor, plain
from flownn.kernels.onednn.primitives import (
    BACKWARD,
    DIFF_DST,
    DIFF_SCALE,
    DIFF_SHIFT,
    DIFF_SRC,
    DST,
    FORWARD_TRAINING,
    MEAN,
    SCALE,
    SHIFT,
    SRC,
    VARIANCE,
    Primitive,
    cached,
)

_SCALE_AND_SHIFT = 6  # dnnl_use_scale | dnnl_use_shift
_RUN = 256  # rows of a block at most: so many gradients of scale and shift are added in float32
_RUN_NUMBERS = 1 << 18  # and numbers: the definition adds few long rows before float64 takes over
_WIDEST = 8192  # the library adds up a row in float32, in as many sums as a register has numbers


class _Plan:
    """What is compiled for rows of a width and an eps.

    Raises:
        OneDNNError: the library has no fast implementation.
    """

    def __init__(self, count: int, width: int, eps: float) -> None:
        run = min(_RUN, _RUN_NUMBERS // width)
        self.starts = range(0, count, run)
        self.forward = _forward(count, width, eps)
        sizes = [min(run, count - start) for start in self.starts]
        found = {size: _backward(size, width, eps) for size in set(sizes)}
        self.backward = [found[size] for size in sizes]


def _forward(count: int, width: int, eps: float) -> Primitive:
    rows, numbers = descriptor(plain((count, width))).handle, descriptor(plain((count,))).handle
    return Primitive(
        "dnnl_layer_normalization_forward_primitive_desc_create",
        (FORWARD_TRAINING, rows, rows, numbers, eps, _SCALE_AND_SHIFT),
        (SRC, DST, MEAN, VARIANCE, SCALE, SHIFT),
    )


def _backward(count: int, width: int, eps: float) -> Primitive:
    forward = _forward(count, width, eps)  # alive until its backward is made
    rows, numbers = descriptor(plain((count, width))).handle, descriptor(plain((count,))).handle
    return Primitive(
        "dnnl_layer_normalization_backward_primitive_desc_create",
        (BACKWARD, rows, rows, rows, numbers, eps, _SCALE_AND_SHIFT, forward.hint),
        # The shift is asked for, and not read.
        (SRC, DIFF_DST, MEAN, VARIANCE, SCALE, SHIFT, DIFF_SRC, DIFF_SCALE, DIFF_SHIFT),
    )


@kernel("normalize_rows", device="cpu", provider="onednn")
def _normalize_rows(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, eps: float, centre: bool
) -> Any:
    count, width = x.shape
    if x.dtype != np.float32 or not centre or not count or not 0 < width <= _WIDEST:
        return NotImplemented
    plan = cached(("normalize_rows", count, width, eps), partial(_Plan, count, width, eps))
    if plan is None:
        return NotImplemented
    rows = np.ascontiguousarray(x)
    weight = np.ones(width, np.float32) if scale is None else np.ascontiguousarray(scale)
    bias = np.zeros(width, np.float32) if shift is None else np.ascontiguousarray(shift)
    y = aligned_empty(rows.size).reshape(rows.shape)
    mean, variance = np.empty((2, count), np.float32)
    plan.forward(rows, y, mean, variance, weight, bias)
    if (np.abs(mean) > 2 * np.sqrt(variance)).any():
        # The library rounds a mean to float32, and 1 / width before: far from 0, in deviations, that shows. What is
        # left without it, rounded hardly or not at all, has the same result and the same gradients.
        with np.errstate(invalid="ignore"):
            rows = rows - mean[:, None]
        plan.forward(rows, y, mean, variance, weight, bias)
    has_scale, has_shift = scale is not None, shift is not None

    def backward(g: NDArray[Any]) -> Any:
        sums = _sum_of_columns(g) if has_shift and abs(g.strides[0]) < abs(g.strides[1]) else None
        g = np.ascontiguousarray(g)
        weight = np.ones(width, np.float32) if scale is None else np.ascontiguousarray(scale)
        back = aligned_empty(rows.size).reshape(rows.shape)
        scales, shifts = np.empty((2, len(plan.starts), width), np.float32)
        of_numbers = [4 * start for start in plan.starts]
        x_at, g_at, back_at, mean_at, variance_at, scales_at, shifts_at = (
            array.ctypes.data for array in (rows, g, back, mean, variance, scales, shifts)
        )
        for i, (run, at) in enumerate(zip(plan.backward, of_numbers, strict=True)):
            of_rows, row = at * width, 4 * width * i
            run(
                x_at + of_rows,
                g_at + of_rows,
                mean_at + at,
                variance_at + at,
                weight,
                weight,
                back_at + of_rows,
                scales_at + row,
                shifts_at + row,
            )
        if has_shift and sums is None:
            sums = shifts.sum(axis=0, dtype=np.float64)
        return back, scales.sum(axis=0, dtype=np.float64) if has_scale else None, sums

    checked: Backward = backward
    return y, checked


def _sum_of_columns(g: NDArray[Any]) -> NDArray[Any]:
    """The sum of the rows of a matrix whose columns are dense, which NumPy adds up in pairs, or whose rows are one.

    In a running sum of equal numbers all roundings go the same way.
    """
    return channel_sum(np, g[None]) if g.strides[0] else np.multiply(g[0], len(g), dtype=np.float64)
