"""The losses that compare each element with its target: differences, binary cross entropy, divergences."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.ops.loss.reduction import REDUCTIONS, check_reduction, operands, reduced, require_floating, spread

__all__ = [
    "DIVERGENCE_REDUCTIONS",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]

DIVERGENCE_REDUCTIONS = (*REDUCTIONS, "batchmean")


# ---------------------------------------------------------------- differences


@op(quiet_floats=True)
def mse_loss(xp: Any, x: Array, target: Array, *, reduction: str) -> Any:
    """``(x - target) ** 2``."""
    return _of_difference("MSELoss", x, target, reduction, lambda d: d * d, lambda d: 2 * d)


@op(quiet_floats=True)
def l1_loss(xp: Any, x: Array, target: Array, *, reduction: str) -> Any:
    """``|x - target|``; gradient 0 where they are equal."""
    return _of_difference("L1Loss", x, target, reduction, abs, xp.sign)


@op(quiet_floats=True)
def smooth_l1_loss(xp: Any, x: Array, target: Array, *, reduction: str, beta: float) -> Any:
    """``(x - target) ** 2 / (2 * beta)`` where nearer than ``beta``, ``|x - target| - beta / 2`` elsewhere."""
    name = "SmoothL1Loss"
    if beta < 0:
        raise ValueError(f"{name}: expected a beta of at least 0, got {beta}")
    if beta == 0:
        return _of_difference(name, x, target, reduction, abs, xp.sign)

    def losses(d: Array) -> Any:
        return xp.where(abs(d) < beta, 0.5 * d * d / beta, abs(d) - 0.5 * beta)

    return _of_difference(name, x, target, reduction, losses, lambda d: xp.clip(d / beta, -1, 1))


@op(quiet_floats=True)
def huber_loss(xp: Any, x: Array, target: Array, *, reduction: str, delta: float) -> Any:
    """``(x - target) ** 2 / 2`` where not further than ``delta``, ``delta * (|x - target| - delta / 2)`` elsewhere."""
    if not delta > 0:
        raise ValueError(f"HuberLoss: expected a delta above 0, got {delta}")

    def losses(d: Array) -> Any:
        return xp.where(abs(d) <= delta, 0.5 * d * d, delta * (abs(d) - 0.5 * delta))

    return _of_difference("HuberLoss", x, target, reduction, losses, lambda d: xp.clip(d, -delta, delta))


def _of_difference(
    name: str,
    x: Array,
    target: Array,
    reduction: str,
    losses: Callable[[Any], Any],
    slopes: Callable[[Any], Any],
) -> Any:
    """A loss that is a function of ``x - target``, with the derivative of that function."""
    check_reduction(name, reduction)
    _warn_of_shapes(name, x, target)
    (wide_x, wide_target), dtype, count = operands(name, x, target)
    difference = wide_x - wide_target

    def vjp(g: Array) -> Any:
        grad = spread(g.astype(difference.dtype, copy=False), reduction, count) * slopes(difference)
        return grad, lambda: -grad

    return reduced(losses(difference), reduction, count).astype(dtype, copy=False), vjp


def _warn_of_shapes(name: str, x: Array, target: Array) -> None:
    if x.shape != target.shape:
        warnings.warn(
            f"{name}: input {tuple(x.shape)} and target {tuple(target.shape)} differ in shape and are broadcast, "
            "which is rarely meant; give them the same shape",
            stacklevel=_level_of_user(),
        )


def _level_of_user() -> int:
    """How many calls above the one that asks the first code outside this package is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "flownn":
        frame, level = frame.f_back, level + 1
    return level


# ---------------------------------------------------------------- binary cross entropy


@op(quiet_floats=True)
def binary_cross_entropy(xp: Any, x: Array, target: Array, weight: Array | None = None, *, reduction: str) -> Any:
    """``-weight * (target * log(x) + (1 - target) * log(1 - x))``, with logarithms of at least -100.

    The gradient of ``x`` divides by ``x * (1 - x)``, but by no less than 1e-12; both limits are PyTorch's.
    """
    name = "BCELoss"
    check_reduction(name, reduction)
    _check_binary(name, x, target, weight=weight)
    for role, array in (("input", x), ("target", target)):
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"{name}: expected every {role} between 0 and 1; a sigmoid brings scores there")
    (wide, goal, factor), dtype, count = operands(name, x, target, xp.ones((), x.dtype) if weight is None else weight)

    def logarithms() -> tuple[Any, Any]:
        return xp.maximum(xp.log(wide), -100), xp.maximum(xp.log1p(-wide), -100)

    def losses() -> Any:
        log_x, log_rest = logarithms()
        return -(goal * log_x + (1 - goal) * log_rest)

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(wide.dtype, copy=False), reduction, count)

        def grad_target() -> Any:
            log_x, log_rest = logarithms()
            return seed * factor * (log_rest - log_x)

        return (
            seed * factor * (wide - goal) / xp.maximum(wide * (1 - wide), 1e-12),
            grad_target,
            lambda: None if weight is None else seed * losses(),
        )

    return reduced(losses() * factor, reduction, count).astype(dtype, copy=False), vjp


