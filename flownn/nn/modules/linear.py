"""Linear layers."""

from __future__ import annotations

import math
from typing import Any

from flownn.errors import ShapeError
from flownn.nn import functional as F
from flownn.nn import init
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.tensor import Tensor

__all__ = ["Identity", "Linear"]


class Linear(Module):
    """Multiply by a learned matrix and add a learned vector: ``x @ weight.T + bias``.

    Args:
        in_features: Size of the input's last dim; may be 0.
        out_features: Size of the output's last dim; may be 0.
        bias: Whether to add a learned vector.

    Shape:
        Input (..., in_features); output (..., out_features). ``weight`` is (out_features, in_features).

    Raises:
        ShapeError: the input's last dim has another size.

    Reference:
        ``torch.nn.Linear``, initial values included.

    >>> import flownn as flow
    >>> Linear(20, 30, False)(flow.randn(128, 20)).shape
    flownn.Size([128, 30])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        if min(in_features, out_features) < 0:
            raise ValueError(f"Linear: expected in_features and out_features >= 0, got {in_features}, {out_features}")
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty_parameter(out_features, in_features)
        self.register_parameter("bias", empty_parameter(out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-k, k), k = 1 / sqrt(in_features)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Transform the last dim of ``input``."""
        shape = input.data.shape
        if not shape or shape[-1] != self.in_features:
            raise ShapeError(f"Linear: expected input (..., {self.in_features}), got shape {tuple(shape)}")
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """All arguments."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Return the input as it is; a placeholder for another module.

    Args:
        args: Anything; the arguments of the module it stands for can stay.
        kwargs: Likewise.

    Shape:
        Input of any shape; output the same tensor.

    Reference:
        ``torch.nn.Identity``.

    >>> import flownn as flow
    >>> Identity(54, unused=0.1)(flow.ones(2))
    tensor([1., 1.], dtype=flownn.float32)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return ``input``."""
        return input
