"""Less common functions of two and three elements. Operands broadcast and are promoted as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.ops.elementwise import add, divide, multiply, power, refuse_bool
from flownn.ops.elementwise import clamp as limit

if TYPE_CHECKING:
    from flownn.tensor import Tensor


@op(promote="float", quiet_floats=True)
def atan2(xp: Any, x: Array, y: Array) -> Any:
    """The angle in radians, from -pi to pi, of the point (``y``, ``x``): its tangent is ``x / y``."""

    def vjp(g: Array) -> Any:
        square = x * x + y * y
        return lambda: g * y / square, lambda: -g * x / square

    return xp.arctan2(x, y), vjp


@op(promote="float", quiet_floats=True)
def hypot(xp: Any, x: Array, y: Array) -> Any:
    """``sqrt(x * x + y * y)``, without overflow."""
    z = xp.hypot(x, y)
    return z, lambda g: (lambda: g * (x / z), lambda: g * (y / z))


@op(promote="common", quiet_floats=True)
def fmod(xp: Any, x: Array, y: Array) -> Any:
    """What ``x`` exceeds ``trunc(x / y) * y`` by; has the sign of ``x``."""
    refuse_bool(xp, "fmod", x, y)
    return xp.fmod(x, y), lambda g: (g, lambda: -g * xp.trunc(x / y))


@op(promote="common")
def fmax(xp: Any, x: Array, y: Array) -> Any:
    """The larger of two, of NaN and a number the number; gradient to ``x`` where they are equal."""
    first = xp.greater_equal(x, y) | xp.isnan(y)
    return xp.fmax(x, y), lambda g: (lambda: g * first, lambda: g * ~first)


@op(promote="common")
def fmin(xp: Any, x: Array, y: Array) -> Any:
    """The smaller of two, of NaN and a number the number; gradient to ``x`` where they are equal."""
    first = xp.less_equal(x, y) | xp.isnan(y)
    return xp.fmin(x, y), lambda g: (lambda: g * first, lambda: g * ~first)


@op(promote="float")
def copysign(xp: Any, x: Array, y: Array) -> Any:
    """``x`` with the sign of ``y``; gradient 0 where ``x`` is 0, and none for ``y``."""
    z = xp.copysign(x, y)
    return z, lambda g: (lambda: g * xp.sign(x) * xp.sign(z), lambda: g * 0)


@op(promote="float", quiet_floats=True)
def xlogy(xp: Any, x: Array, y: Array) -> Any:
    """``x * log(y)``, and 0 where ``x`` is 0 and ``y`` is a number."""
    nothing = xp.equal(x, 0) & ~xp.isnan(y)
    return xp.where(nothing, 0, x * xp.log(y)).astype(_dtype(x, y)), lambda g: (
        lambda: xp.where(nothing & xp.less_equal(y, 0), 0, g * xp.log(y)),
        lambda: g * x / y,
    )


@op(promote="float", quiet_floats=True)
def logaddexp(xp: Any, x: Array, y: Array) -> Any:
    """``log(exp(x) + exp(y))``, without overflow."""
    z = xp.logaddexp(x, y)
    return z, lambda g: (lambda: g * xp.exp(x - z), lambda: g * xp.exp(y - z))


@op(promote="float", quiet_floats=True)
def logaddexp2(xp: Any, x: Array, y: Array) -> Any:
    """``log2(2 ** x + 2 ** y)``, without overflow."""
    z = xp.logaddexp2(x, y)
    return z, lambda g: (lambda: g * xp.exp2(x - z), lambda: g * xp.exp2(y - z))


def _dtype(*operands: Any) -> Any:
    return next(each.dtype for each in operands if hasattr(each, "dtype"))


@op(promote="common")
def lerp(xp: Any, start: Array, end: Array, weight: Array) -> Any:
    """``start + weight * (end - start)``, exact at both ends."""
    span = end - start
    near = abs(weight) < 0.5
    y = xp.where(near, start + weight * span, end - span * (1 - weight))
    return y.astype(_dtype(start, end, weight), copy=False), lambda g: (
        lambda: g * (1 - weight),
        lambda: g * weight,
        lambda: g * span,
    )


@op(promote="common")
def heaviside(xp: Any, x: Array, values: Array) -> Any:
    """0 where ``x`` is negative, ``values`` where it is 0, 1 where it is positive; no gradient."""
    x = xp.asarray(x)
    return xp.where(x == 0, values, (x > 0).astype(x.dtype)), None


@op(promote="common")
def gcd(xp: Any, x: Array, y: Array) -> Any:
    """The greatest common divisor of integers, never negative."""
    return xp.gcd(x, y), None


@op(promote="common")
def lcm(xp: Any, x: Array, y: Array) -> Any:
    """The least common multiple of integers, never negative."""
    return xp.lcm(x, y), None


def addcmul(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """``x + value * first * second``."""
    return add(x, multiply(first, second), alpha=value)


def addcdiv(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """``x + value * first / second``."""
    return add(x, divide(first, second), alpha=value)


def clamp_min(x: Tensor, min: Any) -> Tensor:
    """``x``, but not below ``min``, a number or tensor."""
    return limit(x, min=min)


def clamp_max(x: Tensor, max: Any) -> Tensor:
    """``x``, but not above ``max``, a number or tensor."""
    return limit(x, max=max)


@op
def _as_double(xp: Any, x: Array) -> Any:
    return x.astype(dtypes.float64.dtype), lambda g: (g,)


def float_power(x: Any, y: Any) -> Tensor:
    """``x ** y`` in float64."""
    return power(_as_double(x), _as_double(y))
