"""The losses that compare vectors or ranks, and the distances that they compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownn.autograd import op
from flownn.backend import Array
from flownn.dtypes import accumulator, as_dtype
from flownn.errors import ShapeError
from flownn.ops.axes import axis_of
from flownn.ops.distance import norm
from flownn.ops.elementwise import add, cast, clamp, minimum, subtract, true_divide
from flownn.ops.loss.reduction import broadcast_shape, check_reduction, operands, reduced, spread

if TYPE_CHECKING:
    from flownn.tensor import Tensor

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "margin_ranking_loss",
    "normalize",
    "pairwise_distance",
    "triplet_margin_loss",
]


# ---------------------------------------------------------------- distances


def pairwise_distance(x1: Tensor, x2: Tensor, *, p: float, eps: float, keepdim: bool) -> Tensor:
    """The p-norm along the last dim of ``x1 - x2 + eps``; ``eps`` keeps the gradient finite at equal vectors."""
    broadcast_shape("pairwise_distance", x1.data, x2.data)
    return norm(add(subtract(x1, x2), eps), p, -1, keepdim)


@op(quiet_floats=True)
def _cosine_similarity(xp: Any, x1: Array, x2: Array, *, axis: int, eps: float) -> Any:
    (one, other), dtype, _ = operands("cosine_similarity", x1, x2)
    one, other = xp.broadcast_arrays(one, other)

    def unit(x: Array) -> tuple[Any, Any]:
        length = xp.sqrt((x * x).sum(axis=axis, keepdims=True))
        return x / xp.maximum(length, eps), length

    cosine = (unit(one)[0] * unit(other)[0]).sum(axis=axis, keepdims=True)

    def vjp(g: Array) -> Any:
        (u, length_u), (v, length_v) = unit(one), unit(other)
        g = xp.expand_dims(g.astype(cosine.dtype, copy=False), axis) if one.ndim else g

        def along(u: Any, v: Any, length: Any) -> Any:
            """What of v is orthogonal to u, or all of it where eps took the place of a length."""
            return g * (v - xp.where(length > eps, cosine, 0) * u) / xp.maximum(length, eps)

        return lambda: along(u, v, length_u), lambda: along(v, u, length_v)

    return (xp.squeeze(cosine, axis=axis) if one.ndim else cosine).astype(dtype, copy=False), vjp


def cosine_similarity(x1: Tensor, x2: Tensor, *, dim: int, eps: float) -> Tensor:
    """The cosine of the angle between vectors along ``dim``; lengths below ``eps`` count as ``eps``."""
    shape = broadcast_shape("cosine_similarity", x1.data, x2.data)
    return _cosine_similarity(x1, x2, axis=axis_of("cosine_similarity", len(shape), dim) - len(shape), eps=eps)


def normalize(x: Tensor, *, p: float, dim: int, eps: float) -> Tensor:
    """``x`` divided by its p-norm along ``dim``, or by ``eps`` where that is larger."""
    width = accumulator(x.data.dtype)  # in which an eps of 1e-12 is not 0
    wide = x if width is None else cast(x, dtype=width)
    result = true_divide(wide, clamp(norm(wide, p, dim, True), eps))
    return result if width is None else cast(result, dtype=as_dtype(x.data.dtype))


# ---------------------------------------------------------------- losses


@op(quiet_floats=True)
def margin_ranking_loss(xp: Any, x1: Array, x2: Array, target: Array, *, margin: float, reduction: str) -> Any:
    """``max(0, -target * (x1 - x2) + margin)``; where the maximum is undecided the gradient is that of the second."""
    name = "MarginRankingLoss"
    check_reduction(name, reduction)
    if not x1.ndim == x2.ndim == target.ndim:
        shapes = ", ".join(str(tuple(each.shape)) for each in (x1, x2, target))
        raise ShapeError(f"{name}: expected inputs and target with the same number of dims, got shapes {shapes}")
    (one, other, sign), dtype, count = operands(name, x1, x2, target)
    excess = margin - sign * (one - other)
    active = excess >= 0

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(one.dtype, copy=False), reduction, count) * active
        return lambda: -seed * sign, lambda: seed * sign, lambda: seed * (other - one)

    return reduced(xp.maximum(excess, 0), reduction, count).astype(dtype, copy=False), vjp


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float,
    p: float,
    eps: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` for the `pairwise_distance` d.

    With ``swap`` the negative is compared with the nearer of anchor and positive.
    """
    name = "TripletMarginLoss"
    if not margin > 0:
        raise ValueError(f"{name}: expected a margin above 0, got {margin}")
    shapes = [tuple(each.data.shape) for each in (anchor, positive, negative)]
    if len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(
            f"{name}: expected anchor, positive and negative with the same number of dims, "
            f"got shapes {', '.join(map(str, shapes))}"
        )
    near = pairwise_distance(anchor, positive, p=p, eps=eps, keepdim=False)
    far = pairwise_distance(anchor, negative, p=p, eps=eps, keepdim=False)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p=p, eps=eps, keepdim=False))
    return _hinge(near, far, margin=margin, reduction=reduction)


@op(quiet_floats=True)
def _hinge(xp: Any, near: Array, far: Array, *, margin: float, reduction: str) -> Any:
    check_reduction("TripletMarginLoss", reduction)
    (one, other), dtype, count = operands("TripletMarginLoss", near, far)
    excess = one - other + margin
    active = excess >= 0

    def vjp(g: Array) -> Any:
        seed = spread(g.astype(one.dtype, copy=False), reduction, count) * active
        return seed, lambda: -seed

    return reduced(xp.maximum(excess, 0), reduction, count).astype(dtype, copy=False), vjp


def cosine_embedding_loss(x1: Tensor, x2: Tensor, target: Tensor, *, margin: float, reduction: str) -> Tensor:
    """``1 - cos`` of vectors with target 1, ``max(0, cos - margin)`` of those with target -1, 0 for other targets."""
    name, dims = "CosineEmbeddingLoss", target.data.ndim
    if dims > 1 or not x1.data.ndim == x2.data.ndim == dims + 1:
        shapes = ", ".join(str(tuple(each.data.shape)) for each in (x1, x2, target))
        raise ShapeError(f"{name}: expected inputs (N, D) and target (N,), or (D,) and (), got shapes {shapes}")
    return _cosine_embedding(cosine_similarity(x1, x2, dim=-1, eps=1e-8), target, margin=margin, reduction=reduction)


@op(quiet_floats=True)
def _cosine_embedding(xp: Any, cosine: Array, target: Array, *, margin: float, reduction: str) -> Any:
    name = "CosineEmbeddingLoss"
    check_reduction(name, reduction)
    broadcast_shape(name, cosine, target)
    (wide,), dtype, _ = operands(name, cosine)
    losses = xp.where(target == 1, 1 - wide, xp.where(target == -1, xp.maximum(wide - margin, 0), 0))
    count = losses.size

    def vjp(g: Array) -> Any:
        slope = xp.where(target == 1, -1, xp.where(target == -1, wide - margin >= 0, 0))
        return spread(g.astype(wide.dtype, copy=False), reduction, count) * slope, None

    return reduced(losses, reduction, count).astype(dtype, copy=False), vjp
