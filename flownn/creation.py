"""Making tensors: from values, filled, counted, drawn at random."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.errors import DtypeError, ShapeError
from flownn.graph import wrap
from flownn.ops.axes import sizes_of
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor, host_array


def _finish(array: Any, device: Any, requires_grad: bool) -> Tensor:
    result: Tensor = wrap(backend.to_device(array, backend.device(device or "cpu")))
    return result.requires_grad_() if requires_grad else result


def _kind(dtype: Any) -> np.dtype[Any]:
    return (dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)).dtype


def _sizes(name: str, sizes: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    """The shape that was given, by position or by name."""
    if size is None:
        return sizes_of(name, sizes)
    if sizes:
        raise ShapeError(f"{name}: expected sizes or size=, got {sizes} and {size}")
    return sizes_of(name, (tuple(size),))


# ---------------------------------------------------------------- from values


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of the values.

    Args:
        data: A number, nested sequences of numbers, an array or a tensor.
        dtype: Element type; None keeps an array's, and of Python values floats become the default type, integers
            int64.
        device: Where to keep it; None means the cpu, or where ``data`` is.
        requires_grad: Whether ops on it are recorded.

    Raises:
        DtypeError: the values are of a type that tensors cannot hold.
        ShapeError: nested sequences have different lengths.

    >>> tensor([[1, 2], [3, 4]]).dtype, tensor(2.5)
    (flownn.int64, tensor(2.5000, dtype=flownn.float32))
    """
    array = host_array("tensor", data, None if dtype is None else _kind(dtype))
    return _finish(array, device or backend.device_of(array), requires_grad)


def as_tensor(data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The values as a tensor, without a copy where they are a tensor or an array of the wanted kind.

    Args:
        data: A number, nested sequences of numbers, an array or a tensor.
        dtype: Element type; None keeps it as `tensor` does.
        device: Where to keep it; None means where it is.

    Raises:
        DtypeError: the values are of a type that tensors cannot hold.
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype=dtype, device=device)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of a NumPy array: changes show in both.

    Raises:
        DtypeError: not a NumPy array, or of a type that tensors cannot hold, or not in native byte order.
    """
    if not isinstance(array, np.ndarray):
        raise DtypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    if dtypes.as_dtype(array.dtype).dtype != array.dtype:
        raise DtypeError(f"from_numpy: expected native byte order, got {array.dtype.str}; convert with astype")
    result: Tensor = wrap(np.asarray(array))
    return result


def from_dlpack(source: Any) -> Tensor:
    """A tensor over the memory of anything in host memory that speaks DLPack, such as a PyTorch tensor.

    Raises:
        DtypeError: of a type that tensors cannot hold.
    """
    return from_numpy(np.from_dlpack(source))


# ---------------------------------------------------------------- filled


def full(
    size: int | Sequence[int],
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value.

    Args:
        size: Sizes.
        fill_value: The value.
        dtype: Element type; None takes it from the value as `tensor` does.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    kind = dtypes.result_dtype((fill_value,)) if dtype is None else _kind(dtype)
    return _finish(np.full(sizes_of("full", (size,)), fill_value, kind), device, requires_grad)


def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Args:
        *sizes: Sizes, or one sequence of them.
        size: The sequence by name.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.

    >>> zeros(2, 3).shape
    flownn.Size([2, 3])
    """
    return _finish(np.zeros(_sizes("zeros", sizes, size), _kind(dtype)), device, requires_grad)


def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    Args:
        *sizes: Sizes, or one sequence of them.
        size: The sequence by name.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    return _finish(np.ones(_sizes("ones", sizes, size), _kind(dtype)), device, requires_grad)


