"""Attention layers."""

from __future__ import annotations

from flownn.nn import init
from flownn.nn.functional.attention import each_once, multi_head_attention_forward
from flownn.nn.modules.linear import Linear
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.random import Generator
from flownn.tensor import Tensor

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Let every position of the query collect values from the positions of the key that fit it, in several heads.

    Args:
        embed_dim: Features E of the query and the result.
        num_heads: Parts of E / num_heads features that attend independently; divides E.
        dropout: Probability of dropping a weight in training.
        bias: Whether the projections add learned vectors.
        add_bias_kv: Whether to add a learned key and value that every position may see.
        add_zero_attn: Whether to add a key and value of zeros.
        kdim: Features of the key; None means E.
        vdim: Features of the value; None means E.
        batch_first: Whether the batch is the first dim of the inputs and the result instead of the second.
        generator: Where dropout draws from; None means the default generator.

    Shape:
        Query (L, N, E), key (S, N, kdim), value (S, N, vdim); result (L, N, E) and weights (N, L, S), or
        (N, num_heads, L, S) not averaged. With ``batch_first`` (N, L, E) and so on, without batch (L, E) and so on.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dim``, or ``dropout`` is no probability.
        ShapeError: inputs or masks that do not fit together.
        DtypeError: a mask of integers.

    Reference:
        Vaswani et al., 2017; ``torch.nn.MultiheadAttention``, names of parameters and initial values included. Where
        all keys are hidden the weights are 0, there nan.

    >>> import flownn as flow
    >>> x = flow.randn(2, 5, 16)
    >>> y, weights = MultiheadAttention(16, num_heads=4, batch_first=True)(x, x, x)
    >>> y.shape, weights.shape
    (flownn.Size([2, 5, 16]), flownn.Size([2, 5, 5]))
    """

    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if min(embed_dim, num_heads) < 1 or embed_dim % num_heads:
            raise ValueError(
                "MultiheadAttention: expected a positive embed_dim that num_heads divides, "
                f"got {embed_dim} and {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: expected a probability dropout between 0 and 1, got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        self.generator = generator
        separate = self.kdim != embed_dim or self.vdim != embed_dim
        for name, features in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", empty_parameter(embed_dim, features) if separate else None)
        self.register_parameter("in_proj_weight", None if separate else empty_parameter(3 * embed_dim, embed_dim))
        self.register_parameter("in_proj_bias", empty_parameter(3 * embed_dim) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, empty_parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights by Xavier's rule, and set biases to 0 (those of keys and values are drawn)."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for more in (self.bias_k, self.bias_v):
            if more is not None:
                init.xavier_normal_(more)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: Who collects.
            key: What is compared with the query.
            value: What is collected.
            key_padding_mask: (N, S), or (S,) without batch. True hides a key; floating point is added to the scores.
            need_weights: Whether to return the weights; without, they are never in memory as a whole.
            attn_mask: (L, S) or (N * num_heads, L, S). True hides; floating point is added to the scores.
            average_attn_weights: Whether to return the mean of the weights over heads.
            is_causal: Says that ``attn_mask`` is the causal mask, which then need not be read.

        Returns:
            The result and the weights, None unless needed.
        """
        swap = self.batch_first and query.data.ndim == 3
        if swap:
            query, key, value = each_once(lambda x: x.transpose(0, 1), query, key, value)
        result, weights = multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=self.in_proj_weight is None,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            generator=self.generator,
        )
        return (result.transpose(0, 1) if swap else result), weights
