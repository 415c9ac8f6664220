"""Softmax and its logarithm, without overflow."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.kernels.channels import compute_dtype

__all__ = ["log_softmax", "log_softmax_of", "softmax"]


@op(quiet_floats=True)
def softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    along = axis if x.ndim else None  # a 0-dim input is one element
    y = xp.exp(log_softmax_of(xp, x.astype(compute_dtype("softmax", x.dtype), copy=False), along))

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        weighted = g * y
        return ((weighted - y * weighted.sum(axis=along, keepdims=True)).astype(x.dtype, copy=False),)

    return y.astype(x.dtype, copy=False), vjp


@op(quiet_floats=True)
def log_softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``log(softmax(x))`` along ``axis``, exact also where the softmax underflows."""
    along = axis if x.ndim else None
    y = log_softmax_of(xp, x.astype(compute_dtype("log_softmax", x.dtype), copy=False), along)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        wide = g.astype(y.dtype, copy=False)
        return ((wide - xp.exp(y) * wide.sum(axis=along, keepdims=True)).astype(x.dtype, copy=False),)

    return y.astype(x.dtype, copy=False), vjp


def log_softmax_of(xp: Any, x: NDArray[Any], axis: int | None) -> Any:
    """The log-softmax of an array along one axis, or over all elements; for use in other ops."""
    if x.size == 0:
        return x.copy()
    largest = x.max(axis=axis, keepdims=True)
    shifted = x - xp.where(xp.isfinite(largest), largest, largest.dtype.type(0))
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
