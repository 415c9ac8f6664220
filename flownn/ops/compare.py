"""Comparisons, logic and choice between elements. Operands broadcast and are promoted as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError
from flownn.ops.index import nonzero

if TYPE_CHECKING:
    from flownn.tensor import Tensor


@op(promote="common")
def eq(xp: Any, x: Array, y: Array) -> Any:
    """Whether ``x == y``, element by element; `equal` answers for whole tensors."""
    return xp.equal(x, y), None


def equal(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors have one shape and equal elements; NaN equals nothing.

    >>> import flownn as flow
    >>> equal(flow.ones(2), flow.ones(2)), equal(flow.ones(2), flow.ones(1))
    (True, False)
    """
    return x.data.shape == y.data.shape and bool(eq(x, y).data.all())


def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether ``abs(x - y) <= atol + rtol * abs(y)``, or both are the same infinity, or, if wanted, both NaN."""
    return _isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)


@op(promote="common", quiet_floats=True)
def _isclose(xp: Any, x: Array, y: Array, *, rtol: float, atol: float, equal_nan: bool) -> Any:
    x, y = xp.asarray(x), xp.asarray(y)
    close = xp.equal(x, y)
    if x.dtype.kind != "b":
        near = abs(x - y) if x.dtype.kind != "u" else xp.maximum(x, y) - xp.minimum(x, y)
        close = close | ((near <= atol + rtol * abs(y)) & xp.isfinite(x) & xp.isfinite(y))
    return close | (xp.isnan(x) & xp.isnan(y)) if equal_nan else close, None


def allclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds for all elements, which broadcast."""
    return bool(isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan).data.all())


@op
def isin(xp: Any, x: Array, test_elements: Array, *, invert: bool = False) -> Any:
    """Whether an element is one of ``test_elements``; with ``invert`` whether it is none of them."""
    return xp.isin(x, test_elements, invert=invert), None


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


def _shifts(name: str, x: Any, y: Any) -> None:
    for each in (x, y):
        kind = getattr(each, "dtype", None)
        if isinstance(each, (bool, float)) or (kind is not None and dtypes.category(kind) != dtypes.INTEGER):
            raise DtypeError(f"{name}: expected integers, got {kind or type(each).__name__}")


@op(promote="common")
def bitwise_left_shift(xp: Any, x: Array, y: Array) -> Any:
    """``x << y`` of integers.

    Raises:
        DtypeError: others.
    """
    _shifts("bitwise_left_shift", x, y)
    return xp.left_shift(x, y), None


@op(promote="common")
def bitwise_right_shift(xp: Any, x: Array, y: Array) -> Any:
    """``x >> y`` of integers, with the sign kept.

    Raises:
        DtypeError: others.
    """
    _shifts("bitwise_right_shift", x, y)
    return xp.right_shift(x, y), None


@op
def isposinf(xp: Any, x: Array) -> Any:
    """Whether it is positive infinity."""
    return xp.isinf(x) & (x > 0), None


@op
def isneginf(xp: Any, x: Array) -> Any:
    """Whether it is negative infinity."""
    return xp.isinf(x) & (x < 0), None


@op
def signbit(xp: Any, x: Array) -> Any:
    """Whether the sign is negative, also of -0."""
    return (xp.signbit(x) if dtypes.category(x.dtype) == dtypes.FLOATING else x < 0), None


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


def where(condition: Tensor, x: Any = None, y: Any = None) -> Any:
    """``x`` where ``condition`` is true, else ``y``; without both the places where it is true.

    Args:
        condition: A bool tensor that broadcasts with both.
        x: Tensor or number.
        y: Tensor or number.

    Returns:
        A tensor; for ``condition`` alone a tensor of positions per dim.

    Raises:
        DtypeError: ``condition`` is not bool.
        TypeError: only one of ``x`` and ``y`` is given.
    """
    if x is None and y is None:
        return nonzero(condition, as_tuple=True)
    if x is None or y is None:
        raise TypeError("where: expected both x and y, or neither")
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
