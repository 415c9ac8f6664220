"""Products of matrices and vectors. Half precision is multiplied and summed in float32."""

from __future__ import annotations

import math
from typing import Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.products import matrix_product


def _product(xp: Any, x: Array, y: Array, bias: Array | None = None) -> Any:
    """``x @ y + bias``; NumPy would multiply float16 without BLAS and return bfloat16 as float32."""
    wide = dtypes.accumulator(x.dtype)
    if wide is None:
        return matrix_product(xp, x, y, bias)
    product = matrix_product(xp, x.astype(wide), y.astype(wide)).astype(x.dtype)
    return product if bias is None else product + bias


def require_one_dtype(name: str, *arrays: Array | None) -> None:
    """Refuse operands of several types.

    Raises:
        DtypeError: there are.
    """
    kinds = {array.dtype for array in arrays if array is not None}
    if len(kinds) > 1:
        names = " and ".join(sorted(map(str, kinds)))
        raise DtypeError(f"{name}: expected operands of one type, got {names}; convert one with .to(dtype)")


@op
def matmul(xp: Any, x: Array, y: Array) -> Any:
    """Matrix product over the last two dims; the dims before broadcast, a 1-dim operand is a row or a column.

    Raises:
        ShapeError: the inner sizes differ, or an operand has no dims.
        DtypeError: the operands have different types.
    """
    require_one_dtype("matmul", x, y)
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(f"matmul: expected (..., n, k) and (..., k, m), got {tuple(x.shape)} and {tuple(y.shape)}")
    try:
        result = _product(xp, x, y)
    except ValueError as error:
        raise ShapeError(
            f"matmul: the dims before the last two do not broadcast in {tuple(x.shape)} and {tuple(y.shape)}"
        ) from error

    def vjp(g: Array) -> Any:
        left = x[None, :] if x.ndim == 1 else x
        right = y[:, None] if y.ndim == 1 else y
        if x.ndim == 1:
            g = xp.expand_dims(g, -1 if y.ndim == 1 else -2)
        if y.ndim == 1:
            g = xp.expand_dims(g, -1)

        def of_y() -> Any:
            gradient = _product(xp, left.swapaxes(-1, -2), g)
            return gradient[..., 0] if y.ndim == 1 else gradient

        return lambda: _product(xp, g, right.swapaxes(-1, -2)), of_y

    return result, vjp


@op
def bmm(xp: Any, x: Array, y: Array) -> Any:
    """Matrix products of a batch, (N, n, k) with (N, k, m) to (N, n, m), without broadcasting.

    Raises:
        ShapeError: other numbers of dims, or sizes that differ.
        DtypeError: the operands have different types.
    """
    require_one_dtype("bmm", x, y)
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        raise ShapeError(f"bmm: expected (N, n, k) and (N, k, m), got {tuple(x.shape)} and {tuple(y.shape)}")
    return _product(xp, x, y), lambda g: (
        lambda: _product(xp, g, y.swapaxes(1, 2)),
        lambda: _product(xp, x.swapaxes(1, 2), g),
    )


@op
def linear(xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Any:
    """``x @ weight.T + bias`` for x (..., in), weight (out, in) and bias (out,).

    Raises:
        ShapeError: the last size of ``x`` is not the weight's.
        DtypeError: the operands have different types.
    """
    require_one_dtype("linear", x, weight, bias)
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: expected (..., in) and (out, in), got {tuple(x.shape)} and {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: expected a bias of shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    count = math.prod(x.shape[:-1])
    rows = x.reshape(count, x.shape[-1])  # one large product instead of one per leading dim
    y = _product(xp, rows, weight.T, bias).reshape(*x.shape[:-1], weight.shape[0])

    def vjp(g: Array) -> Any:
        g_rows = g.reshape(count, g.shape[-1])
        return (
            lambda: _product(xp, g_rows, weight).reshape(x.shape),
            lambda: _product(xp, g_rows.T, rows),
            g_rows,  # the engine sums the dims that the bias was broadcast over
        )

    return y, vjp
