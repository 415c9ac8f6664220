"""Losses that compare each element with its target."""

from __future__ import annotations

from flownn.nn.arguments import legacy_reduction
from flownn.nn.modules.loss.base import Loss, WeightedLoss
from flownn.ops.loss import elementwise
from flownn.tensor import Tensor

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
]


class L1Loss(Loss):
    """Take the absolute difference of input and target.

    Args:
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.

    Shape:
        Input and target of one shape, any; other shapes broadcast with a UserWarning. Output: a scalar; with "none"
        the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: neither is floating point.

    Reference:
        ``torch.nn.L1Loss``. The gradient is 0 where both are equal. The mean of no elements is nan.

    >>> import flownn as flow
    >>> L1Loss(reduction="none")(flow.tensor([1.0, 2.0]), flow.tensor([4.0, 4.0]))
    tensor([3., 2.], dtype=flownn.float32)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input``."""
        result: Tensor = elementwise.l1_loss(input, target, reduction=self.reduction)
        return result


class MSELoss(Loss):
    """Take the squared difference of input and target.

    Args:
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.

    Shape:
        Input and target of one shape, any; other shapes broadcast with a UserWarning. Output: a scalar; with "none"
        the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: neither is floating point.

    Reference:
        ``torch.nn.MSELoss``. The mean of no elements is nan.

    >>> import flownn as flow
    >>> MSELoss()(flow.tensor([1.0, 2.0]), flow.tensor([4.0, 4.0]))
    tensor(6.5000, dtype=flownn.float32)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input``."""
        result: Tensor = elementwise.mse_loss(input, target, reduction=self.reduction)
        return result


class SmoothL1Loss(Loss):
    """Take the absolute difference of input and target, rounded off by a parabola near 0.

    Args:
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.
        beta: Below this difference d the loss is ``d * d / (2 * beta)``, above it ``d - beta / 2``; with 0 it is
            `L1Loss`.

    Shape:
        Input and target of one shape, any; other shapes broadcast with a UserWarning. Output: a scalar; with "none"
        the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: neither is floating point.
        ValueError: ``beta`` is negative.

    Reference:
        ``torch.nn.SmoothL1Loss``; Girshick, "Fast R-CNN", 2015. The mean of no elements is nan.

    >>> import flownn as flow
    >>> SmoothL1Loss(reduction="none")(flow.tensor([0.1, 0.3]), flow.tensor([0.3, 2.5]))
    tensor([0.0200, 1.7000], dtype=flownn.float32)
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input``."""
        result: Tensor = elementwise.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)
        return result


class HuberLoss(Loss):
    """Take half the squared difference of input and target, continued by straight lines far from 0.

    Args:
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.
        delta: Up to this difference d the loss is ``d * d / 2``, above it ``delta * (d - delta / 2)``.

    Shape:
        Input and target of one shape, any; other shapes broadcast with a UserWarning. Output: a scalar; with "none"
        the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: neither is floating point.
        ValueError: ``delta`` is not positive.

    Reference:
        ``torch.nn.HuberLoss``, except that mixed types are promoted as in the other losses. The mean of no elements
        is nan.

    >>> import flownn as flow
    >>> HuberLoss(reduction="none", delta=2.0)(flow.tensor([1.0, 5.0]), flow.tensor([0.0, 0.0]))
    tensor([0.5000, 8.0000], dtype=flownn.float32)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input``."""
        result: Tensor = elementwise.huber_loss(input, target, reduction=self.reduction, delta=self.delta)
        return result


