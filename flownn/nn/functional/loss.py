"""Losses as functions, with PyTorch's order of arguments.

``size_average`` and ``reduce`` are PyTorch's deprecated ones: where one is given, they decide over ``reduction``.
"""

from __future__ import annotations

from flownn.nn.arguments import legacy_reduction
from flownn.ops.loss import classes, ctc, distance, elementwise
from flownn.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "triplet_margin_loss",
]


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of classes ``target``; arguments as in `flownn.nn.NLLLoss`."""
    chosen = legacy_reduction("nll_loss", size_average, reduce, reduction)
    result: Tensor = classes.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=chosen)
    return result


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of ``target`` under scores ``input``; arguments as in `flownn.nn.CrossEntropyLoss`."""
    chosen = legacy_reduction("cross_entropy", size_average, reduce, reduction)
    result: Tensor = classes.cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=chosen, label_smoothing=label_smoothing
    )
    return result


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """Absolute difference; arguments as in `flownn.nn.L1Loss`."""
    chosen = legacy_reduction("l1_loss", size_average, reduce, reduction)
    result: Tensor = elementwise.l1_loss(input, target, reduction=chosen)
    return result


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """Squared difference; arguments as in `flownn.nn.MSELoss`."""
    chosen = legacy_reduction("mse_loss", size_average, reduce, reduction)
    result: Tensor = elementwise.mse_loss(input, target, reduction=chosen)
    return result


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Absolute difference, rounded off near 0; arguments as in `flownn.nn.SmoothL1Loss`."""
    chosen = legacy_reduction("smooth_l1_loss", size_average, reduce, reduction)
    result: Tensor = elementwise.smooth_l1_loss(input, target, reduction=chosen, beta=beta)
    return result


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half the squared difference, straight far from 0; arguments as in `flownn.nn.HuberLoss`."""
    result: Tensor = elementwise.huber_loss(input, target, reduction=reduction, delta=delta)
    return result


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy of probabilities ``input``; arguments as in `flownn.nn.BCELoss`."""
    chosen = legacy_reduction("binary_cross_entropy", size_average, reduce, reduction)
    result: Tensor = elementwise.binary_cross_entropy(input, target, weight, reduction=chosen)
    return result


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of the sigmoid of ``input``; arguments as in `flownn.nn.BCEWithLogitsLoss`."""
    chosen = legacy_reduction("binary_cross_entropy_with_logits", size_average, reduce, reduction)
    result: Tensor = elementwise.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction=chosen)
    return result


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of ``input`` from ``target``; arguments as in `flownn.nn.KLDivLoss`."""
    chosen = legacy_reduction("kl_div", size_average, reduce, reduction)
    result: Tensor = elementwise.kl_div(input, target, reduction=chosen, log_target=log_target)
    return result


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``; arguments as in `flownn.nn.MarginRankingLoss`."""
    chosen = legacy_reduction("margin_ranking_loss", size_average, reduce, reduction)
    result: Tensor = distance.margin_ranking_loss(input1, input2, target, margin=margin, reduction=chosen)
    return result


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``; arguments as in `flownn.nn.TripletMarginLoss`."""
    chosen = legacy_reduction("triplet_margin_loss", size_average, reduce, reduction)
    return distance.triplet_margin_loss(
        anchor, positive, negative, margin=margin, p=p, eps=eps, swap=swap, reduction=chosen
    )


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far cosines are from what ``target`` asks for; arguments as in `flownn.nn.CosineEmbeddingLoss`."""
    chosen = legacy_reduction("cosine_embedding_loss", size_average, reduce, reduction)
    return distance.cosine_embedding_loss(input1, input2, target, margin=margin, reduction=chosen)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: ctc.Lengths,
    target_lengths: ctc.Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Negative log-probability of label sequences over all alignments; arguments as in `flownn.nn.CTCLoss`."""
    return ctc.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank=blank, reduction=reduction, zero_infinity=zero_infinity
    )


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts ``target``; arguments as in `flownn.nn.PoissonNLLLoss`."""
    chosen = legacy_reduction("poisson_nll_loss", size_average, reduce, reduction)
    result: Tensor = elementwise.poisson_nll_loss(
        input, target, reduction=chosen, log_input=log_input, full=full, eps=eps
    )
    return result
