"""Random layers as functions."""

from __future__ import annotations

from collections.abc import Callable

from flownn.errors import ShapeError
from flownn.inplace import replace
from flownn.ops import noise
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d"]


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
    return _drop("dropout", noise.dropout, input, p, training, inplace, generator)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Drop whole channels of sequences (N, C, L) or (C, L); arguments as in `dropout`."""
    return _drop_channels(1, input, (2, 3), p, training, inplace, generator)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Drop whole channels of images (N, C, H, W), or of (N, C, L) as PyTorch does; arguments as in `dropout`."""
    return _drop_channels(2, input, (3, 4), p, training, inplace, generator)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Drop whole channels of volumes (N, C, D, H, W) or (C, D, H, W); arguments as in `dropout`."""
    return _drop_channels(3, input, (4, 5), p, training, inplace, generator)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for `flownn.nn.SELU`; arguments as in `dropout`."""
    return _drop("alpha_dropout", noise.alpha_dropout, input, p, training, inplace, generator)


def _drop_channels(
    n: int,
    input: Tensor,
    dims: tuple[int, int],
    p: float,
    training: bool,
    inplace: bool,
    generator: Generator | None,
) -> Tensor:
    if input.ndim not in dims:
        raise ShapeError(f"dropout{n}d: expected {dims[0]} or {dims[1]} dims, got shape {tuple(input.data.shape)}")
    batched = n == 2 or input.ndim == dims[1]
    drawn = {"drawn_dims": 2 if batched else 1}
    return _drop(f"dropout{n}d", noise.dropout, input, p, training, inplace, generator, **drawn)


def _drop(
    name: str,
    op: Callable[..., Tensor],
    input: Tensor,
    p: float,
    training: bool,
    inplace: bool,
    generator: Generator | None,
    **attrs: int,
) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability p between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    draw = generator or default_generator
    if inplace:
        replace(input, f"{name}(inplace=True)", op, p=p, generator=draw, **attrs)
        return input
    return op(input, p=p, generator=draw, **attrs)