class BCELoss(WeightedLoss):
    """Take the binary cross entropy of probabilities.

    Args:
        weight: Factors that broadcast to the input's shape; None means 1.
        reduction: "none", "sum", or "mean": the sum divided by the number of elements (not of factors).

    Shape:
        Input and target of one shape, any, with values from 0 to 1. Output: a scalar; with "none" the same shape.

    Raises:
        ShapeError: another shape, or factors that do not broadcast to it.
        DtypeError: input or target is not floating point.
        ValueError: a value is below 0, above 1 or nan.

    Reference:
        ``torch.nn.BCELoss``: logarithms count as -100 where they are below, so the loss is finite at 0 and 1. The
        gradient of the target uses the same limit (PyTorch's is infinite there), and ``weight`` may have a gradient.
        `BCEWithLogitsLoss` after no sigmoid is more accurate than this after one.

    >>> import flownn as flow
    >>> BCELoss(reduction="none")(flow.tensor([0.5, 0.0]), flow.tensor([1.0, 1.0]))
    tensor([  0.6931, 100.0000], dtype=flownn.float32)
    """

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of probabilities ``input``."""
        result: Tensor = elementwise.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)
        return result


class BCEWithLogitsLoss(WeightedLoss):
    """Take the binary cross entropy of the sigmoid of scores, exact where the sigmoid rounds to 0 or 1.

    Args:
        weight: Factors that broadcast to the input's shape; None means 1.
        reduction: "none", "sum", or "mean": the sum divided by the number of elements (not of factors).
        pos_weight: Factors of the positive term alone, that broadcast to the input's shape; None means 1.

    Shape:
        Input and target of one shape, any. Output: a scalar; with "none" the same shape.

    Raises:
        ShapeError: another shape, or factors that do not broadcast to it.
        DtypeError: input or target is not floating point.

    Reference:
        ``torch.nn.BCEWithLogitsLoss``; here ``weight`` and ``pos_weight`` may have gradients.

    >>> import flownn as flow
    >>> BCEWithLogitsLoss(pos_weight=flow.tensor([3.0]))(flow.tensor([0.0, 100.0]), flow.tensor([1.0, 0.0]))
    tensor(51.0397, dtype=flownn.float32)
    """

    pos_weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of scores ``input``."""
        result: Tensor = elementwise.binary_cross_entropy_with_logits(
            input, target, self.weight, self.pos_weight, reduction=self.reduction
        )
        return result


class KLDivLoss(Loss):
    """Take the Kullback-Leibler divergence of log-probabilities from a target distribution.

    Args:
        reduction: "none", "sum", "mean": the sum divided by the number of elements; or "batchmean": divided by the
            size of the first dim, which is the divergence as usually defined.
        log_target: Whether the target holds log-probabilities too.

    Shape:
        Input and target of one shape, any. Output: a scalar; with "none" the same shape.

    Raises:
        ShapeError: another shape.
        DtypeError: input or target is not floating point.

    Reference:
        ``torch.nn.KLDivLoss``, but a target of 0 or below contributes 0, to the gradients too, as OneFlow computes it
        (PyTorch: nan below 0); and shapes do not broadcast.

    >>> import flownn as flow
    >>> KLDivLoss(reduction="none")(flow.tensor([-1.0, -2.0]), flow.tensor([1.0, 0.0]))
    tensor([1., 0.], dtype=flownn.float32)
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction, elementwise.DIVERGENCE_REDUCTIONS)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of log-probabilities ``input``."""
        result: Tensor = elementwise.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
        return result


class PoissonNLLLoss(Loss):
    """Take the negative log-likelihood of counts under a Poisson distribution, up to what depends on the target alone.

    Args:
        log_input: The input is the logarithm of the rate, and not the rate itself.
        full: Add what depends on the target alone, by Stirling's approximation, for targets above 1.
        size_average: Deprecated; with ``reduce`` it decides over ``reduction``: False for "sum", else "mean".
        eps: Added to rates before their logarithm is taken, when ``log_input`` is False.
        reduce: Deprecated; False for "none".
        reduction: "none", "sum", or "mean": the sum divided by the number of elements.

    Shape:
        Input and target of one shape, any; other shapes broadcast with a UserWarning. Output: a scalar; with "none"
        the common shape.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: neither is floating point.

    Reference:
        ``torch.nn.PoissonNLLLoss``.

    >>> import flownn as flow
    >>> PoissonNLLLoss(reduction="none")(flow.tensor([0.0, 1.0]), flow.tensor([2, 3]))
    tensor([ 1.0000, -0.2817], dtype=flownn.float32)
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(legacy_reduction("PoissonNLLLoss", size_average, reduce, reduction))
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of rates ``input``, or of their logarithms."""
        result: Tensor = elementwise.poisson_nll_loss(
            input, target, reduction=self.reduction, log_input=self.log_input, full=self.full, eps=self.eps
        )
        return result
