"""Matrix products as functions."""

from __future__ import annotations

from flownn.ops import matmul
from flownn.tensor import Tensor

__all__ = ["linear"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias`` for input (..., in), weight (out, in) and bias (out,)."""
    result: Tensor = matmul.linear(input, weight, bias)
    return result
