"""How the losses of single elements become one: the part that all losses share."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from flownn.backend import Array
from flownn.dtypes import FLOATING, category, result_dtype
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import compute_dtype

__all__ = [
    "REDUCTIONS",
    "Operands",
    "broadcast_shape",
    "check_reduction",
    "operands",
    "reduced",
    "require_floating",
    "spread",
]

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(name: str, reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Refuse a reduction that ``name`` does not know.

    Raises:
        ValueError: ``reduction`` is not among ``allowed``.
    """
    if reduction not in allowed:
        raise ValueError(f"{name}: expected a reduction of {', '.join(allowed)}, got {reduction!r}")


def reduced(losses: Any, reduction: str, divisor: Any) -> Any:
    """The losses themselves, their sum, or (any kind of mean) their sum divided by ``divisor``."""
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / divisor


def spread(g: Any, reduction: str, divisor: Any) -> Any:
    """The gradient of each loss, given that of what `reduced` made of them; a scalar unless the reduction is "none"."""
    return g if reduction in ("none", "sum") else g / divisor


class Operands(NamedTuple):
    """The inputs of a loss in the type to compute in, and what the result has: its type, its number of elements."""

    arrays: tuple[Any, ...]
    dtype: np.dtype[Any]
    elements: int


def operands(name: str, *arrays: Array) -> Operands:
    """Inputs that broadcast with each other, promoted to one type, 16-bit floats then widened.

    Raises:
        ShapeError: the shapes do not broadcast.
        DtypeError: no input is floating point.
    """
    shape = broadcast_shape(name, *arrays)
    dtype = result_dtype(arrays)
    wide = compute_dtype(name, dtype)
    return Operands(tuple(each.astype(wide, copy=False) for each in arrays), dtype, math.prod(shape))


def broadcast_shape(name: str, *arrays: Array) -> tuple[int, ...]:
    """The shape that the inputs have together.

    Raises:
        ShapeError: they do not broadcast.
    """
    shapes = [tuple(each.shape) for each in arrays]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast") from None


def require_floating(name: str, **arrays: Array) -> None:
    """Refuse inputs that are not floating point.

    Raises:
        DtypeError: the message names the first one.
    """
    for role, array in arrays.items():
        if category(array.dtype) != FLOATING:
            raise DtypeError(
                f"{name}: expected a floating point {role}, got {array.dtype}; convert it with .to(input.dtype)"
            )
