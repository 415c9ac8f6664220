"""Ops that draw random numbers. The generator is an argument; nothing here asks for one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.kernels.channels import compute_dtype
from flownn.random import Generator

__all__ = ["dropout"]


@op
def dropout(xp: Any, x: NDArray[Any], *, p: float, generator: Generator) -> Any:
    """Zero each element with probability ``p`` and scale the others by ``1 / (1 - p)`` (Srivastava et al., 2014).

    One float32 is drawn per element in row-major order, whatever the memory layout or device.
    """
    compute_dtype("Dropout", x.dtype)
    keep = xp.asarray(generator.uniform(x.shape, np.dtype(np.float32)) >= p)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)

    def apply(values: NDArray[Any]) -> Any:
        result = values * keep
        result *= scale
        return result

    return apply(x), lambda g: (apply(g),)
