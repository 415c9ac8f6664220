"""Activation layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flownn.inplace import replace
from flownn.nn.arguments import softmax_axis
from flownn.nn.modules.module import Module
from flownn.ops import activation
from flownn.ops import softmax as softmaxes
from flownn.tensor import Tensor

__all__ = ["LogSoftmax", "ReLU", "Softmax"]


class Activation(Module):
    """Base class of activations: keeps the attributes, calls ``op`` with them, prints them in ``repr``.

    Args:
        inplace: Write the result into the input's memory.
        attrs: Keyword arguments of the op.
    """

    op: ClassVar[Callable[..., Any]]

    def __init__(self, *, inplace: bool = False, **attrs: Any) -> None:
        super().__init__()
        self.inplace = inplace
        self._attrs = attrs
        for name, value in attrs.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to each element."""
        if self.inplace:
            replace(input, f"{type(self).__name__}(inplace=True)", type(self).op, **self._attrs)
            return input
        result: Tensor = type(self).op(input, **self._attrs)
        return result

    def extra_repr(self) -> str:
        """The attributes, and ``inplace`` where it is set."""
        parts = [f"{name}={value}" for name, value in self._attrs.items()]
        return ", ".join([*parts, "inplace=True"] if self.inplace else parts)


class ReLU(Activation):
    """Replace negative elements by zero.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Reference:
        ``torch.nn.ReLU``.

    >>> import flownn as flow
    >>> ReLU()(flow.tensor([1.0, -2.0, 3.0]))
    tensor([1., 0., 3.], dtype=flownn.float32)
    """

    op = staticmethod(activation.relu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class _SoftmaxBase(Module):
    op: ClassVar[Callable[..., Any]]

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Normalise along ``dim``."""
        result: Tensor = type(self).op(input, axis=softmax_axis(type(self).__name__, self.dim, input.data.ndim))
        return result

    def extra_repr(self) -> str:
        """The dim."""
        return f"dim={self.dim}"


class Softmax(_SoftmaxBase):
    """Turn scores into probabilities: exponentials that sum to 1 along a dim.

    Args:
        dim: Along which; None means 0 for inputs with 0, 1 or 3 dims, else 1.

    Shape:
        Input of any shape; output the same.

    Raises:
        ShapeError: the input does not have the dim.

    Reference:
        ``torch.nn.Softmax``.

    >>> import flownn as flow
    >>> Softmax(dim=1)(flow.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], dtype=flownn.float32)
    """

    op = staticmethod(softmaxes.softmax)


class LogSoftmax(_SoftmaxBase):
    """Take the logarithm of the softmax along a dim, exact also where the softmax underflows.

    Args:
        dim: Along which; None means 0 for inputs with 0, 1 or 3 dims, else 1.

    Shape:
        Input of any shape; output the same.

    Raises:
        ShapeError: the input does not have the dim.

    Reference:
        ``torch.nn.LogSoftmax``.

    >>> import flownn as flow
    >>> LogSoftmax(dim=1)(flow.zeros(1, 4))
    tensor([[-1.3863, -1.3863, -1.3863, -1.3863]], dtype=flownn.float32)
    """

    op = staticmethod(softmaxes.log_softmax)
