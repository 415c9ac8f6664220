"""A module's weight as a length times a direction, both of them trained."""

from __future__ import annotations

from typing import Any, TypeVar

from flownn import backend
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter
from flownn.ops.axes import axis_of
from flownn.ops.weight_norm import norm_except
from flownn.ops.weight_norm import weight_norm as normalized
from flownn.tensor import Tensor

__all__ = ["remove_weight_norm", "weight_norm"]

_AnyModule = TypeVar("_AnyModule", bound=Module)


class _WeightNorm:
    """Hook before ``forward`` that computes the weight ``name`` from ``name_g`` and ``name_v``."""

    def __init__(self, name: str, axis: int | None) -> None:
        self.name = name
        self.axis = axis

    def weight(self, module: Module) -> Tensor:
        v, g = getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g")
        return normalized(v, g, axis=self.axis)

    def __call__(self, module: Module, args: Any) -> None:
        setattr(module, self.name, self.weight(module))


def _hooks(module: Module, name: str) -> list[tuple[int, _WeightNorm]]:
    found = ((key, hook) for key, (hook, _) in module._forward_pre_hooks.items())
    return [(key, hook) for key, hook in found if isinstance(hook, _WeightNorm) and hook.name == name]


def weight_norm(module: _AnyModule, name: str = "weight", dim: int | None = 0) -> _AnyModule:
    """Replace a weight w by a length g and a direction v, from which ``w = g * v / ||v||`` before every ``forward``.

    Args:
        module: Whose weight; it is changed, and returned.
        name: Name of the parameter; ``name_g`` and ``name_v`` take its place.
        dim: Dim that keeps a length of its own for each entry; None, or -1 as in PyTorch, for one length of it all.

    Raises:
        RuntimeError: the weight is normalised already.
        AttributeError: there is no parameter of this name.

    Reference:
        Salimans & Kingma, 2016; ``torch.nn.utils.weight_norm``.

    >>> from flownn import nn
    >>> layer = weight_norm(nn.Linear(20, 40))
    >>> layer.weight_g.shape, layer.weight_v.shape
    (flownn.Size([40, 1]), flownn.Size([40, 20]))
    """
    if _hooks(module, name):
        raise RuntimeError(f"weight_norm: {name!r} of this {type(module).__name__} is normalised already")
    weight = module._parameters.get(name)
    if weight is None:
        raise AttributeError(f"weight_norm: {type(module).__name__} has no parameter {name!r}")
    axis = None if dim is None or dim == -1 else axis_of("weight_norm", weight.ndim, dim)
    length = norm_except(backend.array_module(weight.data), weight.data, axis)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(length.astype(weight.data.dtype, copy=False)))
    module.register_parameter(f"{name}_v", Parameter(weight))
    hook = _WeightNorm(name, axis)
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: _AnyModule, name: str = "weight") -> _AnyModule:
    """Make the weight that `weight_norm` replaced a parameter again, with its present value.

    Args:
        module: Whose weight; it is changed, and returned.
        name: Name of the parameter.

    Raises:
        ValueError: there is no such normalised weight.

    >>> from flownn import nn
    >>> remove_weight_norm(weight_norm(nn.Linear(20, 40)))
    Linear(in_features=20, out_features=40, bias=True)
    """
    for key, hook in _hooks(module, name):
        value = hook.weight(module)
        for each in (name, f"{name}_g", f"{name}_v"):
            delattr(module, each)
        module.register_parameter(name, Parameter(value))
        del module._forward_pre_hooks[key]
        return module
    raise ValueError(f"remove_weight_norm: {name!r} of this {type(module).__name__} is not normalised")
