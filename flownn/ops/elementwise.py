"""Arithmetic, comparisons and functions of single elements. Operands broadcast and are promoted as in PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array, device, device_of, special_functions, to_device
from flownn.errors import DtypeError

if TYPE_CHECKING:
    from flownn.tensor import Tensor


# ---------------------------------------------------------------- arithmetic


@op(promote="common")
def add(xp: Any, x: Array, y: Array, *, alpha: float = 1) -> Any:
    """``x + alpha * y``."""
    if alpha == 1:
        return x + y, _unchanged
    return x + alpha * y, lambda g: (g, lambda: g * alpha)


def _unchanged(g: Array) -> tuple[Array, Array]:
    return g, g


@op(promote="common")
def subtract(xp: Any, x: Array, y: Array, *, alpha: float = 1) -> Any:
    """``x - alpha * y``."""
    refuse_bool(xp, "subtract", x, y)
    if alpha == 1:
        return x - y, lambda g: (g, lambda: -g)
    return x - alpha * y, lambda g: (g, lambda: g * -alpha)


def reversed_subtract(x: Any, y: Any) -> Tensor:
    """``y - x``."""
    return subtract(y, x)


def refuse_bool(xp: Any, name: str, *arrays: Any) -> None:
    """Refuse operands that are all bools.

    Raises:
        DtypeError: they are.
    """
    if xp.result_type(*arrays).kind == "b":
        raise DtypeError(f"{name}: bool has no such operation; use a logical one, or convert to a number type")


@op(promote="common")
def multiply(xp: Any, x: Any, y: Any) -> Any:
    """``x * y``."""
    if isinstance(y, (int, float)):  # nothing but the number is kept
        return x * y, lambda g: (lambda: g * y, None)
    return x * y, lambda g: (lambda: g * y, lambda: g * x)


@op(promote="float", quiet_floats=True)
def true_divide(xp: Any, x: Any, y: Any) -> Any:
    """``x / y``; integers give the default floating point type."""
    if isinstance(y, (int, float)):
        return x / y, lambda g: (lambda: g / y, None)
    return x / y, lambda g: (lambda: g / y, lambda: -g * x / y / y)


@op(promote="common", quiet_floats=True)
def floor_divide(xp: Any, x: Array, y: Array) -> Any:
    """The largest integer not above ``x / y``; no gradient."""
    refuse_bool(xp, "floor_divide", x, y)
    return x // y, None


@op(promote="common", quiet_floats=True)
def truncate_divide(xp: Any, x: Array, y: Array) -> Any:
    """``x / y`` without its fraction; no gradient."""
    refuse_bool(xp, "divide", x, y)
    if xp.result_type(x, y).kind in "iu":
        return xp.sign(x) * xp.sign(y) * (abs(x) // abs(y)), None
    return xp.trunc(x / y), None


def divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``x / y``, exact, or rounded towards zero (``"trunc"``) or down (``"floor"``).

    Raises:
        ValueError: another ``rounding_mode``.
    """
    rounded = {None: true_divide, "floor": floor_divide, "trunc": truncate_divide}
    if rounding_mode not in rounded:
        raise ValueError(f"divide: expected rounding_mode None, 'trunc' or 'floor', got {rounding_mode!r}")
    return rounded[rounding_mode](x, y)


def reversed_divide(x: Any, y: Any) -> Tensor:
    """``y / x``."""
    return true_divide(y, x)


def reversed_floor_divide(x: Any, y: Any) -> Tensor:
    """The largest integer not above ``y / x``."""
    return floor_divide(y, x)


@op(promote="common", quiet_floats=True)
def remainder(xp: Any, x: Array, y: Array) -> Any:
    """What ``x`` exceeds ``floor(x / y) * y`` by; has the sign of ``y``."""
    refuse_bool(xp, "remainder", x, y)
    return x % y, lambda g: (g, lambda: -g * xp.floor(x / y))


def reversed_remainder(x: Any, y: Any) -> Tensor:
    """What ``y`` exceeds ``floor(y / x) * x`` by; has the sign of ``x``."""
    return remainder(y, x)


@op(promote="common", quiet_floats=True)
def power(xp: Any, x: Array, y: Array) -> Any:
    """``x ** y``. The gradient of ``x`` is 0 where ``y`` is 0, that of ``y`` is 0 where ``x`` is 0 and ``y >= 0``.

    Raises:
        DtypeError: integers to a negative integer power, which are no integers; or two bools.
    """
    refuse_bool(xp, "power", x, y)
    dtype = x.dtype if hasattr(x, "dtype") else y.dtype
    base, exponent = xp.asarray(x, dtype), xp.asarray(y, dtype)
    if dtype.kind in "iu" and (exponent < 0).any():
        raise DtypeError("power: integers to negative powers are no integers; convert to a floating point type first")

    def vjp(g: Array) -> Any:
        return (
            lambda: xp.where(exponent == 0, 0, g * exponent * base ** (y - 1)),
            lambda: xp.where((base == 0) & (exponent >= 0), 0, g * base**exponent * xp.log(base)),
        )

    return x**y, vjp  # of numbers as they came: NumPy is fast for x ** 2


