"""Layers of the transformer of Vaswani et al., 2017, and stacks of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

from flownn.nn import functional as F
from flownn.nn.modules.attention import MultiheadAttention
from flownn.nn.modules.container import ModuleList
from flownn.nn.modules.dropout import Dropout
from flownn.nn.modules.layer_norm import LayerNorm
from flownn.nn.modules.linear import Linear
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]

Activation = str | Callable[[Tensor], Tensor]
_BY_NAME: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """What encoder and decoder layers share: self-attention, the two-layer network, and the order of norms."""

    attentions: tuple[str, ...]

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-05,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in _BY_NAME:
            raise ValueError(
                f"{type(self).__name__}: expected activation 'relu', 'gelu' or a function, got {activation!r}"
            )
        for name in self.attentions:
            attention = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first)
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias)
        self.norm_first = norm_first
        branches = range(1, len(self.attentions) + 2)
        for number in branches:
            self.add_module(f"norm{number}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias))
        for number in branches:
            self.add_module(f"dropout{number}", Dropout(dropout))
        self.activation = _BY_NAME[activation] if isinstance(activation, str) else activation

    def _feed_forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return result

    def _branch(self, number: int, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """``x`` plus what the branch makes of it, with the branch's norm before it or behind the sum."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        result: Tensor = x + dropout(branch(norm(x))) if self.norm_first else norm(x + dropout(branch(x)))
        return result


class TransformerEncoderLayer(_Layer):
    """Let positions attend to each other, then send each through a two-layer network; both beside short cuts.

    Args:
        d_model: Features E of a position.
        nhead: Heads of the attention; divides E.
        dim_feedforward: Hidden features of the network.
        dropout: Probability of dropping a feature or an attention weight in training.
        activation: Between the network's layers: "relu", "gelu" or a function.
        layer_norm_eps: Added to the norms' variances.
        batch_first: Whether the batch is the first dim instead of the second.
        norm_first: Whether norms come before attention and network, instead of behind the sums.
        bias: Whether linear layers and norms add learned vectors.

    Shape:
        Input (S, N, E), with ``batch_first`` (N, S, E), without batch (S, E); output the same.

    Raises:
        ValueError: another name of an activation, or arguments that `MultiheadAttention` refuses.
        ShapeError: an input or masks of other sizes.

    Reference:
        Vaswani et al., 2017; ``torch.nn.TransformerEncoderLayer``, names of parameters included.

    >>> import flownn as flow
    >>> TransformerEncoderLayer(16, nhead=4, dim_feedforward=32)(flow.randn(5, 2, 16)).shape
    flownn.Size([5, 2, 16])
    """

    attentions = ("self_attn",)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Apply the layer; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            mixed: Tensor = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
            return mixed

        return self._branch(2, self._branch(1, src, attend), self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Let positions attend to each other, then to a memory, then send each through a two-layer network.

    Args:
        d_model: Features E of a position.
        nhead: Heads of the attentions; divides E.
        dim_feedforward: Hidden features of the network.
        dropout: Probability of dropping a feature or an attention weight in training.
        activation: Between the network's layers: "relu", "gelu" or a function.
        layer_norm_eps: Added to the norms' variances.
        batch_first: Whether the batch is the first dim instead of the second.
        norm_first: Whether norms come before attentions and network, instead of behind the sums.
        bias: Whether linear layers and norms add learned vectors.

    Shape:
        Input (T, N, E) and memory (S, N, E), with ``batch_first`` (N, T, E) and (N, S, E); output like the input.

    Raises:
        ValueError: another name of an activation, or arguments that `MultiheadAttention` refuses.
        ShapeError: inputs or masks of other sizes.

    Reference:
        Vaswani et al., 2017; ``torch.nn.TransformerDecoderLayer``, names of parameters included.

    >>> import flownn as flow
    >>> layer = TransformerDecoderLayer(16, nhead=4, dim_feedforward=32)
    >>> layer(flow.randn(3, 2, 16), flow.randn(5, 2, 16)).shape
    flownn.Size([3, 2, 16])
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Apply the layer; masks as in `MultiheadAttention`, those of the memory between ``tgt`` and ``memory``."""

        def attend(x: Tensor) -> Tensor:
            mixed: Tensor = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            return mixed

        def remember(x: Tensor) -> Tensor:
            mixed: Tensor = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]
            return mixed

        return self._branch(3, self._branch(2, self._branch(1, tgt, attend), remember), self._feed_forward)


class TransformerEncoder(Module):
    """Encoder layers one after the other.

    Args:
        encoder_layer: The layer, of which every one starts as a copy.
        num_layers: Number of layers.
        norm: A module behind the last layer, or None.

    Shape:
        Input as the layer's; output the same.

    Raises:
        ValueError: ``num_layers`` is below 1.

    Reference:
        ``torch.nn.TransformerEncoder`` without the arguments for nested tensors.

    >>> import flownn as flow
    >>> TransformerEncoder(TransformerEncoderLayer(16, nhead=4), num_layers=2)(flow.randn(5, 2, 16)).shape
    flownn.Size([5, 2, 16])
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Apply the layers; None for ``is_causal`` means that ``mask`` is to be read."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Decoder layers one after the other.

    Args:
        decoder_layer: The layer, of which every one starts as a copy.
        num_layers: Number of layers.
        norm: A module behind the last layer, or None.

    Shape:
        Input and memory as the layer's; output like the input.

    Raises:
        ValueError: ``num_layers`` is below 1.

    Reference:
        ``torch.nn.TransformerDecoder``.

    >>> import flownn as flow
    >>> decoder = TransformerDecoder(TransformerDecoderLayer(16, nhead=4), num_layers=2)
    >>> decoder(flow.randn(3, 2, 16), flow.randn(5, 2, 16)).shape
    flownn.Size([3, 2, 16])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Apply the layers; None for ``tgt_is_causal`` means that ``tgt_mask`` is to be read."""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


def _copies(name: str, layer: Module, count: int) -> ModuleList:
    if count < 1:
        raise ValueError(f"{name}: expected num_layers of at least 1, got {count}")
    return ModuleList(copy.deepcopy(layer) for _ in range(count))
