"""The loss over sequences without alignment."""

from __future__ import annotations

from flownn.nn.modules.loss.base import Loss
from flownn.ops.loss import ctc
from flownn.tensor import Tensor

__all__ = ["CTCLoss"]


class CTCLoss(Loss):
    """Take the negative log-probability of label sequences, summed over all alignments to longer inputs.

    Args:
        blank: Class that stands for "no label".
        reduction: "none", "sum", or "mean": each loss divided by its target's length (at least 1), then the mean over
            samples.
        zero_infinity: Count a target that does not fit into its input as 0, with gradient 0, instead of inf and nan.

    Shape:
        Log-probabilities (T, N, C), or (T, C) for one sample; targets (N, S) of integers other than ``blank``, what is
        behind a target's length is not read, or all targets one after the other, (sum of lengths,); lengths of inputs
        (at most T) and targets: a tensor or sequence of N integers, for one sample also one integer. Output: a scalar;
        with "none" (N,), or () for one sample without N.

    Raises:
        ShapeError: shapes that do not belong together, or an empty T, N or C.
        ValueError: a target that is ``blank`` or outside 0 .. C-1, a length out of range, a blank that is no class.
        DtypeError: targets or lengths that are not integers.

    Reference:
        ``torch.nn.CTCLoss``; Graves et al., "Connectionist temporal classification", 2006. The gradient is the
        derivative with respect to the log-probabilities as they are; PyTorch adds ``exp(log_probs)`` to it, which a
        log-softmax takes away again, so that the scores before the log-softmax get the same gradient.

    >>> import flownn as flow
    >>> scores = flow.zeros(3, 1, 3)  # 3 steps, 3 classes: 5 of 27 paths mean "1 2": 112, 122, 012, 102, 120
    >>> CTCLoss(reduction="sum")(scores.log_softmax(2), flow.tensor([[1, 2]]), (3,), (2,))
    tensor(1.6864, dtype=flownn.float32)
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: ctc.Lengths, target_lengths: ctc.Lengths
    ) -> Tensor:
        """Loss of sequences of log-probabilities."""
        return ctc.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank=self.blank,
            reduction=self.reduction,
            zero_infinity=self.zero_infinity,
        )
