"""Several layers in one module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from flownn.errors import DtypeError, ShapeError
from flownn.nn import functional as F
from flownn.nn import init
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.tensor import Tensor

__all__ = ["FusedMLP"]


class FusedMLP(Module):
    """Apply linear layers one after the other, with rectifiers between them and after the last.

    Args:
        in_features: Size of the input's last dim.
        hidden_features: Size of the last dim after every layer but the last.
        out_features: Size of the output's last dim.
        skip_final_activation: Leave out the rectifier after the last layer.

    Shape:
        Input (..., in_features); output (..., out_features). Layer i has the parameters ``weight_i`` (its outputs, its
        inputs) and ``bias_i`` (its outputs).

    Raises:
        ValueError: a size below 1.
        ShapeError: the input's last dim has another size.

    Reference:
        ``oneflow.nn.FusedMLP``, initial values included: those of `Linear`.

    >>> import flownn as flow
    >>> FusedMLP(128, [256, 512], 1024)(flow.randn(1, 128)).shape
    flownn.Size([1, 1024])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        skip_final_activation: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(hidden_features, Sequence) or not all(hasattr(size, "__index__") for size in hidden_features):
            raise DtypeError(f"FusedMLP: expected hidden_features as a sequence of ints, got {hidden_features!r}")
        if min(in_features, *hidden_features, out_features) < 1:
            raise ValueError(
                f"FusedMLP: expected positive sizes, got {in_features}, {hidden_features} and {out_features}"
            )
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.out_features = out_features
        self.skip_final_activation = skip_final_activation
        self.hidden_layer_num = len(hidden_features)
        self.add_parameters()
        self.reset_parameters()

    def add_parameters(self) -> None:
        """Register a weight and a bias per layer, whose values are still to be set."""
        sizes = [self.in_features, *self.hidden_features, self.out_features]
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            self.register_parameter(f"weight_{i}", empty_parameter(outputs, inputs))
            self.register_parameter(f"bias_{i}", empty_parameter(outputs))

    def reset_parameters(self) -> None:
        """Draw weights and biases from U(-k, k), k = 1 / sqrt(the layer's inputs)."""
        for weight, bias in zip(self.weights(), self.biases(), strict=True):
            init.kaiming_uniform_(weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(weight.data.shape[1])
            init.uniform_(bias, -bound, bound)

    def weight(self, i: int) -> Parameter:
        """The weight of layer i, counted from 0."""
        parameter: Parameter = getattr(self, f"weight_{i}")
        return parameter

    def weights(self) -> list[Parameter]:
        """The weights of all layers."""
        return [self.weight(i) for i in range(self.hidden_layer_num + 1)]

    def bias(self, i: int) -> Parameter:
        """The bias of layer i, counted from 0."""
        parameter: Parameter = getattr(self, f"bias_{i}")
        return parameter

    def biases(self) -> list[Parameter]:
        """The biases of all layers."""
        return [self.bias(i) for i in range(self.hidden_layer_num + 1)]

    def forward(self, input: Tensor) -> Tensor:
        """Apply all layers to ``input``."""
        shape = tuple(input.data.shape)
        if not shape or shape[-1] != self.in_features:
            raise ShapeError(f"FusedMLP: expected input (..., {self.in_features}), got shape {shape}")
        x = input
        for i, (weight, bias) in enumerate(zip(self.weights(), self.biases(), strict=True)):
            x = F.linear(x, weight, bias)
            if i < self.hidden_layer_num or not self.skip_final_activation:
                x = F.relu(x)
        return x

    def extra_repr(self) -> str:
        """All arguments."""
        return (
            f"in_features={self.in_features}, hidden_features={self.hidden_features}, "
            f"out_features={self.out_features}, skip_final_activation={self.skip_final_activation}"
        )
