"""Attention: values mixed by the softmax of scaled products of queries and keys, block by block.

A block is some of the matrices (one per batch element and head), or some rows of one of them, so that however many
queries and keys there are, only a block of their scores is in memory. The backward computes the scores again from the
queries and keys and the logarithm of each row's sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flownn.autograd import op
from flownn.backend import Array
from flownn.dtypes import BOOLEAN, FLOATING, category
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.products import matrix_product
from flownn.kernels.softmax import exp_in_place
from flownn.random import Generator

__all__ = ["attention_weights", "scaled_dot_product_attention"]

BLOCK_ELEMENTS = 1 << 20  # scores in memory at a time
CAUSAL_ROWS = 64  # rows that share the keys that they leave out

_SDPA = "scaled_dot_product_attention"


class _Operands(NamedTuple):
    """Queries (M, L, E), keys (M, S, E) and values (M, S, V) in the type to compute in, leading dims made one."""

    query: Array
    key: Array
    value: Array
    masks: Array | None  # (K, L or 1, S or 1)
    mask_of: Array | None  # which of the K masks each of the M matrices has
    scale: float
    is_causal: bool


@op(quiet_floats=True)
def scaled_dot_product_attention(
    xp: Any,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    *,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    generator: Generator | None = None,
) -> Any:
    """``dropout(softmax(query @ key.T * scale + attn_mask)) @ value`` (Vaswani et al., 2017), 16 bit in float32.

    Query (..., L, E), key (..., S, E) and value (..., S, V) give (..., L, V); leading dims broadcast, the mask to
    (..., L, S). A boolean mask says which keys take part, a float one is added. A row without any key gives 0. Dropout
    seeds a stream of its own from ``generator`` and draws one float32 per score in row-major order.

    Raises:
        ShapeError: sizes that do not fit together.
        DtypeError: operands of different or integer types, or a mask of integers.
        ValueError: a mask beside ``is_causal``, or dropout outside 0 to 1 or without a generator.
    """
    lead = _check(_SDPA, query, key, value, attn_mask, is_causal)
    if not 0 <= dropout_p <= 1 or (dropout_p and generator is None):
        raise ValueError(f"{_SDPA}: expected a probability dropout_p and a generator for it, got {dropout_p}")
    seed = int(generator.integers(0, 1 << 62, ())) if generator is not None and dropout_p else None
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)

    operands = _operands(xp, lead, query, key, value, attn_mask, scale, is_causal)
    rows, columns = operands.query.shape[:2], operands.value.shape[-1]
    result = xp.zeros((*rows, columns), operands.value.dtype)
    log_sums = xp.zeros((*rows, 1), operands.value.dtype)
    draw = _dropout(xp, seed, dropout_p, log_sums.dtype)
    for block in _blocks(operands, draw is None):
        weights, log_sums[block.rows], total = _exponentials(xp, operands, block)
        if draw is not None:
            weights *= draw(weights.shape)
        result[block.rows] = matrix_product(xp, weights, operands.value[block.keys])
        result[block.rows] /= total
    y = result.reshape(*lead, *result.shape[1:]).astype(query.dtype, copy=False)

    def vjp(g: Array) -> tuple[Any, ...]:
        operands = _operands(xp, lead, query, key, value, attn_mask, scale, is_causal)
        grad = g.reshape(result.shape).astype(operands.value.dtype, copy=False)
        # What the weights of a row times their gradients add up to.
        along = xp.einsum("mlv,mlv->ml", grad, result)[..., None]
        of_query, of_key, of_value = (xp.zeros(each.shape, each.dtype) for each in operands[:3])
        for block, dropped, of_scores in _score_gradients(
            xp, operands, grad, along, log_sums, _dropout(xp, seed, dropout_p, grad.dtype)
        ):
            of_value[block.keys] += matrix_product(xp, dropped.swapaxes(1, 2), grad[block.rows])
            of_query[block.rows] = matrix_product(xp, of_scores, operands.key[block.keys])
            of_key[block.keys] += matrix_product(xp, of_scores.swapaxes(1, 2), operands.query[block.rows])
        of_query *= scale
        of_key *= scale

        def of_mask() -> Any:
            draw = _dropout(xp, seed, dropout_p, grad.dtype)
            total = xp.empty((*log_sums.shape[:2], operands.key.shape[1]), grad.dtype)
            for block, _, of_scores in _score_gradients(xp, operands, grad, along, log_sums, draw):
                total[block.rows] = of_scores
            return total.reshape(*lead, *total.shape[1:])

        of_operands = (each.reshape(*lead, *each.shape[1:]) for each in (of_query, of_key, of_value))
        return *of_operands, None if attn_mask is None else of_mask

    return y, vjp


@op(quiet_floats=True)
def attention_weights(
    xp: Any,
    query: Array,
    key: Array,
    attn_mask: Array | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """The factors (..., L, S) that `scaled_dot_product_attention` mixes values with, before dropout.

    Raises:
        ShapeError: sizes that do not fit together.
        DtypeError: operands of different or integer types, or a mask of integers.
        ValueError: a mask beside ``is_causal``.
    """
    lead = _check("attention_weights", query, key, key, attn_mask, is_causal)
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    operands = _operands(xp, lead, query, key, key, attn_mask, scale, is_causal)
    everything = (slice(0, size) for size in (*operands.query.shape[:2], operands.key.shape[1]))
    weights = _scores(xp, operands, _Block(*everything))
    if weights.size:
        _softmax(xp, weights)
    shape = weights.shape

    def vjp(g: Array) -> tuple[Any, ...]:
        operands = _operands(xp, lead, query, key, key, attn_mask, scale, is_causal)
        of_scores = g.reshape(shape) * weights
        of_scores -= weights * of_scores.sum(axis=-1, keepdims=True)
        return (
            lambda: (matrix_product(xp, of_scores, operands.key) * scale).reshape(*lead, *query.shape[-2:]),
            lambda: (matrix_product(xp, of_scores.swapaxes(1, 2), operands.query) * scale).reshape(
                *lead, *key.shape[-2:]
            ),
            None if attn_mask is None else lambda: of_scores.reshape(*lead, *shape[1:]),
        )

    return weights.reshape(*lead, *shape[1:]).astype(query.dtype, copy=False), vjp


def _check(
    name: str, query: Array, key: Array, value: Array, attn_mask: Array | None, is_causal: bool
) -> tuple[int, ...]:
    """The leading dims of the result; raises where the operands do not fit together."""
    arrays = (query, key, value)
    compute_dtype(name, query.dtype)
    if len({each.dtype for each in arrays}) > 1:
        kinds = ", ".join(str(each.dtype) for each in arrays)
        raise DtypeError(f"{name}: expected query, key and value of one type, got {kinds}; convert with .to(dtype)")
    shapes = tuple(tuple(each.shape) for each in arrays)
    said = f"got {', '.join(map(str, shapes))}"
    if min(map(len, shapes)) < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(f"{name}: expected query (..., L, E), key (..., S, E) and value (..., S, V), {said}")
    try:
        lead = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    except ValueError:
        raise ShapeError(f"{name}: expected leading dims that broadcast, {said}") from None
    if attn_mask is None:
        return lead
    if is_causal:
        raise ValueError(f"{name}: expected attn_mask or is_causal, got both; put the causal part into the mask")
    if category(attn_mask.dtype) not in (BOOLEAN, FLOATING):
        raise DtypeError(f"{name}: expected a boolean or floating point attn_mask, got {attn_mask.dtype}")
    full = (*lead, query.shape[-2], key.shape[-2])
    try:
        fits = np.broadcast_shapes(attn_mask.shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name}: expected an attn_mask that broadcasts to {full}, got {tuple(attn_mask.shape)}")
    return lead


def _operands(
    xp: Any,
    lead: tuple[int, ...],
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    scale: float,
    is_causal: bool,
) -> _Operands:
    dtype, count = compute_dtype(_SDPA, query.dtype), math.prod(lead)

    def flat(array: Array) -> Any:
        matrices = xp.broadcast_to(array, (*lead, *array.shape[-2:])).reshape(count, *array.shape[-2:])
        return matrices.astype(dtype, copy=False)

    masks = mask_of = None
    if attn_mask is not None:
        # Masks are picked by number: their copies for every head would be as large as all scores.
        full = attn_mask[(None,) * max(0, 2 - attn_mask.ndim)]
        several = full.shape[:-2]
        masks = full.reshape(math.prod(several), *full.shape[-2:])
        mask_of = xp.broadcast_to(xp.arange(len(masks)).reshape(several), lead).reshape(count)
        if category(masks.dtype) == FLOATING:
            masks = masks.astype(dtype, copy=False)
    return _Operands(flat(query), flat(key), flat(value), masks, mask_of, scale, is_causal)


class _Block(NamedTuple):
    """Scores that are computed together: of which matrices, which of their rows, and which keys at all."""

    matrices: slice
    part: slice
    columns: slice

    @property
    def rows(self) -> tuple[slice, slice]:
        """Where the block is in arrays of a row per query."""
        return self.matrices, self.part

    @property
    def keys(self) -> tuple[slice, slice]:
        """Where it is in arrays of a row per key."""
        return self.matrices, self.columns


def _blocks(operands: _Operands, may_skip: bool) -> Iterator[_Block]:
    """The blocks in row-major order; none if there are no scores.

    With ``may_skip``, for a causal mask, those keys are left out that no row of the block sees; the order is another.
    """
    (count, rows), columns = operands.query.shape[:2], operands.key.shape[1]
    if not count * rows * columns:
        return
    if may_skip and operands.is_causal and rows > CAUSAL_ROWS:
        step = max(1, BLOCK_ELEMENTS // (CAUSAL_ROWS * columns))
        for start in range(0, count, step):
            matrices = slice(start, min(start + step, count))
            for first in range(0, rows, CAUSAL_ROWS):
                last = min(first + CAUSAL_ROWS, rows)
                yield _Block(matrices, slice(first, last), slice(0, min(last, columns)))
        return
    every_key = slice(0, columns)
    together = max(1, BLOCK_ELEMENTS // columns)
    if together >= rows:
        step = together // rows
        for start in range(0, count, step):
            yield _Block(slice(start, min(start + step, count)), slice(0, rows), every_key)
        return
    for matrix in range(count):
        for start in range(0, rows, together):
            yield _Block(slice(matrix, matrix + 1), slice(start, min(start + together, rows)), every_key)


def _scores(xp: Any, operands: _Operands, block: _Block) -> Any:
    """Scaled and masked products (matrices, rows, keys) of a block, in memory of their own."""
    keys = operands.key[block.keys].swapaxes(1, 2)
    scores = matrix_product(xp, operands.query[block.rows] * operands.scale, keys)
    if operands.masks is not None and operands.mask_of is not None:
        mask = operands.masks[operands.mask_of[block.matrices]]
        mask = mask[:, block.part] if mask.shape[1] > 1 else mask
        scores = xp.where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    if operands.is_causal:
        # The rows see all keys up to the first row's own; of those behind it the later rows see some.
        first = block.part.start + 1
        later = scores[:, :, first:]
        unseen = xp.arange(first, first + later.shape[2]) > xp.arange(block.part.start, block.part.stop)[:, None]
        xp.copyto(later, -math.inf, where=unseen)
    return scores


def _exponentials(xp: Any, operands: _Operands, block: _Block) -> tuple[Any, Any, Any]:
    """What the softmax of a block's scores is proportional to, the logarithm of its row sums, and what to divide by.

    A row of minus infinity, nothing to attend to, becomes 0; its logarithm is 0, its divisor 1.
    """
    scores = _scores(xp, operands, block)
    if operands.masks is None:
        # One number for all rows serves as well as the largest of each, where no row is far below it.
        top = scores.max()
        if xp.isfinite(top):
            scores -= top
            exp_in_place(xp, scores)
            total = scores.sum(axis=-1, keepdims=True)
            if total.min() > 1e-20:
                return scores, top + xp.log(total), total
            scores = _scores(xp, operands, block)
    top = scores.max(axis=-1, keepdims=True)
    top = xp.where(top == -math.inf, 0, top)
    scores -= top
    xp.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    total = xp.where(total == 0, 1, total)
    return scores, top + xp.log(total), total


def _softmax(xp: Any, scores: Array) -> None:
    """Turn scores into the softmax of each row in place; a row of minus infinity becomes 0."""
    top = scores.max(axis=-1, keepdims=True)
    scores -= xp.where(top == -math.inf, 0, top)
    xp.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    scores /= xp.where(total == 0, 1, total)


def _dropout(xp: Any, seed: int | None, p: float, dtype: Any) -> Any:
    """What draws the factors of the next block, 0 or ``1 / (1 - p)``; None without dropout."""
    if seed is None:
        return None
    stream, factor = Generator(seed), dtype.type(1 / (1 - p) if p < 1 else 0)
    return lambda shape: xp.asarray(stream.uniform(shape, np.dtype(np.float32)) >= p) * factor


def _score_gradients(
    xp: Any, operands: _Operands, grad: Array, along: Array, log_sums: Array, draw: Any
) -> Iterator[tuple[_Block, Any, Any]]:
    """For each block: which one, its weights after dropout, and the gradient of its masked scores."""
    for block in _blocks(operands, draw is None):
        weights = _scores(xp, operands, block)
        weights -= log_sums[block.rows]
        exp_in_place(xp, weights)
        of_weights = matrix_product(xp, grad[block.rows], operands.value[block.keys].swapaxes(1, 2))
        dropped = weights
        if draw is not None:
            factors = draw(weights.shape)
            dropped = weights * factors
            of_weights *= factors
        of_weights -= along[block.rows]
        of_weights *= weights
        yield block, dropped, of_weights
