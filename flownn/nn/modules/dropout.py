"""Dropout layers."""

from __future__ import annotations

from flownn.nn import functional as F
from flownn.nn.modules.module import Module
from flownn.random import Generator
from flownn.tensor import Tensor

__all__ = ["Dropout"]


class Dropout(Module):
    """Zero random elements in training mode, and scale the others up so that the mean stays.

    Args:
        p: Probability of zeroing an element.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input of any shape; output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        DtypeError: the input is not floating point.

    Reference:
        Srivastava et al., 2014; ``torch.nn.Dropout``.

    >>> import flownn as flow
    >>> Dropout(p=0)(flow.ones(2, 2))
    tensor([[1., 1.],
            [1., 1.]], dtype=flownn.float32)
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, generator: Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: expected a probability p between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of ``input``."""
        return F.dropout(input, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        """Probability and whether in place."""
        return f"p={self.p}, inplace={self.inplace}"
