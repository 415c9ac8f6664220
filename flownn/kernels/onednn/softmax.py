"""Softmax by oneDNN: float32 and rows that lie dense in memory. Its logarithm it computes with too much rounding."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.flat import empty_like, is_finite
from flownn.kernels.onednn.memory import descriptor, plain
from flownn.kernels.onednn.primitives import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    Primitive,
    cached,
)
from flownn.kernels.pointwise import like_layout

_ACCURATE = 0x30000  # dnnl_softmax_accurate
_EXP = 0x2A  # dnnl_eltwise_exp
# Longer rows are summed in too few partial sums to be as exact as the definition; most of all where one number is so
# large that the others, added one by one, lose their digits beside it.
_LONGEST_ROW = 1024
_LONGEST_ROW_BACKWARD = 4096
_LEAST = -60  # with a larger number beside them, exponentials that the library takes for 0 are too small to count


def _make_forward(shape: tuple[int, int]) -> Primitive:
    rows = descriptor(plain(shape)).handle
    return Primitive(
        "dnnl_softmax_forward_primitive_desc_create", (FORWARD_TRAINING, _ACCURATE, rows, rows, 1), (SRC, DST)
    )


def _make_backward(shape: tuple[int, int]) -> Primitive:
    rows, hint = descriptor(plain(shape)).handle, _make_forward(shape)
    return Primitive(
        "dnnl_softmax_backward_primitive_desc_create",
        (_ACCURATE, rows, rows, rows, 1, hint.hint),
        (DST, DIFF_DST, DIFF_SRC),
    )


def _rows(x: NDArray[Any], axis: int, longest: int) -> tuple[int, int] | None:
    """Number and length of the rows along an axis, None where they cannot be taken as a dense matrix."""
    if x.dtype != np.float32 or not x.size or x.shape[axis] > longest:
        return None
    if not np.moveaxis(x, axis, -1).flags.c_contiguous:
        return None
    return x.size // x.shape[axis], x.shape[axis]


@kernel("softmax_forward", device="cpu", provider="onednn")
def _softmax_forward(xp: Any, x: NDArray[Any], axis: int, log: bool) -> Any:
    shape = None if log else _rows(x, axis, _LONGEST_ROW)
    run = shape and cached(("softmax", shape), partial(_make_forward, shape))
    if not run:
        return NotImplemented
    y = empty_like(x)
    run(x, y)
    # Of a row with nan only that element becomes nan: leave what has any to the definition.
    return y if is_finite(y.ravel("K")) else NotImplemented


@kernel("softmax_backward", device="cpu", provider="onednn")
def _softmax_backward(xp: Any, g: NDArray[Any], y: NDArray[Any], axis: int, log: bool) -> Any:
    shape = None if log or g.dtype != np.float32 else _rows(y, axis, _LONGEST_ROW_BACKWARD)
    run = shape and cached(("softmax_backward", shape), partial(_make_backward, shape))
    if not run:
        return NotImplemented
    result = empty_like(y)
    run(y, like_layout(g, result), result)
    return result


def _make_exp(count: int) -> Primitive:
    vector = descriptor(plain((count,))).handle
    return Primitive(
        "dnnl_eltwise_forward_primitive_desc_create", (FORWARD_INFERENCE, _EXP, vector, vector, 0.0, 0.0), (SRC, DST)
    )


@kernel("exp_in_place", device="cpu", provider="onednn")
def _exp_in_place(xp: Any, x: NDArray[Any]) -> Any:
    if x.dtype != np.float32 or not x.size or not x.flags.c_contiguous:
        return NotImplemented
    run = cached(("exp", x.size), partial(_make_exp, x.size))
    if run is None or not _LEAST <= x.max() <= 1:  # of nan the library makes inf, and large results have more rounding
        return NotImplemented
    run(x, x)
    return None
