"""Drawing from distributions that tensors describe. No gradient goes through a draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import backend, dtypes
from flownn.errors import DtypeError, ShapeError
from flownn.graph import TensorBase, wrap
from flownn.random import Generator, default_generator

if TYPE_CHECKING:
    from flownn.tensor import Tensor

_FLOAT64 = np.dtype(np.float64)


def _on_host(value: Any) -> Any:
    return backend.to_device(value.data, backend.CPU) if isinstance(value, TensorBase) else value


def _result(array: Any, dtype: Any, device: backend.device) -> Any:
    return wrap(backend.to_device(array.astype(dtype, copy=False), device))


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Numbers drawn from normal distributions.

    Args:
        mean: Centre, a number or a tensor.
        std: Standard deviation, a number or a tensor; both broadcast.
        size: Sizes, if and only if both are numbers.
        generator: Where to draw from; None means the default generator.
        dtype: Floating point type, for two numbers; None means the default one.
        device: Where to keep it, for two numbers; None means the cpu.

    Raises:
        ShapeError: ``size`` is missing, or given beside a tensor.
        ValueError: a negative standard deviation.
    """
    tensors = [each for each in (mean, std) if isinstance(each, TensorBase)]
    if bool(tensors) != (size is None):
        raise ShapeError("normal: expected a size for two numbers, and none beside a tensor")
    centre, width = _on_host(mean), _on_host(std)
    if np.any(np.asarray(width) < 0):
        raise ValueError("normal: expected standard deviations from 0")
    shape = np.broadcast_shapes(*(each.data.shape for each in tensors)) if tensors else tuple(size or ())
    kind = dtypes.as_dtype(dtype or (tensors[0].data.dtype if tensors else dtypes.get_default_dtype())).dtype
    place = backend.device(device or (backend.device_of(tensors[0].data) if tensors else "cpu"))
    drawn = (generator or default_generator).normal(shape, kind)
    result: Tensor = _result(drawn * width + centre, kind, place)
    return result


def bernoulli(x: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element is, else 0.

    Args:
        x: Probabilities, floating point, any shape.
        generator: Where to draw from; None means the default generator.

    Raises:
        DtypeError: ``x`` is not floating point.
        ValueError: a probability outside [0, 1].
    """
    if dtypes.category(x.data.dtype) != dtypes.FLOATING:
        raise DtypeError(f"bernoulli: expected floating point probabilities, got {x.data.dtype}")
    chance = _on_host(x)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("bernoulli: expected probabilities from 0 to 1")
    drawn = (generator or default_generator).uniform(chance.shape, _FLOAT64) < chance
    result: Tensor = _result(drawn, x.data.dtype, backend.device_of(x.data))
    return result


def multinomial(
    x: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Positions drawn with the probabilities that the last dim gives, as int64.

    Args:
        x: Weights from 0, shape (n,) or (rows, n); they need not add up to 1.
        num_samples: How many per row.
        replacement: Whether a position may be drawn again.
        generator: Where to draw from; None means the default generator.

    Raises:
        DtypeError: ``x`` is not floating point.
        ShapeError: another number of dims.
        ValueError: weights that are negative, not finite or all 0, or fewer positive ones than samples to draw.
    """
    shape = x.data.shape
    if dtypes.category(x.data.dtype) != dtypes.FLOATING:
        raise DtypeError(f"multinomial: expected floating point weights, got {x.data.dtype}")
    if len(shape) not in (1, 2):
        raise ShapeError(f"multinomial: expected weights (n,) or (rows, n), got shape {tuple(shape)}")
    weights = _on_host(x).astype(np.float64).reshape(-1, shape[-1])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=1) > 0).all()):
        raise ValueError("multinomial: expected finite weights from 0, with a positive sum in each row")
    if not 0 < num_samples or (not replacement and (np.count_nonzero(weights, axis=1) < num_samples).any()):
        raise ValueError(f"multinomial: cannot draw {num_samples} samples without more positive weights")
    source = generator or default_generator
    if replacement:
        ends = np.cumsum(weights, axis=1)
        drawn = source.uniform((len(weights), num_samples), _FLOAT64) * ends[:, -1:]
        found = (drawn[:, :, None] >= ends[:, None, :]).sum(axis=2)
    else:  # the smallest of exponential times belong to a draw without replacement (Efraimidis and Spirakis, 2006)
        times = -np.log1p(-source.uniform(weights.shape, _FLOAT64))
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(weights > 0, times / weights, np.inf)
        found = np.argsort(times, axis=1, kind="stable")[:, :num_samples]
    found = found.reshape(*shape[:-1], num_samples)
    result: Tensor = _result(found, dtypes.int64.dtype, backend.device_of(x.data))
    return result


def randint_like(
    other: Tensor,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Integers drawn uniformly from ``low`` to ``high - 1``; as ``randint_like(other, high)`` from 0.

    Args:
        other: Whose shape and, unless given, type and device the result has.
        low: Smallest integer.
        high: One more than the largest integer.
        generator: Where to draw from; None means the default generator.
        dtype: Element type.
        device: Where to keep it.

    Raises:
        ValueError: ``high`` is not above ``low``.
    """
    start, end = (0, low) if high is None else (low, high)
    if end <= start:
        raise ValueError(f"randint_like: expected high above low, got {start} and {end}")
    drawn = (generator or default_generator).integers(start, end, other.data.shape)
    kind = dtypes.as_dtype(dtype or other.data.dtype).dtype
    result: Tensor = _result(drawn, kind, backend.device(device or backend.device_of(other.data)))
    return result