def reversed_power(x: Any, y: Any) -> Tensor:
    """``y ** x``."""
    return power(y, x)


@op
def negative(xp: Any, x: Array) -> Any:
    """``-x``."""
    refuse_bool(xp, "negative", x)
    return -x, lambda g: (-g,)


@op
def absolute(xp: Any, x: Array) -> Any:
    """``x`` without its sign; gradient 0 at 0."""
    return abs(x), lambda g: (g * xp.sign(x),)


@op(promote="common")
def maximum(xp: Any, x: Array, y: Array) -> Any:
    """The larger of two; equal ones get half the gradient each."""
    return xp.maximum(x, y), lambda g: (lambda: g * _share(xp, x > y, x == y), lambda: g * _share(xp, y > x, x == y))


@op(promote="common")
def minimum(xp: Any, x: Array, y: Array) -> Any:
    """The smaller of two; equal ones get half the gradient each."""
    return xp.minimum(x, y), lambda g: (lambda: g * _share(xp, x < y, x == y), lambda: g * _share(xp, y < x, x == y))


def _share(xp: Any, wins: Any, equal: Any) -> Any:
    return xp.where(equal, 0.5, wins)


@op(promote="common")
def clamp(xp: Any, x: Array, min: Array | None = None, max: Array | None = None) -> Any:
    """``x``, but not below ``min`` and not above ``max``, numbers or tensors; where both apply ``max`` wins.

    Raises:
        ValueError: neither limit is given.
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min, max or both, got neither")
    y = x if min is None else xp.maximum(x, min)
    y = y if max is None else xp.minimum(y, max)

    def vjp(g: Array) -> Any:
        low = False if min is None else x < min
        raised = x if min is None else xp.maximum(x, min)
        high = False if max is None else raised > max
        return (
            lambda: xp.where(xp.logical_or(low, high), 0, g),
            lambda: xp.where(xp.logical_and(low, xp.logical_not(high)), g, 0),
            lambda: xp.where(high, g, 0),
        )

    return xp.array(y) if y is x else y, vjp


# ---------------------------------------------------------------- functions of one element


@op(promote="float", quiet_floats=True)
def exp(xp: Any, x: Array) -> Any:
    """E to the power of ``x``."""
    y = xp.exp(x)
    return y, lambda g: (g * y,)


@op(promote="float", quiet_floats=True)
def expm1(xp: Any, x: Array) -> Any:
    """``exp(x) - 1``, exact near 0."""
    y = xp.expm1(x)
    return y, lambda g: (g * (y + 1),)


@op(promote="float", quiet_floats=True)
def log(xp: Any, x: Array) -> Any:
    """Natural logarithm."""
    return xp.log(x), lambda g: (g / x,)


@op(promote="float", quiet_floats=True)
def log1p(xp: Any, x: Array) -> Any:
    """``log(1 + x)``, exact near 0."""
    return xp.log1p(x), lambda g: (g / (x + 1),)


@op(promote="float", quiet_floats=True)
def log2(xp: Any, x: Array) -> Any:
    """Logarithm to base 2."""
    return xp.log2(x), lambda g: (g / (x * math.log(2)),)


@op(promote="float", quiet_floats=True)
def log10(xp: Any, x: Array) -> Any:
    """Logarithm to base 10."""
    return xp.log10(x), lambda g: (g / (x * math.log(10)),)


@op(promote="float", quiet_floats=True)
def sqrt(xp: Any, x: Array) -> Any:
    """Square root."""
    y = xp.sqrt(x)
    return y, lambda g: (g / (2 * y),)


@op(promote="float", quiet_floats=True)
def rsqrt(xp: Any, x: Array) -> Any:
    """``1 / sqrt(x)``."""
    y = 1 / xp.sqrt(x)
    return y, lambda g: (g * -0.5 * y * y * y,)


@op(quiet_floats=True)
def square(xp: Any, x: Array) -> Any:
    """``x * x``; of bools as int64."""
    x = x.astype(dtypes.int64.dtype) if x.dtype.kind == "b" else x
    return x * x, lambda g: (2 * g * x,)


@op(promote="float", quiet_floats=True)
def reciprocal(xp: Any, x: Array) -> Any:
    """``1 / x``."""
    y = 1 / x
    return y, lambda g: (-g * y * y,)


@op(promote="float", quiet_floats=True)
def sin(xp: Any, x: Array) -> Any:
    """Sine of an angle in radians."""
    return xp.sin(x), lambda g: (g * xp.cos(x),)


@op(promote="float", quiet_floats=True)
def cos(xp: Any, x: Array) -> Any:
    """Cosine of an angle in radians."""
    return xp.cos(x), lambda g: (-g * xp.sin(x),)


@op(promote="float", quiet_floats=True)
def tan(xp: Any, x: Array) -> Any:
    """Tangent of an angle in radians."""
    y = xp.tan(x)
    return y, lambda g: (g * (1 + y * y),)


@op(promote="float", quiet_floats=True)
def asin(xp: Any, x: Array) -> Any:
    """The angle in radians whose sine is ``x``."""
    return xp.arcsin(x), lambda g: (g / xp.sqrt(1 - x * x),)


@op(promote="float", quiet_floats=True)
def acos(xp: Any, x: Array) -> Any:
    """The angle in radians whose cosine is ``x``."""
    return xp.arccos(x), lambda g: (-g / xp.sqrt(1 - x * x),)


@op(promote="float", quiet_floats=True)
def atan(xp: Any, x: Array) -> Any:
    """The angle in radians whose tangent is ``x``."""
    return xp.arctan(x), lambda g: (g / (1 + x * x),)


@op(promote="float", quiet_floats=True)
def sinh(xp: Any, x: Array) -> Any:
    """Hyperbolic sine."""
    return xp.sinh(x), lambda g: (g * xp.cosh(x),)


@op(promote="float", quiet_floats=True)
def cosh(xp: Any, x: Array) -> Any:
    """Hyperbolic cosine."""
    return xp.cosh(x), lambda g: (g * xp.sinh(x),)


@op(promote="float", quiet_floats=True)
def erf(xp: Any, x: Array) -> Any:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t * t)`` from 0 to ``x``."""
    wide = x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)
    y = special_functions(xp).erf(wide).astype(x.dtype, copy=False)
    return y, lambda g: (g * (2 / math.sqrt(math.pi)) * xp.exp(-wide * wide),)