@op(quiet_floats=True)
def binary_cross_entropy_with_logits(
    xp: Any,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str,
) -> Any:
    """``-weight * (pos_weight * target * log(s) + (1 - target) * log(1 - s))`` for ``s = sigmoid(x)``."""
    name = "BCEWithLogitsLoss"
    check_reduction(name, reduction)
    _check_binary(name, x, target, weight=weight, pos_weight=pos_weight)
    one = xp.ones((), x.dtype)
    (wide, goal, factor, positive), dtype, count = operands(
        name, x, target, one if weight is None else weight, one if pos_weight is None else pos_weight
    )

    def surprises() -> tuple[Any, Any]:
        """``-log(s)`` and ``-log(1 - s)``, each exact also where it is tiny."""
        rest = xp.log1p(xp.exp(-abs(wide)))
        return xp.maximum(-wide, 0) + rest, xp.maximum(wide, 0) + rest

    def losses() -> Any:
        of_one, of_zero = surprises()
        return positive * goal * of_one + (1 - goal) * of_zero

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(wide.dtype, copy=False), reduction, count)
        of_one, of_zero = surprises()
        slope = (1 - goal) * xp.exp(-of_one) - positive * goal * xp.exp(-of_zero)
        return (
            seed * factor * slope,
            lambda: seed * factor * (positive * of_one - of_zero),
            lambda: None if weight is None else seed * losses(),
            lambda: None if pos_weight is None else seed * factor * goal * of_one,
        )

    return reduced(losses() * factor, reduction, count).astype(dtype, copy=False), vjp


def _check_binary(name: str, x: Array, target: Array, **weights: Array | None) -> None:
    """Input and target of one shape and floating point, weights that broadcast to that shape."""
    require_floating(name, input=x, target=target)
    if x.shape != target.shape:
        raise ShapeError(f"{name}: expected a target of the input's shape {tuple(x.shape)}, got {tuple(target.shape)}")
    for role, weight in weights.items():
        if weight is not None:
            padded = (1,) * (x.ndim - weight.ndim) + tuple(weight.shape)
            if len(padded) != x.ndim or any(have not in (1, size) for have, size in zip(padded, x.shape, strict=True)):
                raise ShapeError(
                    f"{name}: expected a {role} that broadcasts to the input's shape {tuple(x.shape)}, "
                    f"got shape {tuple(weight.shape)}"
                )


# ---------------------------------------------------------------- divergences


@op(quiet_floats=True)
def kl_div(xp: Any, x: Array, target: Array, *, reduction: str, log_target: bool) -> Any:
    """``target * (log(target) - x)``, 0 where the target is not positive; ``log_target`` holds ``log(target)``.

    Reduction "mean" divides by the number of elements, "batchmean" by the size of the first dim.
    """
    name = "KLDivLoss"
    check_reduction(name, reduction, DIVERGENCE_REDUCTIONS)
    require_floating(name, input=x, target=target)
    if x.shape != target.shape:
        raise ShapeError(f"{name}: expected a target of the input's shape {tuple(x.shape)}, got {tuple(target.shape)}")
    (wide, goal), dtype, count = operands(name, x, target)
    if reduction == "batchmean":
        count = x.shape[0] if x.ndim else 1

    def parts() -> tuple[Any, Any, Any]:
        """The target's probabilities and logarithms, and where they count; nan does."""
        probability = xp.exp(goal) if log_target else goal
        void = probability <= 0
        return probability, goal if log_target else xp.log(xp.where(void, 1, goal)), ~void

    probability, log_p, counts = parts()
    losses = xp.where(counts, probability * (log_p - wide), 0)

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(wide.dtype, copy=False), reduction, count)
        probability, log_p, counts = parts()
        return (
            xp.where(counts, -probability * seed, 0),
            lambda: xp.where(counts, (probability if log_target else 1) * (log_p - wide + 1) * seed, 0),
        )

    return reduced(losses, reduction, count).astype(dtype, copy=False), vjp


@op(quiet_floats=True)
def poisson_nll_loss(
    xp: Any, x: Array, target: Array, *, reduction: str, log_input: bool, full: bool, eps: float
) -> Any:
    """``rate - target * log(rate)`` for x the logarithm of the rate, or the rate itself, to which ``eps`` is added.

    ``full`` adds Stirling's approximation of ``log(target!)`` where the target is above 1.
    """
    name = "PoissonNLLLoss"
    check_reduction(name, reduction)
    _warn_of_shapes(name, x, target)
    inputs, dtype, count = operands(name, x, target)
    wide, goal = xp.broadcast_arrays(*inputs)
    rate = xp.exp(wide) if log_input else wide
    losses = rate - goal * (wide if log_input else xp.log(wide + eps))
    if full:
        large = xp.where(goal > 1, goal, 1)
        stirling = large * xp.log(large) - large + 0.5 * xp.log(2 * math.pi * large)
        losses = losses + xp.where(goal > 1, stirling, 0)

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(wide.dtype, copy=False), reduction, count)

        def grad_target() -> Any:
            slope = -(wide if log_input else xp.log(wide + eps))
            if full:
                large = xp.where(goal > 1, goal, 1)
                slope = slope + xp.where(goal > 1, xp.log(large) + 0.5 / large, 0)
            return seed * slope

        return lambda: seed * (xp.exp(wide) - goal if log_input else 1 - goal / (wide + eps)), grad_target

    return reduced(losses, reduction, count).astype(dtype, copy=False), vjp
