"""Drawing from distributions that tensors describe. No gradient goes through a draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.creation import randint, randn
from flownn.errors import DtypeError, ShapeError
from flownn.graph import wrap
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor


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
    tensors = [each for each in (mean, std) if isinstance(each, Tensor)]
    if bool(tensors) != (size is None):
        raise ShapeError("normal: expected a size for two numbers, and none beside a tensor")
    if (std < 0).any() if isinstance(std, Tensor) else std < 0:
        raise ValueError("normal: expected standard deviations from 0")
    if not tensors:
        drawn = randn(tuple(size or ()), generator=generator, dtype=dtype, device=device)
        drawn.mul_(std).add_(mean)
        return drawn
    shape = np.broadcast_shapes(*(each.data.shape for each in tensors))
    like = tensors[0]
    drawn = randn(shape, generator=generator, dtype=dtype or like.dtype, device=device or like.device)
    result: Tensor = drawn * _plain(std) + _plain(mean)
    return result


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def bernoulli(x: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element is, else 0.

    Args:
        x: Probabilities, floating point, any shape.
        generator: Where to draw from; None means the default generator.

    Raises:
        DtypeError: ``x`` is not floating point.
        ValueError: a probability outside [0, 1].
    """
    if not x.is_floating_point():
        raise DtypeError(f"bernoulli: expected floating point probabilities, got {x.dtype}")
    return x.detach().clone().bernoulli_(x, generator=generator)


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
    if not x.is_floating_point():
        raise DtypeError(f"multinomial: expected floating point weights, got {x.dtype}")
    if x.ndim not in (1, 2):
        raise ShapeError(f"multinomial: expected weights (n,) or (rows, n), got shape {tuple(x.shape)}")
    weights = backend.to_device(x.data, backend.CPU).astype(np.float64).reshape(-1, x.shape[-1])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=1) > 0).all()):
        raise ValueError("multinomial: expected finite weights from 0, with a positive sum in each row")
    if not 0 < num_samples or (not replacement and (np.count_nonzero(weights, axis=1) < num_samples).any()):
        raise ValueError(f"multinomial: cannot draw {num_samples} samples without more positive weights")
    source = generator or default_generator
    if replacement:
        ends = np.cumsum(weights, axis=1)
        drawn = source.uniform((len(weights), num_samples), np.dtype(np.float64)) * ends[:, -1:]
        found = (drawn[:, :, None] >= ends[:, None, :]).sum(axis=2)
    else:  # the smallest of exponential times belong to a draw without replacement (Efraimidis and Spirakis, 2006)
        times = -np.log1p(-source.uniform(weights.shape, np.dtype(np.float64)))
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(weights > 0, times / weights, np.inf)
        found = np.argsort(times, axis=1, kind="stable")[:, :num_samples]
    found = found.reshape(*x.shape[:-1], num_samples).astype(dtypes.int64.dtype, copy=False)
    result: Tensor = wrap(backend.to_device(found, x.device))
    return result


def randint_like(
    other: Tensor,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randint` with the shape and, unless given, the type and device of another tensor."""
    start, end = (0, low) if high is None else (low, high)
    return randint(
        start,
        end,
        tuple(other.shape),
        generator=generator,
        dtype=dtype or other.dtype,
        device=device or other.device,
        requires_grad=requires_grad,
    )
