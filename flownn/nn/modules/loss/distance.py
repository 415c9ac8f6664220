"""Losses that compare vectors or ranks."""

from __future__ import annotations

from flownn.nn.arguments import legacy_reduction
from flownn.nn.modules.loss.base import Loss
from flownn.ops.loss import distance
from flownn.tensor import Tensor

__all__ = ["CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss"]


class MarginRankingLoss(Loss):
    """Take how much is missing for one input to be above the other by a margin.

    Args:
        margin: By how much.
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.

    Shape:
        Two inputs and a target with the same number of dims, that broadcast. Target 1 means that the first input is to
        be the larger one, -1 the second. Output: a scalar; with "none" the common shape.

    Raises:
        ShapeError: the number of dims differs, or the shapes do not broadcast.
        DtypeError: no input is floating point.

    Reference:
        ``torch.nn.MarginRankingLoss``: ``max(0, -target * (input1 - input2) + margin)``.

    >>> import flownn as flow
    >>> loss = MarginRankingLoss(margin=1.0, reduction="none")
    >>> loss(flow.tensor([1.0, 4.0]), flow.tensor([2.0, 2.0]), flow.tensor([1.0, 1.0]))
    tensor([2., 0.], dtype=flownn.float32)
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input1`` against ``input2``."""
        result: Tensor = distance.margin_ranking_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )
        return result


class TripletMarginLoss(Loss):
    """Take how much is missing for an anchor to be nearer to a positive than to a negative by a margin.

    Args:
        margin: By how much; positive.
        p: Order of the norm that measures distances; positive, ``inf`` included.
        eps: Added to each difference, so that the gradient of a distance of 0 is finite.
        swap: Compare the negative with the nearer of anchor and positive.
        size_average: Deprecated; with ``reduce`` it decides over ``reduction``: False for "sum", else "mean".
        reduce: Deprecated; False for "none".
        reduction: "none", "sum", or "mean": the sum divided by the number of triplets.

    Shape:
        Anchor, positive and negative (N, D) or (D,), with the same number of dims; D is the vectors' dim. Output: a
        scalar; with "none" (N,) or ().

    Raises:
        ShapeError: the number of dims differs, or the shapes do not broadcast.
        ValueError: ``margin`` or ``p`` is not positive.

    Reference:
        ``torch.nn.TripletMarginLoss``; Balntas, Riba et al., "Learning local feature descriptors with triplets and
        shallow convolutional neural networks", 2016.

    >>> import flownn as flow
    >>> anchor, positive = flow.tensor([[0.0, 0.0]]), flow.tensor([[3.0, 4.0]])
    >>> TripletMarginLoss()(anchor, positive, flow.tensor([[0.0, 2.0]]))
    tensor(4.0000, dtype=flownn.float32)
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(legacy_reduction("TripletMarginLoss", size_average, reduce, reduction))
        if not margin > 0:
            raise ValueError(f"TripletMarginLoss: expected a margin above 0, got {margin}")
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Loss of triplets."""
        return distance.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class CosineEmbeddingLoss(Loss):
    """Take one minus the cosine between vectors that belong together, and what it exceeds a margin by for others.

    Args:
        margin: Cosine up to which vectors that do not belong together cost nothing, usually 0 to 0.5.
        reduction: "none", "sum", or "mean": the sum divided by the number of pairs.

    Shape:
        Two inputs (N, D) with target (N,), or (D,) with target (): 1 for vectors that belong together, -1 for those
        that do not; any other target costs 0. Output: a scalar; with "none" the target's shape.

    Raises:
        ShapeError: other numbers of dims, or shapes that do not broadcast.

    Reference:
        ``torch.nn.CosineEmbeddingLoss``.

    >>> import flownn as flow
    >>> first, second = flow.tensor([[1.0, 0.0], [1.0, 0.0]]), flow.tensor([[0.0, 2.0], [3.0, 4.0]])
    >>> CosineEmbeddingLoss(reduction="none")(first, second, flow.tensor([1, -1]))
    tensor([1.0000, 0.6000], dtype=flownn.float32)
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Loss of pairs."""
        return distance.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)
