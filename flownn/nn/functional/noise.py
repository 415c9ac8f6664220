"""Random layers as functions."""

from __future__ import annotations

from flownn.inplace import replace
from flownn.ops import noise
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = ["dropout"]


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Zero elements with probability ``p`` in training and scale the others by ``1 / (1 - p)``.

    Args:
        input: Any floating point tensor.
        p: Probability of zeroing, 0 to 1.
        training: Without it ``input`` is returned.
        inplace: Write the result into the memory of ``input``.
        generator: Where to draw from; None means the default generator.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability p between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    draw = generator or default_generator
    if inplace:
        replace(input, "dropout(inplace=True)", noise.dropout, p=p, generator=draw)
        return input
    result: Tensor = noise.dropout(input, p=p, generator=draw)
    return result
