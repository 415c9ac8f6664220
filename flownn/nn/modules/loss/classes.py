"""Losses over class scores."""

from __future__ import annotations

from flownn.nn.modules.loss.base import WeightedLoss
from flownn.nn.modules.module import Module
from flownn.ops.loss.classes import combined_margin, cross_entropy, nll_loss
from flownn.tensor import Tensor

__all__ = ["CombinedMarginLoss", "CrossEntropyLoss", "NLLLoss"]


class _ClassLoss(WeightedLoss):
    """What the losses over class scores share: a weight per class, a class to ignore, a reduction."""

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index


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
        ``torch.nn.NLLLoss``. The mean of no targets is nan, with gradient 0; their sum is 0.

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
        ValueError: a target class outside 0 .. C-1 that is not ``ignore_index``; an ``ignore_index`` of 0 or more for
            probabilities.

    Reference:
        ``torch.nn.CrossEntropyLoss``. The default of ``ignore_index`` is -100, as in OneFlow's source; its
        documentation lost the sign. The mean of no targets is nan, with gradient 0; their sum is 0.

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


class CombinedMarginLoss(Module):
    """Make the cosine of the right class harder to raise, before the softmax; the result is not yet a loss.

    The cosine c of the labelled class becomes ``cos(m1 * arccos(c) + m2) - m3``; all others stay. Scaled and given to
    `CrossEntropyLoss`, it is SphereFace (m1 > 1), ArcFace (m2 > 0) or CosFace (m3 > 0).

    Args:
        m1: Factor of the angle.
        m2: Added to the angle, in radians.
        m3: Subtracted from the cosine.

    Shape:
        Input (N, C): cosines; label (N,): integers from 0 to C - 1, or -1 for a row to be left as it is, because its
        class is on another device. Output (N, C).

    Raises:
        ShapeError: other shapes.
        DtypeError: the input is not floating point, or the labels are not integers.
        ValueError: a label out of range, or the input of the labelled class further outside -1 .. 1 than rounding goes.

    Reference:
        ``oneflow.nn.CombinedMarginLoss`` and ``margin_softmax`` of InsightFace; Deng et al., "ArcFace", 2019. Where
        OneFlow leaves rows with any label out of range as they are, here only -1 does so. The gradient is limited at
        cosines of 1 and -1, where OneFlow's is infinite.

    >>> import flownn as flow
    >>> CombinedMarginLoss(m2=0.5)(flow.tensor([[0.0, 0.5], [0.25, 0.0]]), flow.tensor([0, 1]))
    tensor([[-0.4794,  0.5000],
            [ 0.2500, -0.4794]], dtype=flownn.float32)
    """

    def __init__(self, m1: float = 1.0, m2: float = 0.0, m3: float = 0.0) -> None:
        super().__init__()
        self.m1 = m1
        self.m2 = m2
        self.m3 = m3

    def forward(self, input: Tensor, label: Tensor) -> Tensor:
        """Cosines ``input`` with the margins of class ``label``."""
        result: Tensor = combined_margin(input, label, m1=self.m1, m2=self.m2, m3=self.m3)
        return result

    def extra_repr(self) -> str:
        """The margins."""
        return f"m1={self.m1}, m2={self.m2}, m3={self.m3}"
