"""Initial values of parameters. Every function changes its tensor in place, without recording it, and returns it.

Values are drawn on the host, so that one seed gives the same parameters on every device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flownn import backend
from flownn.autograd import mark_overwritten
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "fans",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def _fill(tensor: Tensor, values: Any, by: str) -> Tensor:
    array = tensor.data
    if isinstance(values, np.ndarray):
        values = backend.to_device(values, backend.device_of(array))
    array[...] = values
    mark_overwritten(array, by)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    return _fill(tensor, val, "constant_")


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return _fill(tensor, 0, "zeros_")


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return _fill(tensor, 1, "ones_")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw evenly from ``a`` to ``b``."""
    drawn = (generator or default_generator).uniform(tensor.data.shape, tensor.data.dtype)
    return _fill(tensor, a + (b - a) * drawn, "uniform_")


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from the normal distribution."""
    drawn = (generator or default_generator).normal(tensor.data.shape, tensor.data.dtype)
    return _fill(tensor, mean + std * drawn, "normal_")


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs feed one output of a weight (out, in, *kernel_size), and how many outputs one input feeds.

    Raises:
        ValueError: fewer than two dims.
    """
    shape = tensor.data.shape
    if len(shape) < 2:
        raise ValueError(f"fans: expected a weight with at least 2 dims, got shape {tuple(shape)}")
    positions = math.prod(shape[2:])
    return shape[1] * positions, shape[0] * positions


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through an activation.

    Args:
        nonlinearity: Name such as "relu", "leaky_relu", "tanh", "linear".
        param: Negative slope of "leaky_relu"; None means 0.01.

    Raises:
        ValueError: an unknown name.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: expected one of leaky_relu, {', '.join(_GAINS)}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan or 1)  # with 0 there is nothing to draw


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draw evenly, with the variance that keeps that of the signal (He et al., 2015).

    Args:
        tensor: The weight.
        a: Negative slope of the activation that follows, for "leaky_relu".
        mode: "fan_in" keeps the variance forward, "fan_out" backward.
        nonlinearity: The activation that follows.
        generator: Where to draw from; None means the default generator.
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draw from a normal distribution with the variance that keeps that of the signal; see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw evenly, with a variance between those that keep the signal's forward and backward (Glorot, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from a normal distribution; see `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)
