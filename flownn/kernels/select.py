"""Choosing between values element by element, and limiting them: NumPy's own forms run one element at a time.

``where`` jumps on every element of a mask, which a processor cannot foresee, and ``maximum`` with a number is not
vectorised. On the CPU the first is done with the bits of the numbers, the second with an array full of the number.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel

__all__ = ["at_least", "at_most", "choose", "masked"]

_BITS = {2: np.dtype(np.int16), 4: np.dtype(np.int32), 8: np.dtype(np.int64)}
_CONSTANTS = 1 << 16  # elements of an array full of one number; `at_least` and `at_most` serve no larger one


def _all_bits(mask: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """-1, all bits set, where the mask is true, and 0 elsewhere."""
    signs: NDArray[Any] = np.negative(mask.view(np.int8))
    return signs.astype(_BITS[dtype.itemsize])


@kernel("masked")
def masked(xp: Any, mask: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """``values`` where the mask of their shape is true, 0 elsewhere, also where they are inf or nan."""
    result: NDArray[Any] = xp.where(mask, values, values.dtype.type(0))
    return result


@kernel("masked", device="cpu")
def _masked_cpu(xp: Any, mask: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "f" or not values.ndim:
        return masked.portable(xp, mask, values)  # type: ignore[no-any-return]
    bits = _all_bits(mask, values.dtype)
    bits &= values.view(bits.dtype)
    return bits.view(values.dtype)


@kernel("choose")
def choose(xp: Any, mask: NDArray[Any], yes: NDArray[Any], no: NDArray[Any]) -> NDArray[Any]:
    """``yes`` where the mask is true, ``no`` elsewhere; both have the shape of the mask and one dtype."""
    result: NDArray[Any] = xp.where(mask, yes, no)
    return result


@kernel("choose", device="cpu")
def _choose_cpu(xp: Any, mask: NDArray[Any], yes: NDArray[Any], no: NDArray[Any]) -> NDArray[Any]:
    if yes.dtype.kind != "f" or yes.dtype != no.dtype or not yes.ndim:
        return choose.portable(xp, mask, yes, no)  # type: ignore[no-any-return]
    bits = _all_bits(mask, yes.dtype)
    other = no.view(bits.dtype)
    bits &= yes.view(bits.dtype) ^ other
    bits ^= other
    return bits.view(yes.dtype)


@kernel("at_least")
def at_least(xp: Any, x: NDArray[Any], low: float) -> NDArray[Any]:
    """``x``, but not below a number; NaN stays NaN."""
    result: NDArray[Any] = xp.maximum(x, low)
    return result


@kernel("at_least", device="cpu")
def _at_least_cpu(xp: Any, x: NDArray[Any], low: float) -> NDArray[Any]:
    limit = _constant_like(x, low)
    return np.maximum(x, low) if limit is None else np.maximum(x, limit)


@kernel("at_most")
def at_most(xp: Any, x: NDArray[Any], high: float) -> NDArray[Any]:
    """``x``, but not above a number; NaN stays NaN."""
    result: NDArray[Any] = xp.minimum(x, high)
    return result


@kernel("at_most", device="cpu")
def _at_most_cpu(xp: Any, x: NDArray[Any], high: float) -> NDArray[Any]:
    limit = _constant_like(x, high)
    return np.minimum(x, high) if limit is None else np.minimum(x, limit)


def _constant_like(x: NDArray[Any], value: float) -> Any:
    if x.ndim != 1 or x.dtype.kind != "f" or x.size > _CONSTANTS:
        return None
    return _constant(x.dtype, float(value))[: x.size]


@lru_cache(maxsize=16)
def _constant(dtype: np.dtype[Any], value: float) -> NDArray[Any]:
    constant = np.full(_CONSTANTS, value, dtype)
    constant.flags.writeable = False
    return constant