def empty(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose values are whatever the memory holds.

    Args:
        *sizes: Sizes, or one sequence of them.
        size: The sequence by name.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    return _finish(np.empty(_sizes("empty", sizes, size), _kind(dtype)), device, requires_grad)


def _like(other: Tensor, dtype: Any, device: Any, requires_grad: bool) -> dict[str, Any]:
    return {
        "dtype": dtype or other.dtype,
        "device": device or other.device,
        "requires_grad": requires_grad,
    }


def full_like(
    other: Tensor, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`full` with the shape and, unless given, the type and device of another tensor."""
    return full(other.shape, fill_value, **_like(other, dtype, device, requires_grad))


def zeros_like(other: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`zeros` with the shape and, unless given, the type and device of another tensor."""
    return zeros(other.shape, **_like(other, dtype, device, requires_grad))


def ones_like(other: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`ones` with the shape and, unless given, the type and device of another tensor."""
    return ones(other.shape, **_like(other, dtype, device, requires_grad))


def empty_like(other: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`empty` with the shape and, unless given, the type and device of another tensor."""
    return empty(other.shape, **_like(other, dtype, device, requires_grad))


# ---------------------------------------------------------------- counted


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from ``start`` up to but without ``end``, ``step`` apart; with one argument from 0 up to it.

    Args:
        start: First number.
        end: Where to stop.
        step: Distance, not 0.
        dtype: Element type; None means int64 for integers and the default floating point type otherwise.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.

    Raises:
        ValueError: ``step`` is 0 or leads away from ``end``.

    >>> arange(3)
    tensor([0, 1, 2], dtype=flownn.int64)
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) / step < 0:
        raise ValueError(f"arange: a step of {step} does not lead from {start} to {end}")
    whole = builtins.all(isinstance(each, int) for each in (start, end, step))
    kind = dtypes.int64.dtype if dtype is None and whole else _kind(dtype)
    return _finish(np.arange(start, end, step).astype(kind), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` numbers at equal distances, the first ``start``, the last ``end``.

    Args:
        start: First number.
        end: Last number.
        steps: How many.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    return _finish(np.linspace(start, end, steps).astype(_kind(dtype)), device, requires_grad)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` powers of ``base`` whose exponents go from ``start`` to ``end`` at equal distances.

    Args:
        start: First exponent.
        end: Last exponent.
        steps: How many.
        base: What is raised to these powers.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    return _finish((base ** np.linspace(start, end, steps)).astype(_kind(dtype)), device, requires_grad)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """Rows and columns, shape (2, n), of the elements of a matrix on and below a diagonal, in row-major order.

    Args:
        row: Rows of the matrix.
        col: Its columns.
        offset: 0 is the main diagonal; positive ones are above it.
        dtype: Element type.
        device: Where to keep it; None means the cpu.
    """
    return _finish(np.stack(np.tril_indices(row, offset, col)).astype(_kind(dtype)), device, False)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """Rows and columns, shape (2, n), of the elements of a matrix on and above a diagonal, in row-major order.

    Args:
        row: Rows of the matrix.
        col: Its columns.
        offset: 0 is the main diagonal; positive ones are above it.
        dtype: Element type.
        device: Where to keep it; None means the cpu.
    """
    return _finish(np.stack(np.triu_indices(row, offset, col)).astype(_kind(dtype)), device, False)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A matrix with ones on the diagonal and zeros elsewhere.

    Args:
        n: Rows.
        m: Columns; None means as many.
        dtype: Element type; None means the default floating point type.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    return _finish(np.eye(n, m, dtype=_kind(dtype)), device, requires_grad)


# ---------------------------------------------------------------- random


def _floating(name: str, dtype: Any) -> np.dtype[Any]:
    kind = _kind(dtype)
    if dtypes.category(kind) != dtypes.FLOATING:
        raise DtypeError(f"{name}: expected a floating point type, got {kind}")
    return kind


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1).

    Args:
        *sizes: Sizes, or one sequence of them.
        size: The sequence by name.
        generator: Where to draw from; None means the default generator. The numbers are the same on every device.
        dtype: Floating point type; None means the default one.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.

    Raises:
        DtypeError: ``dtype`` is no floating point type.
    """
    drawn = (generator or default_generator).uniform(_sizes("rand", sizes, size), _floating("rand", dtype))
    return _finish(drawn, device, requires_grad)


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn from the normal distribution with mean 0 and standard deviation 1.

    Args:
        *sizes: Sizes, or one sequence of them.
        size: The sequence by name.
        generator: Where to draw from; None means the default generator. The numbers are the same on every device.
        dtype: Floating point type; None means the default one.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.

    Raises:
        DtypeError: ``dtype`` is no floating point type.
    """
    drawn = (generator or default_generator).normal(_sizes("randn", sizes, size), _floating("randn", dtype))
    return _finish(drawn, device, requires_grad)


def randint(
    low: int,
    high: int | Sequence[int],
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers drawn uniformly from ``low`` to ``high - 1``; as ``randint(high, size)`` from 0.

    Args:
        low: Smallest integer.
        high: One more than the largest integer.
        size: Sizes.
        generator: Where to draw from; None means the default generator. The numbers are the same on every device.
        dtype: Element type; None means int64.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.

    Raises:
        ValueError: ``high`` is not above ``low``.
        ShapeError: no sizes.
    """
    if size is None:
        if isinstance(high, int):
            raise ShapeError(
                "randint: expected randint(low, high, size) or randint(high, size), with a sequence of sizes"
            )
        size = high
        low, high = 0, low
    if not isinstance(high, int) or high <= low:
        raise ValueError(f"randint: expected high above low, got {low} and {high}")
    drawn = (generator or default_generator).integers(low, high, sizes_of("randint", size))
    return _finish(drawn.astype(_kind(dtype or dtypes.int64), copy=False), device, requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers from 0 to ``n - 1`` in random order.

    Args:
        n: How many.
        generator: Where to draw from; None means the default generator. The numbers are the same on every device.
        dtype: Element type; None means int64.
        device: Where to keep it; None means the cpu.
        requires_grad: Whether ops on it are recorded.
    """
    drawn = (generator or default_generator).permutation(n)
    return _finish(drawn.astype(_kind(dtype or dtypes.int64), copy=False), device, requires_grad)


def rand_like(
    other: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`rand` with the shape and, unless given, the type and device of another tensor."""
    return rand(other.shape, generator=generator, **_like(other, dtype, device, requires_grad))


def randn_like(
    other: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randn` with the shape and, unless given, the type and device of another tensor."""
    return randn(other.shape, generator=generator, **_like(other, dtype, device, requires_grad))
