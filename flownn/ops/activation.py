"""Activation functions. Those of single elements save their result or their input, never both.

What they compute goes through `flownn.kernels.pointwise`, block by block; `choose`, `masked`, `at_least` and `at_most`
stand for ``where``, ``maximum`` and ``minimum``, which are slow in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flownn.autograd import op
from flownn.backend import Array
from flownn.dtypes import BOOLEAN, FLOATING, category
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import channel_dot, compute_dtype
from flownn.kernels.normal import normal_distribution
from flownn.kernels.pointwise import Pointwise, pointwise, pointwise_gradient
from flownn.kernels.select import at_least, at_most, choose, masked
from flownn.ops.axes import axis_of


def _pointwise(
    xp: Any,
    name: str,
    x: Array,
    value: Callable[[Array], Array],
    gradient: Callable[[Array, Array], Array],
    *,
    saves_result: bool = False,
    **attrs: Any,
) -> tuple[Array, Callable[[Array], tuple[Array]]]:
    """``value(x)`` and its vjp ``gradient(g, x)``, or ``gradient(g, result)``; half precision is computed in float32.

    Raises:
        DtypeError: ``x`` is not floating point.
    """
    compute_dtype(name, x.dtype)
    function = Pointwise(name, value, gradient, saves_result, attrs)
    y = pointwise(xp, x, function)
    saved = y if saves_result else x
    return y, lambda g: (pointwise_gradient(xp, g, saved, function),)


def _sigmoid(xp: Any, x: Array) -> Any:
    """``1 / (1 + exp(-x))``; where the exponential overflows it is 0, as it should be."""
    decay = xp.exp(-x)
    decay += 1
    return 1 / decay


def _softplus(xp: Any, x: Array) -> Any:
    return at_least(xp, x, 0) + xp.log1p(xp.exp(-abs(x)))


# ---------------------------------------------------------------- rectifiers


@op
def relu(xp: Any, x: Array) -> Any:
    """``x`` where positive, 0 elsewhere; NaN stays NaN."""
    if category(x.dtype) != FLOATING:
        y = xp.maximum(x, 0)
        return y, lambda g: (masked(xp, y != 0, g),)
    return _pointwise(
        xp,
        "relu",
        x,
        lambda x: at_least(xp, x, 0),
        lambda g, y: masked(xp, y != 0, g),  # also where y is NaN, as in PyTorch
        saves_result=True,
    )


@op(quiet_floats=True)
def leaky_relu(xp: Any, x: Array, *, negative_slope: float = 0.01) -> Any:
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    return _pointwise(
        xp,
        "leaky_relu",
        x,
        lambda x: choose(xp, x > 0, x, x * negative_slope),
        lambda g, x: choose(xp, x > 0, g, g * negative_slope),
        negative_slope=negative_slope,
    )


@op(quiet_floats=True)
def prelu(xp: Any, x: Array, weight: Array) -> Any:
    """``x`` where positive, ``weight * x`` elsewhere (He et al., 2015).

    ``weight`` is one number or has one for each channel, which dim 1 counts; without a dim 1 there is one channel.

    Raises:
        ShapeError: another number of weights.
        DtypeError: the two have different types, or are not floating point.
    """
    dtype = compute_dtype("prelu", x.dtype)
    if weight.dtype != x.dtype:
        raise DtypeError(f"prelu: expected a weight of the input's type {x.dtype}, got {weight.dtype}")
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ShapeError(f"prelu: expected a weight of shape (1,) or ({channels},), got {tuple(weight.shape)}")

    def slopes() -> Any:
        return weight.astype(dtype, copy=False).reshape((-1,) + (1,) * (x.ndim - 2) if x.ndim > 1 else ())

    def of_x(g: Array) -> Any:
        return xp.where(x > 0, g, g * slopes())

    def of_weight(g: Array) -> Any:
        below = xp.minimum(x, 0).astype(dtype, copy=False)
        pair = [xp.moveaxis(each, 1, -1) if x.ndim > 1 else each.reshape(-1, 1) for each in (g, below)]
        sums = channel_dot(xp, *pair)
        return (sums if weight.size == channels else sums.sum()).reshape(weight.shape)

    def vjp(g: Array) -> Any:
        wide = g.astype(dtype, copy=False)
        return lambda: of_x(wide), lambda: of_weight(wide)

    wide = x.astype(dtype, copy=False)
    return xp.where(wide > 0, wide, wide * slopes()).astype(x.dtype, copy=False), vjp


# ---------------------------------------------------------------- exponential units


@op(quiet_floats=True)
def elu(xp: Any, x: Array, *, alpha: float = 1.0) -> Any:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2015)."""
    return _elu(xp, "elu", x, alpha, 1.0, 1.0)


