"""Softmax and its logarithm, without overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.kernels.channels import compute_dtype
from flownn.kernels.softmax import softmax_backward, softmax_forward
from flownn.ops.elementwise import negative

if TYPE_CHECKING:
    from flownn.tensor import Tensor

__all__ = ["log_softmax", "softmax", "softmin"]


@op(quiet_floats=True)
def softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    return _softmax(xp, "softmax", x, axis, log=False)


def softmin(x: Tensor, *, axis: int) -> Tensor:
    """The softmax of ``-x`` along ``axis``: the smallest element gets the largest share."""
    return softmax(negative(x), axis=axis)


@op(quiet_floats=True)
def log_softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``log(softmax(x))`` along ``axis``, exact also where the softmax underflows."""
    return _softmax(xp, "log_softmax", x, axis, log=True)


def _softmax(xp: Any, name: str, x: NDArray[Any], axis: int, *, log: bool) -> Any:
    compute_dtype(name, x.dtype)
    if not x.ndim:  # one element
        y, vjp = _softmax(xp, name, x.reshape(1), 0, log=log)
        return y.reshape(()), lambda g: (vjp(g.reshape(1))[0].reshape(()),)
    axis %= x.ndim
    y = softmax_forward(xp, x, axis, log)

    def vjp_of_rows(g: NDArray[Any]) -> tuple[Any, ...]:
        return (softmax_backward(xp, g.astype(y.dtype, copy=False), y, axis, log).astype(g.dtype, copy=False),)

    return y.astype(x.dtype, copy=False), vjp_of_rows
