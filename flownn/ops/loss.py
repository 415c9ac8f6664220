"""Softmax, log-softmax and the losses over class scores, each in one op so that no step overflows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.dtypes import FLOATING, category
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import compute_dtype

__all__ = ["cross_entropy", "log_softmax", "nll_loss", "softmax"]


@op(quiet_floats=True)
def softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    along = axis if x.ndim else None  # a 0-dim input is one element
    y = xp.exp(_log_softmax(xp, x.astype(compute_dtype("softmax", x.dtype), copy=False), along))

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        weighted = g * y
        return ((weighted - y * weighted.sum(axis=along, keepdims=True)).astype(x.dtype, copy=False),)

    return y.astype(x.dtype, copy=False), vjp


@op(quiet_floats=True)
def log_softmax(xp: Any, x: NDArray[Any], *, axis: int) -> Any:
    """``log(softmax(x))`` along ``axis``, exact also where the softmax underflows."""
    along = axis if x.ndim else None
    y = _log_softmax(xp, x.astype(compute_dtype("log_softmax", x.dtype), copy=False), along)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        wide = g.astype(y.dtype, copy=False)
        return ((wide - xp.exp(y) * wide.sum(axis=along, keepdims=True)).astype(x.dtype, copy=False),)

    return y.astype(x.dtype, copy=False), vjp


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
    rows, layout = _class_rows("NLLLoss", xp, x, weight)
    picks = _picks("NLLLoss", xp, rows, target, layout, weight, ignore_index)
    losses = -_picked(xp, picks, rows) * picks.weights
    divisor = picks.weights.sum()

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.zeros_like(rows)
        grad[picks.at] = -picks.weights * _spread(xp, g, reduction, divisor)
        return _as_input(xp, grad, x, layout), None, None

    return _reduce(xp, losses, reduction, divisor, layout).astype(x.dtype, copy=False), vjp


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
    their number.
    """
    name = "CrossEntropyLoss"
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: expected label_smoothing between 0 and 1, got {label_smoothing}")
    rows, layout = _class_rows(name, xp, x, weight)
    log_p = _log_softmax(xp, rows, -1)
    keep, share = 1 - label_smoothing, label_smoothing / rows.shape[-1]
    class_weight = xp.ones(rows.shape[-1], dtype=rows.dtype) if weight is None else weight.astype(rows.dtype)

    if category(target.dtype) == FLOATING:
        if target.shape != x.shape:
            raise ShapeError(f"{name}: expected class probabilities of shape {x.shape}, got {target.shape}")
        probability = _class_rows(name, xp, target, weight)[0].astype(rows.dtype, copy=False)
        goal = class_weight * (keep * probability + share)
        losses = -(goal * log_p).sum(axis=-1)
        divisor = rows.dtype.type(len(rows))

        def vjp_probabilities(g: NDArray[Any]) -> tuple[Any, ...]:
            spread = _spread(xp, g, reduction, divisor)[:, None]
            grad = (xp.exp(log_p) * goal.sum(axis=-1, keepdims=True) - goal) * spread
            return (
                _as_input(xp, grad, x, layout),
                lambda: _as_input(xp, -keep * class_weight * log_p * spread, target, layout),
                None,
            )

        return _reduce(xp, losses, reduction, divisor, layout).astype(x.dtype, copy=False), vjp_probabilities

    picks = _picks(name, xp, rows, target, layout, weight, ignore_index)
    losses = -keep * _picked(xp, picks, log_p) * picks.weights
    if share:
        losses = losses - share * xp.where(picks.valid, log_p @ class_weight, 0)
    divisor = picks.weights.sum()

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        spread = _spread(xp, g, reduction, divisor)
        uniform = xp.where(picks.valid, spread, 0)[:, None] * (share * class_weight)
        grad = xp.exp(log_p) * (keep * picks.weights * spread + uniform.sum(axis=-1))[:, None]
        grad -= uniform
        grad[picks.at] -= keep * picks.weights * spread  # one class per row: no element is addressed twice
        return _as_input(xp, grad, x, layout), None, None

    return _reduce(xp, losses, reduction, divisor, layout).astype(x.dtype, copy=False), vjp


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
            f"{name}: expected class numbers from 0 to {classes - 1} (or ignore_index {ignore_index}), "
            f"got {int(flat[wrong][0])}"
        )
    chosen = xp.where(valid, flat, 0)
    weights = xp.ones(len(flat), dtype=rows.dtype) if weight is None else weight[chosen].astype(rows.dtype)
    return _Picks(valid, (xp.arange(len(flat)), chosen), xp.where(valid, weights, rows.dtype.type(0)))


def _picked(xp: Any, picks: _Picks, rows: NDArray[Any]) -> Any:
    return xp.where(picks.valid, rows[picks.at], rows.dtype.type(0))


def _log_softmax(xp: Any, x: NDArray[Any], axis: int | None) -> Any:
    if x.size == 0:
        return x.copy()
    largest = x.max(axis=axis, keepdims=True)
    shifted = x - xp.where(xp.isfinite(largest), largest, largest.dtype.type(0))
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


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


def _reduce(xp: Any, losses: NDArray[Any], reduction: str, divisor: Any, layout: tuple[int, ...]) -> Any:
    if reduction == "none":
        return losses.reshape(layout)
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / divisor if divisor != 0 else xp.full((), np.nan, dtype=losses.dtype)
    raise ValueError(f"expected a reduction of none, mean or sum, got {reduction!r}")


def _spread(xp: Any, g: NDArray[Any], reduction: str, divisor: Any) -> Any:
    """The gradient of each row's loss."""
    if reduction == "none":
        return g.reshape(-1)
    if reduction == "sum":
        return g.reshape(1)
    return (g / divisor if divisor != 0 else xp.full((), np.nan, dtype=g.dtype)).reshape(1)
