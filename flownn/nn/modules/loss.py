"""Losses."""

from __future__ import annotations

from flownn.nn.modules.module import Module
from flownn.ops.loss import cross_entropy, nll_loss
from flownn.tensor import Tensor

__all__ = ["CrossEntropyLoss", "NLLLoss"]

REDUCTIONS = ("none", "mean", "sum")


class _ClassLoss(Module):
    """What the losses over class scores share: a weight per class (a buffer), a class to ignore, a reduction."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}: expected a reduction of {', '.join(REDUCTIONS)}, got {reduction!r}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction


class NLLLoss(_ClassLoss):
    """Take the negative log-probability of the target class.

    Args:
        weight: One factor per class; None means 1.
        ignore_index: Targets with this number contribute nothing, neither to the sum nor to the mean's divisor.
        reduction: "none", "sum", or "mean": the sum divided by the sum of the factors of the targets.

    Shape:
        Input (N, C) or (N, C, d1, ..., dK), or (C,) for one sample: log-probabilities; target: integers without the
        C. Output: a scalar; with "none" the target's shape.

    Raises:
        ShapeError: shapes that do not belong together.
        ValueError: a target outside 0 .. C-1 that is not ``ignore_index``.

    Reference:
        ``torch.nn.NLLLoss``. The mean of an empty batch is nan, its sum 0.

    >>> import flownn as flow
    >>> NLLLoss()(flow.tensor([[-1.0, -2.0], [-3.0, -4.0]]), flow.tensor([0, 1]))
    tensor(2.5000, dtype=flownn.float32)
    """

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of log-probabilities ``input``."""
        result: Tensor = nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)
        return result


class CrossEntropyLoss(_ClassLoss):
    """Take the negative log-probability of the target class, from unnormalised scores.

    Args:
        weight: One factor per class; None means 1.
        ignore_index: Target classes with this number contribute nothing, neither to the sum nor to the divisor.
        reduction: "none", "sum", or "mean": the sum divided by the sum of the factors of the targets (with
            probabilities: by the number of targets).
        label_smoothing: Share of the target that is spread evenly over all classes, 0 to 1.

    Shape:
        Input (N, C) or (N, C, d1, ..., dK), or (C,) for one sample; target: integers without the C, or probabilities
        in the input's shape. Output: a scalar; with "none" the input's shape without the C.

    Raises:
        ShapeError: shapes that do not belong together.
        ValueError: a target class outside 0 .. C-1 that is not ``ignore_index``.

    Reference:
        ``torch.nn.CrossEntropyLoss``. The default of ``ignore_index`` is -100, as in OneFlow's source; its
        documentation lost the sign. The mean of an empty batch is nan, its sum 0.

    >>> import flownn as flow
    >>> CrossEntropyLoss(reduction="sum")(flow.zeros(3, 4), flow.tensor([0, 1, -100]))
    tensor(2.7726, dtype=flownn.float32)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: expected label_smoothing between 0 and 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of scores ``input``."""
        result: Tensor = cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
        return result
