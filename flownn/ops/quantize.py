"""Simulated quantization: the scale and zero point of what was observed, and rounding by them.

Two formulas. ``google``: real numbers are ``scale * (q - zero_point)``, with integers q of ``bit`` bits. ``cambricon``:
steps are powers of two, and ``scale`` is their exponent; it is symmetric, and per layer.
"""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype

__all__ = ["fake_quantize", "min_max_observer", "moving_average_min_max_observer", "quantize"]

Formula = Literal["google", "cambricon"]
Scheme = Literal["symmetric", "affine"]
_Array = NDArray[Any]


@op(tuple_output=True, quiet_floats=True)
def min_max_observer(xp: Any, x: _Array, *, formula: Formula, bit: int, scheme: Scheme, per_layer: bool) -> Any:
    """Scale and zero point that let ``bit`` bits cover all of x: one each, or one per entry of the first axis.

    Raises:
        ShapeError: x is empty, or 0-dim and not taken per layer.
    """
    dtype = compute_dtype("MinMaxObserver", x.dtype)
    if not x.size or (not per_layer and not x.ndim):
        raise ShapeError(
            f"MinMaxObserver: expected an input with elements{'' if per_layer else ' and channels'}, "
            f"got shape {tuple(x.shape)}"
        )
    values = x.astype(dtype, copy=False).reshape(1 if per_layer else len(x), -1)
    return _parameters(xp, values.min(axis=1), values.max(axis=1), formula, bit, scheme, x.dtype), None


@op(tuple_output=True, quiet_floats=True)
def moving_average_min_max_observer(
    xp: Any,
    x: _Array,
    moving_max: _Array,
    moving_min: _Array,
    *,
    update: bool,
    momentum: float,
    formula: Formula,
    bit: int,
    scheme: Scheme,
) -> Any:
    """Scale and zero point from moving averages (1,) of the extremes, with ``update`` first moved *in place* by x.

    Averages that are both 0 hold nothing yet and become what x has. A symmetric range keeps the largest absolute
    value in both.

    Raises:
        ShapeError: x is empty.
    """
    dtype = compute_dtype("MovingAverageMinMaxObserver", x.dtype)
    if not x.size:
        raise ShapeError(f"MovingAverageMinMaxObserver: expected an input with elements, got shape {tuple(x.shape)}")
    if update:
        values = x.astype(dtype, copy=False)
        lowest, highest = values.min(), values.max()
        if formula == "cambricon" or scheme == "symmetric":
            lowest = highest = xp.maximum(abs(lowest), abs(highest))
        first = (moving_max == 0) & (moving_min == 0)
        for average, value in ((moving_max, highest), (moving_min, lowest)):
            average[...] = xp.where(first, value, average * momentum + value * (1 - momentum))
    return _parameters(xp, moving_min, moving_max, formula, bit, scheme, x.dtype), None


@op(quiet_floats=True)
def quantize(
    xp: Any, x: _Array, scale: _Array, zero_point: _Array, *, formula: Formula, bit: int, scheme: Scheme
) -> Any:
    """The integers that stand for x, less the zero point, as numbers of x's type; without gradient.

    Raises:
        ShapeError: scale and zero point are neither one number nor one per entry of the first axis.
    """
    return _quantized(xp, "Quantization", x, scale, zero_point, formula, bit, scheme)[0].astype(x.dtype), None


@op(quiet_floats=True)
def fake_quantize(
    xp: Any, x: _Array, scale: _Array, zero_point: _Array, *, formula: Formula, bit: int, scheme: Scheme
) -> Any:
    """What is left of x after quantizing and back; the gradient passes straight through (Bengio et al., 2013).

    Raises:
        ShapeError: scale and zero point are neither one number nor one per entry of the first axis.
    """
    integers, step = _quantized(xp, "FakeQuantization", x, scale, zero_point, formula, bit, scheme)
    return (integers * step).astype(x.dtype), lambda g: (g, None, None)


def _parameters(
    xp: Any, lowest: _Array, highest: _Array, formula: Formula, bit: int, scheme: Scheme, dtype: Any
) -> tuple[_Array, _Array]:
    """Scale and zero point of ``dtype``, as many as there are ranges."""
    if formula == "google" and scheme == "affine":
        scale = (highest - lowest) / (2**bit - 1)
        zero_point = _quotient(xp, -lowest, scale)
    else:
        largest = xp.maximum(abs(lowest), abs(highest))
        if formula == "google":
            scale = largest / (2 ** (bit - 1) - 1)
        else:
            # frexp is exact where log2 may round up to the next integer
            scale = xp.where(largest == 0, largest.dtype.type("-inf"), xp.frexp(largest)[1] - 1 - (bit - 2))
        zero_point = xp.zeros_like(scale)
    return scale.astype(dtype), zero_point.astype(dtype)


def _quantized(
    xp: Any, name: str, x: _Array, scale: _Array, zero_point: _Array, formula: Formula, bit: int, scheme: Scheme
) -> tuple[_Array, _Array]:
    """Integers less the zero point, and the size of their step."""
    dtype = compute_dtype(name, x.dtype)
    allowed = {1} if formula == "cambricon" else {1, x.shape[0] if x.ndim else 1}
    for what, values in (("scale", scale), ("zero_point", zero_point)):
        if values.ndim > 1 or values.size not in allowed:
            raise ShapeError(
                f"{name}: expected a {what} of shape ({') or ('.join(f'{n},' for n in sorted(allowed))}) with formula "
                f"{formula!r} for input {tuple(x.shape)}, got shape {tuple(values.shape)}"
            )
    aligned = (-1, *(1,) * (x.ndim - 1)) if x.ndim else ()
    step = scale.astype(dtype).reshape(aligned)
    if formula == "cambricon":
        step, offset = xp.exp2(step), dtype.type(0)
        low, high = -(2 ** (bit - 1)), 2 ** (bit - 1) - 1
    elif scheme == "symmetric":
        offset = dtype.type(0)
        low, high = 1 - 2 ** (bit - 1), 2 ** (bit - 1) - 1
    else:
        offset = zero_point.astype(dtype).reshape(aligned)
        low, high = 0, 2**bit - 1
    quotient = _quotient(xp, x.astype(dtype, copy=False), step)
    return xp.clip(xp.rint(quotient + offset), low, high) - offset, step


def _quotient(xp: Any, values: _Array, scale: _Array) -> Any:
    """``values / scale``, and 0 for 0 / 0: where nothing but zeros was observed, zeros stay zeros."""
    return xp.where((values == 0) & (scale == 0), 0, values / scale).astype(values.dtype, copy=False)
