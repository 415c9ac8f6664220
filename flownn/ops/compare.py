"""Comparisons, logic and choice between elements. Operands broadcast and are promoted as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError

if TYPE_CHECKING:
    from flownn.tensor import Tensor


@op(promote="common")
def equal(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x == y``, element by element."""
    return xp.equal(x, y), None


@op(promote="common")
def not_equal(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x != y``, element by element."""
    return xp.not_equal(x, y), None


@op(promote="common")
def less(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x < y``, element by element."""
    return xp.less(x, y), None


@op(promote="common")
def less_equal(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x <= y``, element by element."""
    return xp.less_equal(x, y), None


@op(promote="common")
def greater(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x > y``, element by element."""
    return xp.greater(x, y), None


@op(promote="common")
def greater_equal(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x >= y``, element by element."""
    return xp.greater_equal(x, y), None


@op
def logical_and(xp: Any, x: Array, y: Array) -> Any:
    """Whether both are non-zero."""
    return xp.logical_and(x, y), None


@op
def logical_or(xp: Any, x: Array, y: Array) -> Any:
    """Whether one or both are non-zero."""
    return xp.logical_or(x, y), None


@op
def logical_xor(xp: Any, x: Array, y: Array) -> Any:
    """Whether exactly one is non-zero."""
    return xp.logical_xor(x, y), None


@op
def logical_not(xp: Any, x: Array) -> Any:
    """Whether it is zero."""
    return xp.logical_not(x), None


@op(promote="common")
def bitwise_and(xp: Any, x: Array, y: Array) -> Any:
    """``x & y`` of integers or bools."""
    return x & y, None


@op(promote="common")
def bitwise_or(xp: Any, x: Array, y: Array) -> Any:
    """``x | y`` of integers or bools."""
    return x | y, None


@op(promote="common")
def bitwise_xor(xp: Any, x: Array, y: Array) -> Any:
    """``x ^ y`` of integers or bools."""
    return x ^ y, None


@op
def bitwise_not(xp: Any, x: Array) -> Any:
    """``~x`` of integers or bools."""
    return ~x, None


@op
def isnan(xp: Any, x: Array) -> Any:
    """Whether it is not a number."""
    return xp.isnan(x), None


@op
def isinf(xp: Any, x: Array) -> Any:
    """Whether it is infinite."""
    return xp.isinf(x), None


@op
def isfinite(xp: Any, x: Array) -> Any:
    """Whether it is neither infinite nor not a number."""
    return xp.isfinite(x), None


@op(promote="common")
def _select(xp: Any, x: Array, y: Array, *, condition: Array) -> Any:
    return xp.where(condition, x, y), lambda g: (
        lambda: xp.where(condition, g, 0),
        lambda: xp.where(condition, 0, g),
    )


def where(condition: Tensor, x: Any, y: Any) -> Tensor:
    """``x`` where ``condition`` is true, else ``y``.

    Args:
        condition: A bool tensor that broadcasts with both.
        x: Tensor or number.
        y: Tensor or number.

    Raises:
        DtypeError: ``condition`` is not bool.
    """
    return _select(x, y, condition=_mask("where", condition))


def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where ``mask`` is true, else ``x``.

    Args:
        x: Any tensor.
        mask: A bool tensor that broadcasts with it.
        value: A number or a 0-dim tensor.

    Raises:
        DtypeError: ``mask`` is not bool.
    """
    return _select(value, x, condition=_mask("masked_fill", mask))


def _mask(name: str, condition: Any) -> Any:
    array = getattr(condition, "data", condition)
    if getattr(array, "dtype", None) != dtypes.bool_.dtype:
        raise DtypeError(f"{name}: expected a bool tensor, got {getattr(array, 'dtype', type(condition).__name__)}")
    return array
