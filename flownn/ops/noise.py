"""Ops that draw random numbers. The generator is an argument; nothing here asks for one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.kernels.bits import pack, unpack
from flownn.kernels.channels import compute_dtype
from flownn.random import Generator

__all__ = ["alpha_dropout", "dropout"]

_SELU_AT_MINUS_INFINITY = -1.7580993408473766  # -alpha * scale of SELU


@op
def dropout(xp: Any, x: NDArray[Any], *, p: float, generator: Generator, drawn_dims: int | None = None) -> Any:
    """Zero each element with probability ``p`` and scale the others by ``1 / (1 - p)`` (Srivastava et al., 2014).

    With ``drawn_dims`` what lies behind an index into so many leading dims is kept or dropped together. One float32 is
    drawn per decision in row-major order, whatever the memory layout or device.
    """
    compute_dtype("Dropout", x.dtype)
    decisions = x.shape if drawn_dims is None else (*x.shape[:drawn_dims], *(1,) * (x.ndim - drawn_dims))
    keep = _drawn(xp, generator, p, x, decisions)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)

    def apply(values: NDArray[Any], keep: NDArray[Any]) -> Any:
        result = values * keep
        result *= scale
        return result

    packed = pack(xp, keep)
    return apply(x, keep), lambda g: (apply(g, unpack(xp, packed)),)


def _drawn(xp: Any, generator: Generator, p: float, x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Which of ``shape`` are kept: drawn in row-major order, in memory as x is, so that the result will be, too."""
    keep: NDArray[Any] = xp.asarray(generator.uniform(shape, np.dtype(np.float32)) >= p)
    if keep.shape != x.shape or x.flags.c_contiguous:
        return keep
    like_x: NDArray[Any] = xp.empty_like(x, dtype=bool)
    like_x[...] = keep
    return like_x


@op
def alpha_dropout(xp: Any, x: NDArray[Any], *, p: float, generator: Generator) -> Any:
    """Set each element to SELU's lower limit with probability ``p``, then restore mean 0 and variance 1.

    Klambauer et al., 2017. One float32 is drawn per element in row-major order, as in `dropout`. With ``p`` 1 the
    result is 0, as in PyTorch.
    """
    dtype = compute_dtype("AlphaDropout", x.dtype)
    limit = _SELU_AT_MINUS_INFINITY
    keep = _drawn(xp, generator, p, x, x.shape)
    scale = ((1 - p) * (1 + p * limit**2)) ** -0.5 if p < 1 else 0.0
    kept = xp.where(keep, x.astype(dtype, copy=False), dtype.type(limit))
    packed = pack(xp, keep)
    y = kept * dtype.type(scale) + dtype.type(-scale * limit * p)
    return y.astype(x.dtype, copy=False), lambda g: (
        xp.where(unpack(xp, packed), g * g.dtype.type(scale), g.dtype.type(0)),
    )
