"""Activations as functions."""

from __future__ import annotations

from flownn.inplace import replace
from flownn.nn.arguments import softmax_axis
from flownn.ops import activation
from flownn.ops import softmax as softmaxes
from flownn.tensor import Tensor

__all__ = ["log_softmax", "relu", "softmax"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; with ``inplace`` in the memory of ``input``."""
    if inplace:
        replace(input, "relu(inplace=True)", activation.relu)
        return input
    result: Tensor = activation.relu(input)
    return result


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``; None means 0 for 0, 1 or 3 dims, else 1."""
    result: Tensor = softmaxes.softmax(input, axis=softmax_axis("softmax", dim, input.data.ndim))
    return result


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``log(softmax(input, dim))``, exact also where the softmax underflows."""
    result: Tensor = softmaxes.log_softmax(input, axis=softmax_axis("log_softmax", dim, input.data.ndim))
    return result
