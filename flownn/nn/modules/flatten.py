"""Layers that only change the shape."""

from __future__ import annotations

from flownn.nn.modules.module import Module
from flownn.ops.shape import flatten
from flownn.tensor import Tensor

__all__ = ["Flatten"]


class Flatten(Module):
    """Join a range of dims into one.

    Args:
        start_dim: First dim to join.
        end_dim: Last dim to join.

    Shape:
        Input (N, d1, ..., dk); output (N, d1 * ... * dk) with the defaults.

    Reference:
        ``torch.nn.Flatten``.

    >>> import flownn as flow
    >>> Flatten()(flow.randn(32, 1, 5, 5)).shape
    flownn.Size([32, 25])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Flatten ``input``."""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Both arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
