"""Padding as a function."""

from __future__ import annotations

from collections.abc import Sequence

from flownn.nn.arguments import pad_pairs
from flownn.ops import pad as pad_ops
from flownn.tensor import Tensor

__all__ = ["pad"]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """Extend the last dims of ``input``.

    Args:
        input: Any tensor.
        pad: Elements (left, right) of the last dim, then of the one before it, and so on.
        mode: "constant", "reflect", "replicate" or "circular".
        value: What new elements hold in mode "constant"; there negative numbers crop.

    Raises:
        ShapeError: more dims than ``input`` has, or more elements than the mode can read.
    """
    result: Tensor = pad_ops.pad(input, padding=pad_pairs(pad, "pad"), mode=mode, value=value)
    return result
