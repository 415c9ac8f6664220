"""Activations as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flownn.inplace import replace
from flownn.nn.arguments import softmax_axis
from flownn.ops import activation
from flownn.ops import softmax as softmaxes
from flownn.tensor import Tensor

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "threshold",
]


def _apply(name: str, op: Callable[..., Any], input: Tensor, inplace: bool = False, **attrs: Any) -> Tensor:
    if inplace:
        replace(input, f"{name}(inplace=True)", op, **attrs)
        return input
    result: Tensor = op(input, **attrs)
    return result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; with ``inplace`` in the memory of ``input``."""
    return _apply("relu", activation.relu, input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(input, 0), 6)``; with ``inplace`` in the memory of ``input``."""
    return _apply("relu6", activation.hardtanh, input, inplace, min_val=0.0, max_val=6.0)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``negative_slope * input`` elsewhere."""
    return _apply("leaky_relu", activation.leaky_relu, input, inplace, negative_slope=negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, ``weight * input`` elsewhere; ``weight`` has 1 element, or 1 per channel (dim 1)."""
    return _apply("prelu", lambda x: activation.prelu(x, weight), input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input) - 1)`` elsewhere."""
    return _apply("elu", activation.elu, input, inplace, alpha=alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere; ``alpha`` is not 0."""
    return _apply("celu", activation.celu, input, inplace, alpha=alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalizing `elu`; see `flownn.nn.SELU`."""
    return _apply("selu", activation.selu, input, inplace)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``, without overflow."""
    return _apply("sigmoid", activation.sigmoid, input)


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(input))``, exact also where the sigmoid underflows."""
    return _apply("logsigmoid", activation.log_sigmoid, input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return _apply("tanh", activation.tanh, input)


def softsign(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / (1 + abs(input))``."""
    return _apply("softsign", activation.softsign, input, inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``, and ``input`` itself where ``beta * input`` exceeds ``threshold``."""
    return _apply("softplus", activation.softplus, input, beta=beta, threshold=threshold)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``."""
    return _apply("silu", activation.silu, input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))``."""
    return _apply("mish", activation.mish, input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input`` times the normal distribution function of it; ``approximate`` is "none" or "tanh"."""
    return _apply("gelu", activation.gelu, input, approximate=approximate)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of ``input`` along ``dim`` times the sigmoid of the second."""
    return _apply("glu", activation.glu, input, dim=dim)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input``, but not below ``min_val`` and not above ``max_val``."""
    return _apply("hardtanh", activation.hardtanh, input, inplace, min_val=min_val, max_val=max_val)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it exceeds ``threshold``, ``value`` elsewhere."""
    return _apply("threshold", activation.threshold, input, inplace, threshold=threshold, value=value)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / 6 + 1 / 2``, but not below 0 and not above 1."""
    return _apply("hardsigmoid", activation.hardsigmoid, input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)``."""
    return _apply("hardswish", activation.hardswish, input, inplace)


def hardshrink(input: Tensor, lambd: float = 0.5, inplace: bool = False) -> Tensor:
    """``input``, but 0 from ``-lambd`` to ``lambd``."""
    return _apply("hardshrink", activation.hardshrink, input, inplace, lambd=lambd)


def softshrink(input: Tensor, lambd: float = 0.5, inplace: bool = False) -> Tensor:
    """``input`` moved towards 0 by ``lambd``, but not across."""
    return _apply("softshrink", activation.softshrink, input, inplace, lambd=lambd)


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``; None means 0 for 0, 1 or 3 dims, else 1."""
    return softmaxes.softmax(input, axis=softmax_axis("softmax", dim, input.data.ndim))


def softmin(input: Tensor, dim: int | None = None) -> Tensor:
    """``softmax(-input, dim)``: the smallest element gets the largest share."""
    return activation.softmin(input, axis=softmax_axis("softmin", dim, input.data.ndim))


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``log(softmax(input, dim))``, exact also where the softmax underflows."""
    return softmaxes.log_softmax(input, axis=softmax_axis("log_softmax", dim, input.data.ndim))
