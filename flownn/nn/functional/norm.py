"""Normalisation as functions."""

from __future__ import annotations

from flownn.ops import norm
from flownn.tensor import Tensor

__all__ = ["batch_norm"]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Normalise each channel of ``input`` (N, C, ...); with ``training`` moves the running statistics in place.

    Raises:
        ShapeError: one value per channel, in training.
    """
    result: Tensor = norm.batch_norm(
        input,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=training,
        momentum=momentum,
        eps=eps,
    )
    return result
