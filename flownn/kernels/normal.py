"""The normal distribution function and its density's bell, which GELU and its gradient are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.backend import special_functions
from flownn.kernels import kernel
from flownn.kernels.select import choose

__all__ = ["normal_distribution"]

# The smaller tail is bell * t * P(t) for t = 1 / (1 + 0.3 * abs(x)), P with these coefficients, highest power first.
# Fitted to SciPy's erfcx over abs(x) <= 14, relative error 1.5e-7: less than float32 arithmetic adds to it.
_TAIL = (
    0.03567487688230918,
    -0.1572034992961606,
    0.20635419567063112,
    -0.05368424550126147,
    0.12856192418885715,
    0.09991340876256594,
    0.12075396824864787,
    0.11962929810634669,
)


@kernel("normal_distribution")
def normal_distribution(xp: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The probability that a normal variable is below each ``x``, and the bell ``exp(-x * x / 2)``."""
    return 0.5 * (1 + special_functions(xp).erf(x * math.sqrt(0.5))), xp.exp(-0.5 * x * x)


@kernel("normal_distribution", device="cpu")
def _normal_distribution_cpu(xp: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """In float32 a vectorised formula, as SciPy's error function takes one element at a time."""
    if x.dtype != np.float32 or not x.ndim:
        return normal_distribution.portable(xp, x)  # type: ignore[no-any-return]
    bell = x * x
    bell *= -0.5
    np.exp(bell, out=bell)
    t = np.abs(x)
    t *= 0.3
    t += 1
    np.reciprocal(t, out=t)
    tail = t * _TAIL[0]
    for coefficient in _TAIL[1:]:
        tail += coefficient
        tail *= t
    tail *= bell
    return choose(np, x < 0, tail, 1 - tail), bell