def _no_slope(g: Array) -> tuple[Array]:
    return (g * 0,)


@op
def floor(xp: Any, x: Array) -> Any:
    """The largest integer not above; gradient 0."""
    return integers_or(xp.floor, x), _no_slope


@op
def ceil(xp: Any, x: Array) -> Any:
    """The smallest integer not below; gradient 0."""
    return integers_or(xp.ceil, x), _no_slope


@op
def trunc(xp: Any, x: Array) -> Any:
    """``x`` without its fraction; gradient 0."""
    return integers_or(xp.trunc, x), _no_slope


@op
def _round(xp: Any, x: Array, *, decimals: int) -> Any:
    if dtypes.category(x.dtype) != dtypes.FLOATING or not decimals:
        return integers_or(xp.rint, x), _no_slope
    wide = x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)
    scale = 10.0 ** abs(decimals)
    y = xp.rint(wide * scale) / scale if decimals > 0 else xp.rint(wide / scale) * scale
    return y.astype(x.dtype, copy=False), _no_slope


def round_(x: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many digits after the point, halves to the even one; gradient 0.

    Args:
        x: Any tensor; integers stay as they are.
        decimals: Digits; negative ones round to tens, hundreds and so on.
    """
    return _round(x, decimals=decimals)


def integers_or(function: Any, x: Array) -> Any:
    """``function(x)``, or a copy of what is whole anyway."""
    return x.copy() if dtypes.category(x.dtype) != dtypes.FLOATING else function(x)


@op
def sign(xp: Any, x: Array) -> Any:
    """-1, 0 or 1; gradient 0."""
    return (x.copy() if x.dtype.kind == "b" else xp.sign(x)), _no_slope


# ---------------------------------------------------------------- conversion and copies


@op(chooses_dtype=True, quiet_floats=True)
def cast(xp: Any, x: Array, *, dtype: Any) -> Any:
    """A copy of ``x`` with another element type; gradients pass between floating point types."""
    target = dtypes.as_dtype(dtype).dtype
    return x.astype(target), (_one_unchanged if dtypes.category(target) == dtypes.FLOATING else None)


@op
def move(xp: Any, x: Array, *, target: device) -> Any:
    """A copy of ``x`` on another device."""
    origin = device_of(x)
    return to_device(x, target), lambda g: (to_device(g, origin),)


@op
def clone(xp: Any, x: Array) -> Any:
    """A copy of ``x`` in memory of its own."""
    return x.copy(order="K"), _one_unchanged


def _one_unchanged(g: Array) -> tuple[Array]:
    return (g,)