@op(quiet_floats=True)
def celu(xp: Any, x: Array, *, alpha: float = 1.0) -> Any:
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere (Barron, 2017).

    Raises:
        ValueError: ``alpha`` is 0.
    """
    if alpha == 0:
        raise ValueError("celu: expected an alpha other than 0")
    return _elu(xp, "celu", x, alpha, 1.0, 1 / alpha)


@op(quiet_floats=True)
def selu(xp: Any, x: Array) -> Any:
    """`elu` with the alpha and the factor that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return _elu(xp, "selu", x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


def _elu(xp: Any, name: str, x: Array, alpha: float, scale: float, steepness: float) -> Any:
    def value(x: Array) -> Any:
        return choose(xp, x <= 0, xp.expm1(at_most(xp, x, 0) * steepness) * (alpha * scale), x * scale)

    def gradient(g: Array, x: Array) -> Any:
        slope = xp.exp(at_most(xp, x, 0) * steepness) * (alpha * scale * steepness)
        return choose(xp, x <= 0, g * slope, g * scale)

    return _pointwise(xp, name, x, value, gradient, alpha=alpha, scale=scale, steepness=steepness)


# ---------------------------------------------------------------- smooth


@op(promote="float", quiet_floats=True)
def sigmoid(xp: Any, x: Array) -> Any:
    """``1 / (1 + exp(-x))``, without overflow."""
    return _pointwise(xp, "sigmoid", x, lambda x: _sigmoid(xp, x), lambda g, y: g * y * (1 - y), saves_result=True)


@op(quiet_floats=True)
def log_sigmoid(xp: Any, x: Array) -> Any:
    """``log(sigmoid(x))``, exact also where the sigmoid underflows."""
    return _pointwise(
        xp,
        "logsigmoid",
        x,
        lambda x: at_most(xp, x, 0) - xp.log1p(xp.exp(-abs(x))),
        lambda g, x: g * _sigmoid(xp, -x),
    )


@op(promote="float", quiet_floats=True)
def tanh(xp: Any, x: Array) -> Any:
    """Hyperbolic tangent."""
    return _pointwise(xp, "tanh", x, xp.tanh, lambda g, y: g * (1 - y * y), saves_result=True)


@op(promote="float", quiet_floats=True)
def softsign(xp: Any, x: Array) -> Any:
    """``x / (1 + abs(x))``."""
    return _pointwise(xp, "softsign", x, lambda x: x / (1 + abs(x)), lambda g, x: g / (1 + abs(x)) ** 2)


@op(quiet_floats=True)
def softplus(xp: Any, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta``, and ``x`` itself where ``beta * x`` exceeds ``threshold``."""
    return _pointwise(
        xp,
        "softplus",
        x,
        lambda x: choose(xp, x * beta > threshold, x, _softplus(xp, x * beta) / beta),
        lambda g, x: choose(xp, x * beta > threshold, g, g * _sigmoid(xp, x * beta)),
        beta=beta,
        threshold=threshold,
    )


@op(quiet_floats=True)
def silu(xp: Any, x: Array) -> Any:
    """``x * sigmoid(x)`` (Elfwing et al., 2017)."""

    def gradient(g: Array, x: Array) -> Any:
        gate = _sigmoid(xp, x)
        return g * gate * (1 + x * (1 - gate))

    return _pointwise(xp, "silu", x, lambda x: x * _sigmoid(xp, x), gradient)


@op(quiet_floats=True)
def mish(xp: Any, x: Array) -> Any:
    """``x * tanh(softplus(x))`` (Misra, 2019)."""

    def gradient(g: Array, x: Array) -> Any:
        gate = xp.tanh(_softplus(xp, x))
        return g * (gate + x * _sigmoid(xp, x) * (1 - gate * gate))

    return _pointwise(xp, "mish", x, lambda x: x * xp.tanh(_softplus(xp, x)), gradient)


@op(quiet_floats=True)
def gelu(xp: Any, x: Array, *, approximate: str = "none") -> Any:
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel, 2016).

    ``approximate`` is ``"none"`` for the error function or ``"tanh"`` for the paper's approximation by it.

    Raises:
        ValueError: another ``approximate``.
    """
    compute_dtype("gelu", x.dtype)
    if approximate == "none":

        def value(x: Array) -> Any:
            distribution, _ = normal_distribution(xp, x)
            return x * distribution

        def gradient(g: Array, x: Array) -> Any:
            distribution, bell = normal_distribution(xp, x)
            return g * (distribution + x * bell * (1 / math.sqrt(2 * math.pi)))

        return _pointwise(xp, "gelu", x, value, gradient)
    if approximate != "tanh":
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    scale = math.sqrt(2 / math.pi)

    def bend(x: Array) -> Any:
        return xp.tanh(scale * (x + 0.044715 * x * x * x))

    def gradient_tanh(g: Array, x: Array) -> Any:
        t = bend(x)
        slope = 0.5 * x * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x)
        return g * (0.5 * (1 + t) + slope)

    return _pointwise(xp, "gelu_tanh", x, lambda x: 0.5 * x * (1 + bend(x)), gradient_tanh)


@op(quiet_floats=True)
def glu(xp: Any, x: Array, *, dim: int = -1) -> Any:
    """The first half of ``x`` along ``dim`` times the sigmoid of the second (Dauphin et al., 2016).

    Raises:
        ShapeError: there is no such dim, or its size is odd.
    """
    axis = axis_of("glu", x.ndim, dim)
    if not x.ndim or x.shape[axis] % 2:
        raise ShapeError(f"glu: expected an even size along dim {dim}, got shape {tuple(x.shape)}")
    dtype = compute_dtype("glu", x.dtype)

    def halves() -> Any:
        return xp.split(x.astype(dtype, copy=False), 2, axis=axis)

    def vjp(g: Array) -> Any:
        signal, gate = halves()
        share = _sigmoid(xp, gate)
        return (xp.concatenate([g * share, g * signal * share * (1 - share)], axis=axis),)

    signal, gate = halves()
    return (signal * _sigmoid(xp, gate)).astype(x.dtype, copy=False), vjp


# ---------------------------------------------------------------- piecewise linear


def _check_number(name: str, x: Array) -> None:
    if category(x.dtype) == BOOLEAN:
        raise DtypeError(f"{name}: expected a tensor of numbers, got bool; convert it with .float()")


@op
def hardtanh(xp: Any, x: Array, *, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``x``, but not below ``min_val`` and not above ``max_val``; gradient 0 at and beyond both.

    Raises:
        ValueError: ``min_val`` exceeds ``max_val``, or is negative for unsigned ``x``.
    """
    _check_number("hardtanh", x)
    if min_val > max_val:
        raise ValueError(f"hardtanh: expected min_val up to max_val, got {min_val} and {max_val}")
    if x.dtype.kind == "u" and min_val < 0:
        raise ValueError(f"hardtanh: expected no negative limit for {x.dtype}, got {min_val}")
    low, high = x.dtype.type(min_val), x.dtype.type(max_val)
    if category(x.dtype) != FLOATING:
        y = xp.minimum(xp.maximum(x, low), high)
        return y, lambda g: (masked(xp, (y > low) & (y < high), g),)
    return _pointwise(
        xp,
        "hardtanh",
        x,
        lambda x: xp.clip(x, low, high),
        lambda g, y: masked(xp, ~((y <= low) | (y >= high)), g),  # also where y is NaN
        saves_result=True,
        min_val=min_val,
        max_val=max_val,
    )


@op
def threshold(xp: Any, x: Array, *, threshold: float, value: float) -> Any:
    """``x`` where it exceeds ``threshold``, ``value`` elsewhere; NaN stays NaN."""
    _check_number("threshold", x)
    return xp.where(x <= threshold, x.dtype.type(value), x), lambda g: (masked(xp, ~(x <= threshold), g),)


@op(quiet_floats=True)
def hardsigmoid(xp: Any, x: Array) -> Any:
    """``x / 6 + 1 / 2``, but not below 0 and not above 1."""
    return _pointwise(
        xp,
        "hardsigmoid",
        x,
        lambda x: xp.clip(x + 3, 0, 6) / 6,
        lambda g, x: masked(xp, (x > -3) & (x < 3), g / 6),
    )


@op(quiet_floats=True)
def hardswish(xp: Any, x: Array) -> Any:
    """``x`` times `hardsigmoid` (Howard et al., 2019)."""
    return _pointwise(
        xp,
        "hardswish",
        x,
        lambda x: x * xp.clip(x + 3, 0, 6) / 6,
        lambda g, x: masked(xp, ~(x <= -3), choose(xp, x < 3, g * (x / 3 + 0.5), g)),
    )


@op(quiet_floats=True)
def hardshrink(xp: Any, x: Array, *, lambd: float = 0.5) -> Any:
    """``x``, but 0 from ``-lambd`` to ``lambd``."""
    return _pointwise(
        xp,
        "hardshrink",
        x,
        lambda x: masked(xp, ~((x >= -lambd) & (x <= lambd)), x),
        lambda g, x: masked(xp, ~((x >= -lambd) & (x <= lambd)), g),
        lambd=lambd,
    )


@op(quiet_floats=True)
def softshrink(xp: Any, x: Array, *, lambd: float = 0.5) -> Any:
    """``x`` moved towards 0 by ``lambd``, but not across.

    Raises:
        ValueError: ``lambd`` is negative.
    """
    if lambd < 0:
        raise ValueError(f"softshrink: expected a lambd of at least 0, got {lambd}")
    return _pointwise(
        xp,
        "softshrink",
        x,
        lambda x: choose(xp, x > lambd, x - lambd, choose(xp, x < -lambd, x + lambd, x * 0)),
        lambda g, x: masked(xp, ~((x >= -lambd) & (x <= lambd)), g),
        lambd=lambd,
    )
