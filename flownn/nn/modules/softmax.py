"""Softmax layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flownn.nn.arguments import softmax_axis
from flownn.nn.modules.module import Module
from flownn.ops import activation
from flownn.ops import softmax as softmaxes
from flownn.tensor import Tensor

__all__ = ["LogSoftmax", "Softmax", "Softmin"]


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


class Softmin(_SoftmaxBase):
    """Turn costs into probabilities along a dim: the softmax of the negated input.

    Args:
        dim: Along which; None means 0 for inputs with 0, 1 or 3 dims, else 1.

    Shape:
        Input of any shape; output the same.

    Raises:
        ShapeError: the input does not have the dim.

    Reference:
        ``torch.nn.Softmin``.

    >>> import flownn as flow
    >>> Softmin(dim=0)(flow.tensor([0.0, 1.0]))
    tensor([0.7311, 0.2689], dtype=flownn.float32)
    """

    op = staticmethod(activation.softmin)


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
