"""The losses over class scores."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from ml_dtypes import finfo
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.dtypes import FLOATING, category
from flownn.errors import DtypeError, GradientError, ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.softmax import row_log_sums, row_softmax_times, softmax_forward
from flownn.ops.loss.reduction import check_reduction, reduced, spread

__all__ = ["combined_margin", "cross_entropy", "nll_loss"]


@op(quiet_floats=True)
def nll_loss(
    xp: Any,
    x: NDArray[Any],
    target: NDArray[Any],
    weight: NDArray[Any] | None = None,
    *,
    ignore_index: int,
    reduction: str,
) -> Any:
    """``-weight[target] * x[target]`` for log-probabilities x (N, C, ...) and class numbers target (N, ...).

    Reduction "mean" divides by the sum of the weights used. Targets equal to ``ignore_index`` contribute nothing.
    """
    name = "NLLLoss"
    check_reduction(name, reduction)
    rows, layout = _class_rows(name, xp, x, weight)
    picks = _picks(name, xp, rows, target, layout, weight, ignore_index)
    losses = -_picked(xp, picks, rows) * picks.weights
    divisor = picks.weights.sum()

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.zeros_like(rows)
        grad[picks.at] = -picks.weights * spread(g, reduction, _some(xp, divisor)).reshape(-1)
        return _as_input(xp, grad, x, layout), None, lambda: _refuse_weight(name)

    return reduced(losses.reshape(layout), reduction, divisor).astype(x.dtype, copy=False), vjp


@op(quiet_floats=True)
def cross_entropy(
    xp: Any,
    x: NDArray[Any],
    target: NDArray[Any],
    weight: NDArray[Any] | None = None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float = 0.0,
) -> Any:
    """Negative log-likelihood of the log-softmax of scores x (N, C, ...).

    ``target`` holds class numbers (N, ...), or class probabilities in the shape of x. Smoothing mixes the target with
    the uniform distribution. Reduction "mean" divides by the sum of the weights of the targets, with probabilities by
    their number; these can ignore no class, so ``ignore_index`` must be negative then.
    """
    name = "CrossEntropyLoss"
    check_reduction(name, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: expected label_smoothing between 0 and 1, got {label_smoothing}")
    rows, layout = _class_rows(name, xp, x, weight)
    keep, share = 1 - label_smoothing, label_smoothing / rows.shape[-1]
    class_weight = xp.ones(rows.shape[-1], dtype=rows.dtype) if weight is None else weight.astype(rows.dtype)

    if category(target.dtype) == FLOATING:
        if ignore_index >= 0:
            raise ValueError(f"{name}: class probabilities leave no class {ignore_index} to ignore; drop ignore_index")
        if target.shape != x.shape:
            raise ShapeError(f"{name}: expected class probabilities of shape {x.shape}, got {target.shape}")
        probability = _class_rows(name, xp, target, weight)[0].astype(rows.dtype, copy=False)
        log_p = softmax_forward(xp, rows, 1, True)
        goal = class_weight * (keep * probability + share)
        losses = -(goal * log_p).sum(axis=-1)
        divisor = rows.dtype.type(len(rows))

        def vjp_probabilities(g: NDArray[Any]) -> tuple[Any, ...]:
            seed = spread(g, reduction, divisor).reshape(-1, 1)
            grad = (xp.exp(log_p) * goal.sum(axis=-1, keepdims=True) - goal) * seed
            return (
                _as_input(xp, grad, x, layout),
                lambda: _as_input(xp, -keep * class_weight * log_p * seed, target, layout),
                lambda: None if weight is None else -((keep * probability + share) * log_p * seed).sum(axis=0),
            )

        return reduced(losses.reshape(layout), reduction, divisor).astype(x.dtype, copy=False), vjp_probabilities

    picks = _picks(name, xp, rows, target, layout, weight, ignore_index)
    # Of the log-softmax only the chosen ones and their average are needed; the rows and these sums give it again.
    log_sums = row_log_sums(xp, rows)
    losses = -keep * xp.where(picks.valid, rows[picks.at] - log_sums, 0) * picks.weights
    if share:
        average = ((rows - log_sums[:, None]) @ class_weight) * share
        losses = losses - xp.where(picks.valid, average, 0)
    divisor = picks.weights.sum()

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        seed = spread(g, reduction, _some(xp, divisor)).reshape(-1)
        uniform = xp.where(picks.valid, seed, 0)[:, None] * (share * class_weight) if share else None
        chosen = keep * picks.weights * seed
        factors = chosen if uniform is None else chosen + uniform.sum(axis=-1)
        grad = row_softmax_times(xp, rows, log_sums, factors.astype(rows.dtype, copy=False))
        if uniform is not None:
            grad -= uniform
        grad[picks.at] -= chosen  # one class per row: no element is addressed twice
        return _as_input(xp, grad, x, layout), None, lambda: _refuse_weight(name)

    return reduced(losses.reshape(layout), reduction, divisor).astype(x.dtype, copy=False), vjp


@op(quiet_floats=True)
def combined_margin(xp: Any, x: NDArray[Any], label: NDArray[Any], *, m1: float, m2: float, m3: float) -> Any:
    """Cosines x (N, C) with that of the labelled class made harder: ``cos(m1 * arccos(x) + m2) - m3``.

    The rest stays as it is, and so does a row with label -1, whose class is elsewhere. Near a cosine of 1 or -1 the
    gradient has no limit; it is that of the smallest angle that the type can tell from 0.
    """
    name = "CombinedMarginLoss"
    if x.ndim != 2:
        raise ShapeError(f"{name}: expected cosines (N, C), got shape {tuple(x.shape)}")
    rows = x.astype(compute_dtype(name, x.dtype))
    picks = _picks(name, xp, rows, label, x.shape[:1], None, -1)
    cosine, epsilon = _picked(xp, picks, rows), float(finfo(x.dtype).eps)
    if (abs(cosine) > 1 + 16 * epsilon).any():
        raise ValueError(f"{name}: expected cosines between -1 and 1; normalise features and class vectors first")
    plain = m1 == 1 and m2 == 0  # no angle needed, so none of its rounding
    if plain:
        hard = cosine - m3
    else:
        theta = xp.arccos(xp.clip(cosine, -1, 1))
        hard = xp.cos(m1 * theta + m2) - m3
    rows[picks.at] = xp.where(picks.valid, hard, rows[picks.at])

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        if plain:
            return g, None
        grad = g.astype(theta.dtype)
        slope = m1 * xp.sin(m1 * theta + m2) / xp.maximum(xp.sin(theta), math.sqrt(2 * epsilon))
        grad[picks.at] *= xp.where(picks.valid, slope, 1)
        return grad, None

    return rows.astype(x.dtype, copy=False), vjp


def _some(xp: Any, divisor: Any) -> Any:
    """The divisor of gradients: a batch of ignored targets has the mean nan, but the gradient 0."""
    return xp.where(divisor == 0, 1, divisor)


def _refuse_weight(name: str) -> Any:
    raise GradientError(f"{name}: there is no gradient with respect to weight; pass weight.detach()")


class _Picks(NamedTuple):
    """The chosen class of every row: which rows count, where it is, and its weight (0 where the row is ignored)."""

    valid: NDArray[Any]
    at: tuple[NDArray[Any], NDArray[Any]]
    weights: NDArray[Any]


def _picks(
    name: str,
    xp: Any,
    rows: NDArray[Any],
    target: NDArray[Any],
    layout: tuple[int, ...],
    weight: NDArray[Any] | None,
    ignore_index: int,
) -> _Picks:
    if target.shape != layout:
        raise ShapeError(f"{name}: expected class numbers of shape {layout}, got {tuple(target.shape)}")
    if target.dtype.kind not in "iu":
        raise DtypeError(f"{name}: expected integer class numbers, got {target.dtype}")
    flat, classes = target.reshape(-1).astype(np.int64), rows.shape[-1]
    valid = flat != ignore_index
    wrong = valid & ((flat < 0) | (flat >= classes))
    if wrong.any():
        raise ValueError(
            f"{name}: expected class numbers from 0 to {classes - 1} or {ignore_index} to be left out, "
            f"got {int(flat[wrong][0])}"
        )
    chosen = xp.where(valid, flat, 0)
    weights = xp.ones(len(flat), dtype=rows.dtype) if weight is None else weight[chosen].astype(rows.dtype)
    return _Picks(valid, (xp.arange(len(flat)), chosen), xp.where(valid, weights, rows.dtype.type(0)))


def _picked(xp: Any, picks: _Picks, rows: NDArray[Any]) -> Any:
    return xp.where(picks.valid, rows[picks.at], rows.dtype.type(0))


def _class_rows(
    name: str, xp: Any, x: NDArray[Any], weight: NDArray[Any] | None
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Scores (N, C, ...) or (C,) as one row of class values per target, and the shape of the targets."""
    dtype = compute_dtype(name, x.dtype)
    if x.ndim == 0 or (classes := x.shape[1 if x.ndim > 1 else 0]) == 0:
        raise ShapeError(f"{name}: expected scores (N, C, ...) with at least one class, got shape {tuple(x.shape)}")
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"{name}: expected one weight for each of {classes} classes, got shape {weight.shape}")
    last = x if x.ndim == 1 else xp.moveaxis(x, 1, -1)
    layout = last.shape[:-1]
    return last.reshape(math.prod(layout), classes).astype(dtype, copy=False), layout


def _as_input(xp: Any, rows: NDArray[Any], x: NDArray[Any], layout: tuple[int, ...]) -> Any:
    grad = rows.reshape(*layout, rows.shape[-1])
    return (grad if x.ndim == 1 else xp.moveaxis(grad, -1, 1)).astype(x.dtype, copy=False)
