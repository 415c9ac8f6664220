"""Attention as functions."""

from __future__ import annotations

from collections.abc import Callable

from flownn.creation import zeros, zeros_like
from flownn.dtypes import BOOLEAN, FLOATING, category
from flownn.errors import DtypeError, ShapeError
from flownn.nn.functional.matmul import linear
from flownn.nn.functional.noise import dropout
from flownn.nn.functional.padding import pad
from flownn.ops import attention
from flownn.ops.shape import cat
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Mix ``value`` by ``softmax(query @ key.T * scale + attn_mask)``; never all scores are in memory at once.

    Args:
        query: (..., L, E), in most cases (batch, heads, positions, features); leading dims broadcast.
        key: (..., S, E).
        value: (..., S, V).
        attn_mask: Broadcasts to (..., L, S). Boolean: True takes part; floating point: added to the scores.
        dropout_p: Probability of dropping a weight, whether or not anything is being trained.
        is_causal: Let position i see the keys 0 to i only; not beside a mask.
        scale: None means ``1 / sqrt(E)``.
        enable_gqa: Whether key and value may have fewer heads (the third dim from the end), each for as many
            consecutive ones of the query.
        generator: Where dropout draws from; None means the default generator.

    Returns:
        (..., L, V). A position that may see no key gets 0.

    Raises:
        ShapeError: sizes that do not fit together.
        DtypeError: different or integer types.
        ValueError: a mask beside ``is_causal``, or ``dropout_p`` is no probability.

    Reference:
        Vaswani et al., 2017, and Ainslie et al., 2023, for fewer heads of keys;
        ``torch.nn.functional.scaled_dot_product_attention``.
    """
    if enable_gqa:
        key, value = _for_every_head("key", key, query), _for_every_head("value", value, query)
    result: Tensor = attention.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        generator=generator or default_generator,
    )
    return result


def _for_every_head(name: str, x: Tensor, query: Tensor) -> Tensor:
    """``x`` (..., H, S, E) with each of its heads repeated, so that there are as many as in ``query``."""
    if min(x.data.ndim, query.data.ndim) < 3 or query.shape[-3] % max(x.shape[-3], 1):
        raise ShapeError(
            f"scaled_dot_product_attention: expected heads of {name} that divide those of query, "
            f"got {tuple(x.shape)} and {tuple(query.shape)}"
        )
    *lead, heads, length, features = x.shape
    repeated = x.unsqueeze(-3).expand(*lead, heads, query.shape[-3] // max(heads, 1), length, features)
    return repeated.flatten(-4, -3)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Project, attend in ``num_heads`` parts of the features, and project back; see `nn.MultiheadAttention`.

    Args:
        query: (L, N, E), or (L, E) without batch.
        key: (S, N, kdim), or (S, kdim).
        value: (S, N, vdim), or (S, vdim).
        embed_dim_to_check: E.
        num_heads: Divides E.
        in_proj_weight: (3 * E, E) for query, key and value, unless ``use_separate_proj_weight``.
        in_proj_bias: (3 * E,) or None.
        bias_k: (1, 1, E), one more key for everybody; given together with ``bias_v``.
        bias_v: (1, 1, E), its value.
        add_zero_attn: Whether to add one more key and value of zeros.
        dropout_p: Probability of dropping a weight in training.
        out_proj_weight: (E, E).
        out_proj_bias: (E,) or None.
        training: Whether to drop.
        key_padding_mask: (N, S), or (S,) without batch. True hides a key; floating point is added to the scores.
        need_weights: Whether to return the weights too, which then are in memory as a whole.
        attn_mask: (L, S) or (N * num_heads, L, S). True hides; floating point is added.
        use_separate_proj_weight: Whether the three following weights are used.
        q_proj_weight: (E, E).
        k_proj_weight: (E, kdim).
        v_proj_weight: (E, vdim).
        static_k: (N * num_heads, S, E / num_heads) to use in place of the projected key.
        static_v: Likewise of the value.
        average_attn_weights: Whether the weights are the mean over heads, (N, L, S), instead of (N, num_heads, L, S).
        is_causal: Says that ``attn_mask`` is the causal mask, which then need not be read.
        generator: Where dropout draws from; None means the default generator.

    Returns:
        (L, N, E) or (L, E), and the weights after dropout or None.

    Raises:
        ShapeError: sizes that do not fit together.
        DtypeError: a mask of integers.
        ValueError: ``is_causal`` without ``attn_mask``, or one of ``bias_k`` and ``bias_v``.

    Reference:
        ``torch.nn.functional.multi_head_attention_forward``. Where all keys are hidden the weights are 0, there nan.
    """
    batched = query.data.ndim == 3
    _check_inputs(query, key, value, key_padding_mask, attn_mask, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise ValueError(
            "multi_head_attention_forward: is_causal says what attn_mask is; pass the causal attn_mask too"
        )
    if (bias_k is None) != (bias_v is None):
        raise ValueError("multi_head_attention_forward: expected both bias_k and bias_v, or none of them")
    if not batched:
        query, key, value = each_once(lambda x: x.unsqueeze(1), query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    (length, batch), features = query.shape[:2], embed_dim_to_check
    heads = (batch, num_heads)

    if not use_separate_proj_weight:
        if in_proj_weight is None:
            raise ValueError("multi_head_attention_forward: expected in_proj_weight, or use_separate_proj_weight")
        if query is key and key is value:
            q, k, v = linear(query, in_proj_weight, in_proj_bias).chunk(3, -1)
        else:
            q, k, v = _projected((query, key, value), in_proj_weight.chunk(3), in_proj_bias)
    elif q_proj_weight is None or k_proj_weight is None or v_proj_weight is None:
        raise ValueError("multi_head_attention_forward: use_separate_proj_weight needs the three weights")
    else:
        q, k, v = _projected((query, key, value), (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise ValueError("multi_head_attention_forward: bias_k and bias_v do not go with static_k and static_v")
        k, v = (cat([x, more.expand(1, batch, features)]) for x, more in ((k, bias_k), (v, bias_v)))

    q = _split_heads(q, num_heads)
    k = _split_heads(k, num_heads) if static_k is None else _static("static_k", static_k, heads, q.shape[-1])
    v = _split_heads(v, num_heads) if static_v is None else _static("static_v", static_v, heads, q.shape[-1])
    if add_zero_attn:
        nothing = zeros(*heads, 1, q.shape[-1], dtype=k.dtype, device=k.device)
        k, v = cat([k, nothing], 2), cat([v, nothing], 2)

    added = (bias_k is not None) + add_zero_attn
    causal = is_causal and key_padding_mask is None and not added
    mask = None if causal else _merged_masks(attn_mask, key_padding_mask, heads, added, q)
    p = dropout_p if training else 0.0
    weights: Tensor | None = None
    if need_weights:
        dropped = dropout(attention.attention_weights(q, k, mask, is_causal=causal), p, generator=generator)
        mixed, weights = dropped @ v, dropped.mean(1) if average_attn_weights else dropped
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, p, causal, generator=generator)
    result = linear(mixed.permute(2, 0, 1, 3).reshape(length, batch, features), out_proj_weight, out_proj_bias)
    if batched:
        return result, weights
    return result.squeeze(1), None if weights is None else weights.squeeze(0)


def each_once(function: Callable[[Tensor], Tensor], *tensors: Tensor) -> list[Tensor]:
    """``function`` of each tensor; what was one tensor stays one."""
    results = {id(each): each for each in tensors}
    results = {number: function(each) for number, each in results.items()}
    return [results[id(each)] for each in tensors]


def _check_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    features: int,
    num_heads: int,
) -> None:
    name = "MultiheadAttention"
    shapes = [tuple(each.shape) for each in (query, key, value)]
    said = f"got {', '.join(map(str, shapes))}"
    ndim = len(shapes[0])
    if ndim not in (2, 3) or any(len(shape) != ndim for shape in shapes):
        raise ShapeError(f"{name}: expected query, key and value of 3 dims, or of 2 without batch, {said}")
    if shapes[0][-1] != features or features % num_heads:
        raise ShapeError(f"{name}: expected a query of {features} features in {num_heads} equal heads, {said}")
    if shapes[1][:-1] != shapes[2][:-1] or shapes[0][1:-1] != shapes[1][1:-1]:
        raise ShapeError(f"{name}: expected key and value of equal lengths and all of one batch size, {said}")
    length, keys, batch = shapes[0][0], shapes[1][0], shapes[0][1] if ndim == 3 else 1
    for mask, mask_name, allowed in (
        (key_padding_mask, "key_padding_mask", [(batch, keys) if ndim == 3 else (keys,)]),
        (attn_mask, "attn_mask", [(length, keys), (batch * num_heads, length, keys)]),
    ):
        if mask is None:
            continue
        if category(mask.data.dtype) not in (BOOLEAN, FLOATING):
            raise DtypeError(f"{name}: expected a boolean or floating point {mask_name}, got {mask.data.dtype}")
        if mask.data.shape not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise ShapeError(f"{name}: expected a {mask_name} of shape {wanted}, got {tuple(mask.shape)}")


def _projected(inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...], bias: Tensor | None) -> list[Tensor]:
    biases: tuple[Tensor | None, ...] = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(x, weight, each) for x, weight, each in zip(inputs, weights, biases, strict=True)]


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(L, N, E) to (N, num_heads, L, E / num_heads)."""
    return x.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)


def _static(name: str, x: Tensor, heads: tuple[int, int], features: int) -> Tensor:
    if x.data.ndim != 3 or x.shape[0] != heads[0] * heads[1] or x.shape[2] != features:
        raise ShapeError(
            f"MultiheadAttention: expected {name} of shape ({heads[0] * heads[1]}, S, {features}), got {tuple(x.shape)}"
        )
    return x.unflatten(0, heads)


def _merged_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, heads: tuple[int, int], added: int, like: Tensor
) -> Tensor | None:
    """One mask that broadcasts to (N, num_heads, L, S + added), as `scaled_dot_product_attention` takes it."""
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.data.ndim == 2 else attn_mask.unflatten(0, heads))
    if key_padding_mask is not None:
        masks.append(key_padding_mask.unsqueeze(1).unsqueeze(1))
    if added:
        masks = [pad(mask, (0, added)) for mask in masks]
    if not masks:
        return None
    if all(category(mask.data.dtype) == BOOLEAN for mask in masks):
        visible: Tensor = ~(masks[0] if len(masks) == 1 else masks[0] | masks[1])
        return visible
    scores = [
        zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
        if category(mask.data.dtype) == BOOLEAN
        else mask
        for mask in masks
    ]
    return scores[0] if len(scores) == 1 else scores[0] + scores[1]
