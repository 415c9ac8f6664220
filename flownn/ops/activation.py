"""Activation functions of single elements. Each saves its result or its input, never both."""

from __future__ import annotations

import math
from typing import Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array, special_functions


@op
def relu(xp: Any, x: Array) -> Any:
    """``x`` where positive, 0 elsewhere; NaN stays NaN."""
    y = xp.maximum(x, 0)
    return y, lambda g: (g * (y > 0),)


@op
def leaky_relu(xp: Any, x: Array, *, negative_slope: float = 0.01) -> Any:
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    y = xp.where(x > 0, x, x * negative_slope)
    return y, lambda g: (xp.where(x > 0, g, g * negative_slope),)


@op(quiet_floats=True)
def elu(xp: Any, x: Array, *, alpha: float = 1.0) -> Any:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2015)."""
    y = xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))
    return y, lambda g: (xp.where(x > 0, g, g * alpha * xp.exp(xp.minimum(x, 0))),)


@op(promote="float", quiet_floats=True)
def sigmoid(xp: Any, x: Array) -> Any:
    """``1 / (1 + exp(-x))``, without overflow."""
    y = _sigmoid(xp, x)
    return y, lambda g: (g * y * (1 - y),)


def _sigmoid(xp: Any, x: Array) -> Any:
    decay = xp.exp(-abs(x))
    return xp.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))


@op(promote="float", quiet_floats=True)
def log_sigmoid(xp: Any, x: Array) -> Any:
    """``log(sigmoid(x))``, exact also where the sigmoid underflows."""
    y = xp.minimum(x, 0) - xp.log1p(xp.exp(-abs(x)))
    return y, lambda g: (g * _sigmoid(xp, -x),)


@op(promote="float", quiet_floats=True)
def tanh(xp: Any, x: Array) -> Any:
    """Hyperbolic tangent."""
    y = xp.tanh(x)
    return y, lambda g: (g * (1 - y * y),)


@op(quiet_floats=True)
def silu(xp: Any, x: Array) -> Any:
    """``x * sigmoid(x)`` (Elfwing et al., 2017)."""

    def vjp(g: Array) -> Any:
        gate = _sigmoid(xp, x)
        return (g * gate * (1 + x * (1 - gate)),)

    return x * _sigmoid(xp, x), vjp


@op(quiet_floats=True)
def gelu(xp: Any, x: Array, *, approximate: str = "none") -> Any:
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel, 2016).

    ``approximate`` is ``"none"`` for the error function or ``"tanh"`` for the paper's approximation by it.

    Raises:
        ValueError: another ``approximate``.
    """
    wide = x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)
    if approximate == "none":

        def distribution() -> Any:
            return 0.5 * (1 + special_functions(xp).erf(wide * math.sqrt(0.5)))

        def vjp(g: Array) -> Any:
            density = xp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
            return (g * (distribution() + wide * density),)

        return (wide * distribution()).astype(x.dtype, copy=False), vjp
    if approximate != "tanh":
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    scale = math.sqrt(2 / math.pi)

    def bend() -> Any:
        return xp.tanh(scale * (wide + 0.044715 * wide * wide * wide))

    def vjp_tanh(g: Array) -> Any:
        t = bend()
        slope = 0.5 * wide * (1 - t * t) * scale * (1 + 3 * 0.044715 * wide * wide)
        return (g * (0.5 * (1 + t) + slope),)

    return (0.5 * wide * (1 + bend())).astype(x.dtype, copy=False), vjp_tanh


@op(quiet_floats=True)
def softplus(xp: Any, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta``, and ``x`` itself where ``beta * x`` exceeds ``threshold``."""
    scaled = x * beta
    linear = scaled > threshold
    y = xp.where(linear, x, (xp.maximum(scaled, 0) + xp.log1p(xp.exp(-abs(scaled)))) / beta)
    return y, lambda g: (xp.where(linear, g, g * _sigmoid(xp, scaled)),)
