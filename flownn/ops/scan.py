"""Running sums, products and extremes along a dim."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import DtypeError
from flownn.kernels.accumulate import along_axis, sum_at
from flownn.ops.axes import also_as_in_numpy, axis_of
from flownn.ops.elementwise import cast
from flownn.ops.reduce import ValuesAndIndices

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def _sum_dtype(x: Array) -> Any:
    """Integers are added up as int64 and half precision as float32."""
    return dtypes.accumulator(x.dtype) if dtypes.category(x.dtype) == dtypes.FLOATING else dtypes.int64.dtype


def _from_end(xp: Any, x: Array, axis: int) -> Any:
    """The sum of each element and all after it."""
    return xp.flip(xp.cumsum(xp.flip(x, axis), axis=axis, dtype=_sum_dtype(x)), axis)


@op(quiet_floats=True)
def _cumsum(xp: Any, x: Array, *, axis: int) -> Any:
    dtype = _sum_dtype(x)
    if x.ndim == 0:
        return x.astype(dtype or x.dtype).astype(x.dtype if dtype != dtypes.int64.dtype else dtype), lambda g: (g,)
    y = xp.cumsum(x, axis=axis, dtype=dtype)
    return y if dtype == dtypes.int64.dtype else y.astype(x.dtype, copy=False), lambda g: (_from_end(xp, g, axis),)


@also_as_in_numpy
def cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Sum of all elements up to each along a dim; of integers and bools as int64.

    Args:
        x: Any shape.
        dim: Dim to sum along.
        dtype: Convert to this type first.

    Raises:
        ShapeError: there is no such dim.
    """
    if dtype is not None:
        x = cast(x, dtype=dtype)
    return _cumsum(x, axis=axis_of("cumsum", x.data.ndim, dim))


@op(quiet_floats=True)
def _cumprod(xp: Any, x: Array, *, axis: int) -> Any:
    dtype = _sum_dtype(x)
    shape = x.shape
    line = x.reshape(shape or (1,))
    y = xp.cumprod(line, axis=axis, dtype=dtype)

    def vjp(g: Array) -> Any:
        g = g.reshape(line.shape)
        zero = line == 0
        zeros = xp.cumsum(zero, axis=axis)
        before = zeros == 0
        first = zero & (zeros == 1)
        # the products from the first zero on, without it
        others = xp.cumprod(xp.where(first, 1, line), axis=axis, dtype=dtype)
        at_first = _from_end(xp, xp.where(before, 0, g * others), axis)
        gradient = xp.where(before, _from_end(xp, g * y, axis) / xp.where(zero, 1, line), 0)
        return (xp.where(first, at_first, gradient).reshape(shape),)

    return y.reshape(shape).astype(dtype if dtype == dtypes.int64.dtype else x.dtype, copy=False), vjp


@also_as_in_numpy
def cumprod(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Product of all elements up to each along a dim; of integers and bools as int64.

    Args:
        x: Any shape.
        dim: Dim to multiply along.
        dtype: Convert to this type first.

    Raises:
        ShapeError: there is no such dim.
    """
    if dtype is not None:
        x = cast(x, dtype=dtype)
    return _cumprod(x, axis=axis_of("cumprod", x.data.ndim, dim))


def _scan(arrays: tuple[Array, ...], axis: int, combine: Callable[..., tuple[Array, ...]]) -> None:
    """Combine each place with all before it, in place, in about log2(n) steps over whole arrays.

    ``combine(before, here)`` takes and returns a tuple of parts of the arrays and must be associative. NumPy and CuPy
    scan with sums and products only.
    """
    start, size, step = (slice(None),) * axis, arrays[0].shape[axis], 1
    while step < size:
        ahead, behind = (*start, slice(step, None)), (*start, slice(None, -step))
        combined = combine(tuple(each[behind] for each in arrays), tuple(each[ahead] for each in arrays))
        for array, values in zip(arrays, combined, strict=True):
            array[ahead] = values
        step *= 2


@op(tuple_output=True)
def _running_extreme(xp: Any, x: Array, *, axis: int, largest: bool) -> Any:
    shape = x.shape
    values = x.reshape(shape or (1,)).copy()
    places = xp.arange(values.shape[axis]).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    index = xp.zeros(values.shape, dtypes.int64.dtype) + places

    def later(before: tuple[Array, ...], here: tuple[Array, ...]) -> tuple[Array, ...]:
        wins = here[0] >= before[0] if largest else here[0] <= before[0]
        wins = wins | xp.isnan(here[0])
        return xp.where(wins, here[0], before[0]), xp.where(wins, here[1], before[1])

    _scan((values, index), axis, later)
    index = index.reshape(shape)

    def vjp(g: list[Any]) -> Any:
        return (sum_at(xp, shape, along_axis(xp, index, axis) or ..., g[0]),)

    return (values.reshape(shape), index), vjp


def cummax(x: Tensor, dim: int) -> ValuesAndIndices:
    """The largest element up to each along a dim, and where it is, of equal ones the last.

    Args:
        x: Any shape.
        dim: Dim to go along.

    Raises:
        ShapeError: there is no such dim.
    """
    return ValuesAndIndices(*_running_extreme(x, axis=axis_of("cummax", x.data.ndim, dim), largest=True))


def cummin(x: Tensor, dim: int) -> ValuesAndIndices:
    """The smallest element up to each along a dim, and where it is, of equal ones the last.

    Args:
        x: Any shape.
        dim: Dim to go along.

    Raises:
        ShapeError: there is no such dim.
    """
    return ValuesAndIndices(*_running_extreme(x, axis=axis_of("cummin", x.data.ndim, dim), largest=False))


def _log_sums(xp: Any, x: Array, axis: int) -> Any:
    y = x.copy()
    _scan((y,), axis, lambda before, here: (xp.logaddexp(before[0], here[0]),))
    return y


@op(quiet_floats=True)
def _logcumsumexp(xp: Any, x: Array, *, axis: int) -> Any:
    if dtypes.category(x.dtype) != dtypes.FLOATING:
        raise DtypeError(f"logcumsumexp: expected a floating point type, got {x.dtype}; convert with .float()")
    shape = x.shape
    wide = x.reshape(shape or (1,)).astype(dtypes.accumulator(x.dtype) or x.dtype)
    y = _log_sums(xp, wide, axis)

    def vjp(g: Array) -> Any:
        g = g.reshape(wide.shape)

        def part(positive: Array) -> Any:
            """``exp(x)`` times the sum from the end of ``positive * exp(-y)``, in logarithms."""
            logs = xp.flip(xp.log(positive) - y, axis)
            return xp.exp(xp.flip(_log_sums(xp, logs, axis), axis) + wide)

        return ((part(xp.maximum(g, 0)) - part(xp.maximum(-g, 0))).reshape(shape),)

    return y.reshape(shape).astype(x.dtype), vjp


def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """``log(cumsum(exp(x)))`` along a dim, without overflow.

    Args:
        x: Floating point, any shape.
        dim: Dim to sum along.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: there is no such dim.
    """
    return _logcumsumexp(x, axis=axis_of("logcumsumexp", x.data.ndim, dim))
