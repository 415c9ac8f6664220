"""Products of matrices by oneDNN: float32, bias added on the way."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.memory import Layout, aligned_empty, descriptor, plain
from flownn.kernels.onednn.primitives import BIAS, DST, SRC, WEIGHTS, Primitive, cached
from flownn.kernels.providers import chosen

# Multiplications from which on the library's call pays, measured beside OpenBLAS.
_FEWEST = 1_000_000


@kernel("matrix_product", device="cpu", provider="onednn")
def _matrix_product(xp: Any, x: NDArray[Any], y: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        return NotImplemented  # vectors, and mistakes, which NumPy names
    work = x.size * y.shape[-1]
    if not work or not y.size or (work < _FEWEST and not chosen.small_arrays):
        return NotImplemented
    if not all(array is None or array.dtype == np.float32 for array in (x, y, bias)):
        return NotImplemented
    try:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        return NotImplemented
    shape = (*lead, x.shape[-2], y.shape[-1])
    if y.ndim == 2 and x.ndim > 2 and x.flags.c_contiguous:
        x = x.reshape(-1, x.shape[-1])  # one large product instead of one per matrix
    if 1 in (x.shape[-2], y.shape[-1]):
        return NotImplemented  # by a vector: BLAS reads the matrix as fast, and keeps dozens of sums
    x, y = (array.reshape((1,) * (max(x.ndim, y.ndim) - array.ndim) + array.shape) for array in (x, y))
    computed = shape if x.ndim == len(shape) else (x.shape[0], y.shape[1])
    for copied in (False, True):  # a layout that the library does not multiply fast is copied
        left, right = (_operand(array, copied) for array in (x, y))
        key = (_layout(left), _layout(right), computed, bias is not None)
        found = cached(("product", key), partial(_make, *key))
        if found is not None:
            break
    else:
        return NotImplemented
    result = aligned_empty(math.prod(shape)).reshape(shape)
    found(left, right, result, *(() if bias is None else (np.ascontiguousarray(bias),)))
    return result


def _make(left: Layout, right: Layout, shape: tuple[int, ...], bias: bool) -> Primitive:
    row = descriptor(plain((*[1] * (len(shape) - 1), shape[-1]))).handle if bias else None
    return Primitive(
        "dnnl_matmul_primitive_desc_create",
        (descriptor(left).handle, descriptor(right).handle, row, descriptor(plain(shape)).handle),
        (SRC, WEIGHTS, DST, BIAS) if bias else (SRC, WEIGHTS, DST),
    )


def _operand(array: NDArray[Any], copied: bool) -> NDArray[Any]:
    """The array, or a copy where that is wanted or its matrices are neither dense by rows nor by columns."""
    if copied:
        return np.ascontiguousarray(array)
    item = array.itemsize
    rows, columns = array.shape[-2:]
    by_row, by_column = array.strides[-2:]
    if by_column == item and by_row >= columns * item and not by_row % item:
        return array if _steps_on(array) else np.ascontiguousarray(array)
    if by_row == item and by_column >= rows * item and not by_column % item:
        return array if _steps_on(array) else np.ascontiguousarray(array)
    return np.ascontiguousarray(array)


def _steps_on(array: NDArray[Any]) -> bool:
    """Whether the dims before the matrices have strides that the library takes."""
    item = array.itemsize
    return all(
        size == 1 or (stride > 0 and not stride % item)
        for size, stride in zip(array.shape[:-2], array.strides[:-2], strict=True)
    )


def _layout(array: NDArray[Any]) -> Layout:
    """Shape and strides; a dim of size 1 steps over the whole array, as if it were dense."""
    item = array.itemsize
    strides = []
    span = array.shape[-2] * array.shape[-1]
    for size, stride in zip(reversed(array.shape[:-2]), reversed(array.strides[:-2]), strict=True):
        step = span if size == 1 else stride // item
        strides.append(step)
        span = max(span, step * size)
    by_row, by_column = (stride // item for stride in array.strides[-2:])
    rows, columns = array.shape[-2:]
    if columns == 1 and by_row != 1:
        by_column = 1
    if rows == 1 or by_row == 1 == columns:
        by_row = max(by_row, columns) if by_column == 1 else 1
    return array.shape, (*reversed(strides), by_row, by_column)
