"""What transformers share."""

from __future__ import annotations

from flownn import nn
from flownn.nn import functional as F
from flownn.nn import init
from flownn.tensor import Tensor

__all__ = ["check_sizes", "draw_weights", "self_attention"]


def check_sizes(name: str, **sizes: int) -> None:
    """Raise ValueError unless all sizes are positive and ``heads`` divides ``width``."""
    for argument, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: expected {argument} of at least 1, got {size}")
    if sizes["width"] % sizes["heads"]:
        raise ValueError(f"{name}: expected a width that heads divides, got {sizes['width']} and {sizes['heads']}")


def self_attention(projected: Tensor, heads: int, dropout_p: float = 0.0, is_causal: bool = False) -> Tensor:
    """Attend among the positions of (N, T, 3 * width), which holds queries, keys and values; gives (N, T, width)."""
    query, key, value = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in projected.chunk(3, -1))
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_p, is_causal=is_causal)
    return mixed.transpose(1, 2).flatten(2)


def draw_weights(module: nn.Module, std: float = 0.02) -> None:
    """Draw the weight of a linear layer or an embedding from N(0, std), and set its bias to 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        init.zeros_(module.bias)
