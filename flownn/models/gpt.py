"""A transformer that tells the next token."""

from __future__ import annotations

import math

from flownn import nn
from flownn.creation import arange
from flownn.errors import ShapeError
from flownn.models.registry import register
from flownn.models.transformer import check_sizes, draw_weights, self_attention
from flownn.nn import init
from flownn.tensor import Tensor

__all__ = ["GPT"]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.resid_dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        p = self.dropout if self.training else 0.0
        mixed = self_attention(self.c_attn(input), self.heads, p, is_causal=True)
        result: Tensor = self.resid_dropout(self.c_proj(mixed))
        return result


class _Mlp(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.c_proj(self.gelu(self.c_fc(input))))
        return result


class _Block(nn.Module):
    """Attention to what came before and a two-layer network, each behind a norm and beside a short cut."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = input + self.attn(self.ln_1(input))
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


@register("gpt")
class GPT(nn.Module):
    """A transformer whose positions see only those before them: scores of the token that follows each.

    Args:
        vocab_size: Number of tokens.
        context: Number of positions, the longest input.
        width: Features of a position.
        depth: Number of blocks.
        heads: Parts of the features that attend independently; divides the width.
        dropout: Probability of dropping a feature behind the embeddings, the attention weights and the projections
            that end a block's short cuts.
        tie_weights: Whether the embedding of the tokens is also the matrix that scores them.

    Shape:
        Input: integers (N, T), T at most ``context``; output (N, T, vocab_size).

    Raises:
        ValueError: sizes below 1 or that do not divide.
        ShapeError: an input of another number of dims, or longer than the context.
        IndexError: a token outside the vocabulary.

    Reference:
        Radford et al., 2019; names of parameters, layers and initial values as in nanoGPT, whose linear weights are
        the transposes of those in OpenAI's files.

    >>> import flownn as flow
    >>> GPT(vocab_size=50, context=8, width=16, depth=1, heads=2)(flow.zeros(2, 5, dtype=flow.int64)).shape
    flownn.Size([2, 5, 50])
    """

    def __init__(
        self,
        vocab_size: int = 50257,
        context: int = 1024,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        dropout: float = 0.0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        check_sizes("GPT", vocab_size=vocab_size, context=context, width=width, depth=depth, heads=heads)
        self.context = context
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, width),
                "wpe": nn.Embedding(context, width),
                "drop": nn.Dropout(dropout),
                "h": nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth)),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        if tie_weights:
            self.transformer.wte.weight = self.lm_head.weight
        self.apply(draw_weights)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):  # so that the sum along the short cuts starts with one size
                init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the tokens that may follow."""
        shape = tuple(tokens.shape)
        if len(shape) != 2 or shape[1] > self.context:
            raise ShapeError(f"GPT: expected tokens (N, T) with T at most {self.context}, got {shape}")
        positions = arange(shape[1], device=tokens.device)
        x = self.transformer.drop(self.transformer.wte(tokens) + self.transformer.wpe(positions))
        for block in self.transformer.h:
            x = block(x)
        scores: Tensor = self.lm_head(self.transformer.ln_f(x))
        return scores
