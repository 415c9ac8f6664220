"""What all losses share."""

from __future__ import annotations

from flownn.nn.modules.module import Module
from flownn.ops.loss.reduction import REDUCTIONS, check_reduction
from flownn.tensor import Tensor

__all__ = ["Loss", "WeightedLoss"]


class Loss(Module):
    """Base class of losses: keeps the reduction.

    Args:
        reduction: What becomes of the single losses.
        allowed: What ``reduction`` may be.

    Raises:
        ValueError: it is something else.
    """

    def __init__(self, reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, allowed)
        self.reduction = reduction


class WeightedLoss(Loss):
    """Base class of losses with factors, which are a buffer and so follow the module to another device or type.

    Args:
        weight: The factors; None means 1.
        reduction: What becomes of the single losses.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, reduction: str) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
