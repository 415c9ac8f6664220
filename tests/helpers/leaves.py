"""Tensors that collect gradients."""

from __future__ import annotations

import flownn as flow


def leaf(*values: float) -> flow.Tensor:
    """Float64 numbers in one dim that require a gradient."""
    return flow.tensor(values, dtype=flow.float64, requires_grad=True)
