"""Distances and the losses on them against plain formulas, and against PyTorch."""

import math
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.loss.distance import (
    cosine_embedding_loss,
    cosine_similarity,
    margin_ranking_loss,
    normalize,
    pairwise_distance,
    triplet_margin_loss,
)
from tests.helpers.op_cases import OpCase, asked, bools, normal


def sign(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return np.where(bools(rng, shape), 1, -1)


def reduce(losses: Any, reduction: str) -> Any:
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def slow_norm(x: Any, p: float) -> Any:
    """Along the last axis, kept."""
    size = np.abs(x)
    return size.max(axis=-1, keepdims=True) if p == math.inf else (size**p).sum(axis=-1, keepdims=True) ** (1 / p)


def slow_distance(x: Any, y: Any, *, p: float, eps: float, keepdim: bool) -> Any:
    result = slow_norm(x - y + eps, p)
    return result if keepdim else result[..., 0]


def slow_normalize(x: Any, *, p: float, dim: int, eps: float) -> Any:
    last = np.moveaxis(x, dim, -1)
    return np.moveaxis(last / np.maximum(slow_norm(last, p), eps), -1, dim)


def slow_cosine(x: Any, y: Any, *, dim: int, eps: float) -> Any:
    x, y = (np.moveaxis(each, dim, -1) for each in np.broadcast_arrays(x, y))
    result = np.zeros(x.shape[:-1])
    for at in np.ndindex(*result.shape):
        lengths = [max(math.sqrt(sum(v * v for v in each[at])), eps) for each in (x, y)]
        result[at] = sum(a * b for a, b in zip(x[at], y[at], strict=True)) / (lengths[0] * lengths[1])
    return result


def slow_ranking(x: Any, y: Any, target: Any, *, margin: float, reduction: str) -> Any:
    return reduce(np.maximum(0, -target * (x - y) + margin), reduction)


def slow_triplet(a: Any, p_: Any, n: Any, *, margin: float, p: float, eps: float, swap: bool, reduction: str) -> Any:
    attrs: Any = {"p": p, "eps": eps, "keepdim": False}
    far = slow_distance(a, n, **attrs)
    if swap:
        far = np.minimum(far, slow_distance(p_, n, **attrs))
    return reduce(np.maximum(0, slow_distance(a, p_, **attrs) - far + margin), reduction)


def slow_embedding(x: Any, y: Any, target: Any, *, margin: float, reduction: str) -> Any:
    cosine = slow_cosine(x, y, dim=-1, eps=0)
    return reduce(np.where(target == 1, 1 - cosine, np.maximum(0, cosine - margin)), reduction)


def of_torch(name: str) -> Any:
    return lambda torch, *tensors, **attrs: getattr(torch.nn.functional, name)(*tensors, **attrs)


ORDERS = (1.0, 2.0, 3.5, math.inf)
CASES = [
    OpCase(pairwise_distance, shapes, {"p": p, "eps": 1e-3, "keepdim": keepdim}, slow_distance,
           torch=of_torch("pairwise_distance"))
    for p in ORDERS
    for shapes, keepdim in [([(3, 4), (3, 4)], False), ([(2, 3, 4), (4,)], True), ([(5,), (5,)], False)]
]  # fmt: skip
CASES += [
    OpCase(normalize, [shape], {"p": p, "dim": dim, "eps": 1e-12}, slow_normalize, torch=of_torch("normalize"))
    for p in ORDERS
    for shape, dim in [((3, 4), 1), ((2, 3, 4), 0), ((5,), -1)]
]
CASES += [
    OpCase(cosine_similarity, shapes, {"dim": dim, "eps": eps}, slow_cosine,
           torch=of_torch("cosine_similarity") if eps < 1 else None)
    for eps in (1e-8, 2.0)  # 2.0 replaces some lengths; PyTorch's gradient there is not that of its value
    for shapes, dim in [([(3, 4)] * 2, 1), ([(2, 3, 4), (4,)], -1), ([(3, 1, 2), (3, 4, 2)], 0), ([(0, 3)] * 2, 1)]
]  # fmt: skip
CASES += [
    OpCase(margin_ranking_loss, shapes, {"margin": margin, "reduction": reduction}, slow_ranking,
           [normal, normal, sign], of_torch("margin_ranking_loss"))
    for margin in (0.0, 0.5)
    for shapes, reduction in [([(5,)] * 3, "none"), ([(3, 4)] * 3, "mean"), ([(3, 4), (3, 4), (3, 1)], "sum"),
                              ([(1, 4), (3, 1), (3, 4)], "mean"), ([()] * 3, "mean"), ([(0,)] * 3, "sum")]
]  # fmt: skip
CASES += [
    OpCase(margin_ranking_loss, [(3, 4)] * 3, {"margin": 0.5, "reduction": "mean"}, slow_ranking,
           torch=of_torch("margin_ranking_loss"), name="ranking-any-target")
]  # fmt: skip
TRIPLETS: list[Any] = [
    ([(6, 3)] * 3, "none"), ([(6, 3)] * 3, "mean"), ([(6, 3)] * 3, "sum"), ([(4,)] * 3, "mean"),
    ([(2, 5, 3)] * 3, "none"), ([(5, 3), (1, 3), (5, 3)], "sum"), ([(0, 3)] * 3, "sum"),
]  # fmt: skip
CASES += [
    OpCase(triplet_margin_loss, shapes,
           {"margin": 0.7, "p": p, "eps": 1e-6, "swap": swap, "reduction": reduction}, slow_triplet,
           torch=of_torch("triplet_margin_loss"))
    for p, swap in [(2.0, False), (2.0, True), (1.0, True), (3.0, False)]
    for shapes, reduction in TRIPLETS
]  # fmt: skip
CASES += [
    OpCase(cosine_embedding_loss, shapes, {"margin": margin, "reduction": reduction}, slow_embedding,
           [normal, normal, sign], of_torch("cosine_embedding_loss"))
    for margin in (0.0, 0.4)
    for shapes, reduction in [([(6, 3), (6, 3), (6,)], "none"), ([(6, 3), (6, 3), (6,)], "mean"),
                              ([(3,), (3,), ()], "sum"), ([(6, 3), (1, 3), (6,)], "sum")]
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


TRIPLET: Any = {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False, "reduction": "mean"}


def test_shapes_that_do_not_belong_together_are_named() -> None:
    x = np.ones((2, 3))
    with pytest.raises(ShapeError, match=r"MarginRankingLoss: .*same number of dims, got .*, \(2,\)"):
        margin_ranking_loss(x, x, np.ones(2), margin=0.0, reduction="mean")
    with pytest.raises(ShapeError, match=r"MarginRankingLoss: shapes .* do not broadcast"):
        margin_ranking_loss(x, x, np.ones((2, 2)), margin=0.0, reduction="mean")
    tensor, row, wide = wrap(x), wrap(np.ones(3)), wrap(np.ones((2, 4)))
    with pytest.raises(ShapeError, match=r"TripletMarginLoss: .*same number of dims, got .*, \(3,\)"):
        triplet_margin_loss(tensor, tensor, row, **TRIPLET)
    with pytest.raises(ShapeError, match=r"pairwise_distance: shapes \(2, 3\) and \(2, 4\) do not broadcast"):
        triplet_margin_loss(tensor, wide, tensor, **TRIPLET)
    with pytest.raises(ShapeError, match=r"expected inputs \(N, D\) and target \(N,\), or \(D,\) and \(\), got shapes"):
        cosine_embedding_loss(tensor, tensor, wrap(np.ones((2, 1))), margin=0.0, reduction="mean")
    with pytest.raises(ShapeError, match=r"CosineEmbeddingLoss: shapes \(2,\) and \(3,\) do not broadcast"):
        cosine_embedding_loss(tensor, tensor, wrap(np.ones(3)), margin=0.0, reduction="mean")
    with pytest.raises(ShapeError, match="cosine_similarity: expected a dim from -2 to 1, got 2"):
        cosine_similarity(tensor, tensor, dim=2, eps=1e-8)
    with pytest.raises(ShapeError, match="cosine_similarity: shapes"):
        cosine_similarity(tensor, wide, dim=1, eps=1e-8)


def test_wrong_numbers_and_types_are_named() -> None:
    tensor, whole = wrap(np.ones((2, 3))), wrap(np.ones((2, 3), int))
    with pytest.raises(ValueError, match="TripletMarginLoss: expected a margin above 0, got 0"):
        triplet_margin_loss(tensor, tensor, tensor, **TRIPLET | {"margin": 0})
    with pytest.raises(ValueError, match="TripletMarginLoss: expected a reduction of none, mean, sum, got 'avg'"):
        triplet_margin_loss(tensor, tensor, tensor, **TRIPLET | {"reduction": "avg"})
    with pytest.raises(ValueError, match="MarginRankingLoss: expected a reduction"):
        margin_ranking_loss(tensor, tensor, tensor, margin=0.0, reduction="avg")
    with pytest.raises(ValueError, match="CosineEmbeddingLoss: expected a reduction"):
        cosine_embedding_loss(tensor, tensor, wrap(np.ones(2)), margin=0.0, reduction="avg")
    with pytest.raises(DtypeError, match="MarginRankingLoss: expected a floating point input, got int64"):
        margin_ranking_loss(whole, whole, whole, margin=0.0, reduction="mean")
    with pytest.raises(DtypeError, match="cosine_similarity: expected a floating point input, got int64"):
        cosine_similarity(whole, whole, dim=1, eps=1e-8)


def test_ties_and_vectors_of_length_zero() -> None:
    x = wrap(np.zeros((1, 3)), requires_grad=True)
    assert cosine_similarity(x, np.ones((1, 3)), dim=1, eps=1e-8).data == 0
    result = normalize(x, p=2.0, dim=1, eps=1e-12)
    np.testing.assert_array_equal(result.data, 0)
    half = normalize(wrap(np.zeros((1, 3), np.float16)), p=2.0, dim=1, eps=1e-12).data
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, 0)  # in float16 the eps would be 0, and the result nan
    pairwise_distance(x, x.detach(), p=2.0, eps=1e-6, keepdim=False).sum().backward()
    np.testing.assert_allclose(x.grad.data, 1 / math.sqrt(3))

    tie = wrap(np.zeros(1), requires_grad=True)
    margin_ranking_loss(tie, np.zeros(1), np.ones(1), margin=0.0, reduction="sum").backward()
    assert tie.grad.data == -1  # as in PyTorch


def test_other_targets_of_the_cosine_loss_cost_nothing() -> None:
    x = wrap(np.ones((2, 3)), requires_grad=True)
    loss = cosine_embedding_loss(x, wrap(-np.ones((2, 3))), wrap(np.array([0, 2])), margin=0.0, reduction="sum")
    assert loss.data == 0
    loss.backward()
    np.testing.assert_array_equal(x.grad.data, 0)
