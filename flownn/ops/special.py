"""Less common functions of single elements: inverse hyperbolic, error and gamma functions, angles, clean-up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array, special_functions
from flownn.ops.elementwise import integers_or

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def _wide(x: Array) -> Any:
    return x.astype(dtypes.accumulator(x.dtype) or x.dtype, copy=False)


@op(promote="float", quiet_floats=True)
def asinh(xp: Any, x: Array) -> Any:
    """The number whose hyperbolic sine is ``x``."""
    return xp.arcsinh(x), lambda g: (g / xp.sqrt(1 + x * x),)


@op(promote="float", quiet_floats=True)
def acosh(xp: Any, x: Array) -> Any:
    """The number from 0 on whose hyperbolic cosine is ``x``."""
    return xp.arccosh(x), lambda g: (g / xp.sqrt(x * x - 1),)


@op(promote="float", quiet_floats=True)
def atanh(xp: Any, x: Array) -> Any:
    """The number whose hyperbolic tangent is ``x``."""
    return xp.arctanh(x), lambda g: (g / (1 - x * x),)


@op(promote="float", quiet_floats=True)
def exp2(xp: Any, x: Array) -> Any:
    """2 to the power of ``x``."""
    y = xp.exp2(x)
    return y, lambda g: (g * y * math.log(2),)


@op(promote="float", quiet_floats=True)
def erfc(xp: Any, x: Array) -> Any:
    """``1 - erf(x)``, exact also where that is tiny."""
    wide = _wide(x)
    y = special_functions(xp).erfc(wide).astype(x.dtype, copy=False)
    return y, lambda g: (g * (-2 / math.sqrt(math.pi)) * xp.exp(-wide * wide),)


@op(promote="float", quiet_floats=True)
def erfinv(xp: Any, x: Array) -> Any:
    """The number whose error function is ``x``."""
    y = xp.asarray(special_functions(xp).erfinv(_wide(x)))
    return y.astype(x.dtype, copy=False), lambda g: (g * (math.sqrt(math.pi) / 2) * xp.exp(y * y),)


@op(promote="float", quiet_floats=True)
def lgamma(xp: Any, x: Array) -> Any:
    """Logarithm of the absolute value of the gamma function."""
    wide = _wide(x)
    y = xp.where(wide == -math.inf, math.inf, special_functions(xp).gammaln(wide)).astype(x.dtype, copy=False)
    return y, lambda g: (g * special_functions(xp).digamma(wide),)


@op(promote="float", quiet_floats=True)
def digamma(xp: Any, x: Array) -> Any:
    """The derivative of `lgamma`."""
    wide = _wide(x)
    y = special_functions(xp).digamma(wide).astype(x.dtype, copy=False)
    return y, lambda g: (g * special_functions(xp).polygamma(1, wide),)


@op(promote="float", quiet_floats=True)
def sinc(xp: Any, x: Array) -> Any:
    """``sin(pi * x) / (pi * x)``, and 1 at 0."""
    wide = _wide(x)
    angle = math.pi * wide
    safe = xp.where(wide == 0, 1, angle)
    y = xp.where(wide == 0, 1, xp.sin(safe) / safe)

    def vjp(g: Array) -> Any:
        return (g * xp.where(wide == 0, 0, (xp.cos(safe) - y) * math.pi / safe),)

    return y.astype(x.dtype, copy=False), vjp


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``; NaN outside [0, 1]. ``eps`` limits ``x`` to [eps, 1 - eps] first."""
    return _logit(x, eps=eps)


@op(promote="float", quiet_floats=True)
def _logit(xp: Any, x: Array, *, eps: float | None) -> Any:
    wide = _wide(x)
    kept = wide if eps is None else xp.minimum(xp.maximum(wide, eps), 1 - eps)
    y = xp.log(kept) - xp.log1p(-kept)

    def vjp(g: Array) -> Any:
        slope = xp.where(kept == wide, g / (kept * (1 - kept)), 0)
        return (slope if eps is not None else xp.where((wide < 0) | (wide > 1), math.nan, slope),)

    return y.astype(x.dtype, copy=False), vjp


def nan_to_num(x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Numbers in place of NaN and of the infinities; gradient 0 there.

    Args:
        x: Any tensor.
        nan: In place of NaN; None means 0.
        posinf: In place of infinity; None means the largest number of the type.
        neginf: In place of negative infinity; None means the most negative number of the type.
    """
    return _nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


@op
def _nan_to_num(xp: Any, x: Array, *, nan: float, posinf: float | None, neginf: float | None) -> Any:
    if dtypes.category(x.dtype) != dtypes.FLOATING:
        return x.copy(), lambda g: (g,)
    limits = dtypes.finfo(x.dtype)
    y = xp.where(xp.isnan(x), x.dtype.type(nan), x)
    y = xp.where(x == np.inf, x.dtype.type(limits.max if posinf is None else posinf), y)
    y = xp.where(x == -np.inf, x.dtype.type(limits.min if neginf is None else neginf), y)
    finite = xp.isfinite(x)
    return y, lambda g: (xp.where(finite, g, 0),)


@op(quiet_floats=True)
def frac(xp: Any, x: Array) -> Any:
    """``x - trunc(x)``."""
    return x - integers_or(xp.trunc, x), lambda g: (g,)


@op(promote="float")
def deg2rad(xp: Any, x: Array) -> Any:
    """Degrees as radians."""
    return x * (math.pi / 180), lambda g: (g * (math.pi / 180),)


@op(promote="float")
def rad2deg(xp: Any, x: Array) -> Any:
    """Radians as degrees."""
    return x * (180 / math.pi), lambda g: (g * (180 / math.pi),)
