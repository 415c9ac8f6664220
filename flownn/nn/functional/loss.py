"""Losses as functions."""

from __future__ import annotations

from flownn.ops import loss
from flownn.tensor import Tensor

__all__ = ["cross_entropy", "nll_loss"]


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of classes ``target``; arguments as in `flownn.nn.NLLLoss`."""
    result: Tensor = loss.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)
    return result


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of ``target`` under scores ``input``; arguments as in `flownn.nn.CrossEntropyLoss`."""
    result: Tensor = loss.cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )
    return result
