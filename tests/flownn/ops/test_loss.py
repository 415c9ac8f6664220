"""Softmax and the class losses against their formulas, and against PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.loss.classes import cross_entropy, nll_loss
from flownn.ops.softmax import log_softmax, softmax
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of

CLASSES = 4
SHAPES = [(4,), (5, 4), (3, 4, 2), (3, 4, 2, 3)]


def slow_losses(x: Any, target: Any, weight: Any, ignore: int, smoothing: float, take_log: bool) -> tuple[Any, Any]:
    """Loss and weight of every target, one by one."""
    scores = np.moveaxis(x, 1, -1) if x.ndim > 1 else x
    losses, weights = np.zeros(target.shape), np.zeros(target.shape)
    for at in np.ndindex(*target.shape):
        row, goal = scores[at], int(target[at])
        if goal == ignore:
            continue
        log_p = [v - np.log(sum(np.exp(row))) for v in row] if take_log else row
        losses[at] = -(1 - smoothing) * weight[goal] * log_p[goal]
        losses[at] -= smoothing / CLASSES * sum(w * v for w, v in zip(weight, log_p, strict=True))
        weights[at] = weight[goal]
    return losses, weights


def example(shape: Any, seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    target = np.asarray(rng.integers(0, CLASSES, shape[:1] + shape[2:] if len(shape) > 1 else ()))
    if target.ndim:
        target.reshape(-1)[0] = -100
    return rng.standard_normal(shape) * 2, target, rng.random(CLASSES) + 0.1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_losses_equal_the_definition(shape: Any, weighted: bool, smoothing: float) -> None:
    x, target, weight = example(shape, 0)
    factors = weight if weighted else np.ones(CLASSES)
    for op, take_log in ((cross_entropy, True), (nll_loss, False)):
        smooth = smoothing if take_log else 0.0
        losses, weights = slow_losses(x, target, factors, -100, smooth, take_log)
        attrs = {"ignore_index": -100} | ({"label_smoothing": smoothing} if take_log else {})
        given = weight if weighted else None
        none, total, mean = (op(x, target, given, reduction=r, **attrs).data for r in ("none", "sum", "mean"))
        np.testing.assert_allclose(none, losses, atol=1e-13)
        np.testing.assert_allclose(total, losses.sum(), atol=1e-12)
        np.testing.assert_allclose(mean, losses.sum() / weights.sum(), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_vjps_match_a_central_difference(shape: Any, reduction: str) -> None:
    x, target, weight = example(shape, 1)
    rng = np.random.default_rng(2)
    attrs = {"ignore_index": -100, "reduction": reduction}
    check_vjp(lambda x: nll_loss(x, target, weight, **attrs), x, rng=rng)
    for smoothing in (0.0, 0.3):
        check_vjp(lambda x: cross_entropy(x, target, weight, label_smoothing=smoothing, **attrs), x, rng=rng)  # noqa: B023
        check_vjp(
            lambda x, p: cross_entropy(x, p, weight, label_smoothing=smoothing, **attrs),  # noqa: B023
            x,
            rng.random(shape),
            rng=rng,
        )


def slow_softmax(x: Any, *, axis: int) -> Any:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


CASES = [
    row
    for shape, axis in [((5,), 0), ((3, 4, 2), 0), ((3, 4, 2), 1), ((3, 4, 2), 2), ((0, 3), 1)]
    for row in (
        OpCase(softmax, [shape], {"axis": axis}, slow_softmax, torch=lambda torch, x, axis: torch.softmax(x, axis)),
        OpCase(
            log_softmax,
            [shape],
            {"axis": axis},
            lambda x, axis: np.log(slow_softmax(x, axis=axis)),
            torch=lambda torch, x, axis: torch.log_softmax(x, axis),
        ),
    )
]


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_array_equal(softmax(np.array([1e4, 0.0, -1e4]), axis=0).data, [1, 0, 0])
    np.testing.assert_array_equal(log_softmax(np.array([1e4, 0.0, -np.inf]), axis=0).data, [0, -1e4, -np.inf])
    assert softmax(np.array(3.0), axis=0).data == 1


def test_half_precision_keeps_its_dtype_and_sums_in_float32() -> None:
    x = (np.random.default_rng(4).standard_normal((7, 500))).astype(np.float16)
    for y in (softmax(x, axis=1), cross_entropy(x, np.zeros(7, int), ignore_index=-100, reduction="none")):
        assert y.data.dtype == np.float16
    np.testing.assert_allclose(softmax(x, axis=1).data.astype(np.float64).sum(axis=1), 1, atol=2e-3)


@pytest.mark.parametrize("op", [nll_loss, cross_entropy])
def test_an_empty_batch_and_a_batch_of_ignored_targets(op: Any) -> None:
    for x, target in ((np.ones((0, 4)), np.ones(0, int)), (np.ones((2, 4)), np.full(2, -100))):
        tensor = wrap(x, requires_grad=True)
        total = op(tensor, target, ignore_index=-100, reduction="sum")
        assert total.data == 0
        total.backward()
        np.testing.assert_array_equal(tensor.grad.data, np.zeros(x.shape))
        assert np.isnan(op(tensor, target, ignore_index=-100, reduction="mean").data)
    empty = cross_entropy(wrap(np.ones((0, 4))), np.ones((0, 4)), ignore_index=-100, reduction="sum")
    assert empty.data == 0


@pytest.mark.parametrize("op", [nll_loss, cross_entropy])
def test_wrong_targets_are_named(op: Any) -> None:
    attrs = {"ignore_index": -100, "reduction": "mean"}
    x = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"class numbers from 0 to 3 \(or ignore_index -100\), got 4"):
        op(x, np.array([0, 4, 1]), **attrs)
    with pytest.raises(ValueError, match="got -1"):
        op(x, np.array([0, -1, 1]), **attrs)
    with pytest.raises(ShapeError, match=r"class numbers of shape \(3,\), got \(2,\)"):
        op(x, np.array([0, 1]), **attrs)
    with pytest.raises(ShapeError, match="one weight for each of 4 classes"):
        op(x, np.array([0, 1, 2]), np.ones(3), **attrs)
    with pytest.raises(ValueError, match="reduction of none, mean, sum, got 'avg'"):
        op(x, np.array([0, 1, 2]), ignore_index=-100, reduction="avg")
    with pytest.raises(DtypeError, match="floating point input, got int64"):
        op(x.astype(int), np.array([0, 1, 2]), **attrs)


def test_wrong_probabilities_and_smoothing_are_named() -> None:
    with pytest.raises(ShapeError, match=r"class probabilities of shape \(3, 4\), got \(3,\)"):
        cross_entropy(np.zeros((3, 4)), np.zeros(3), ignore_index=-100, reduction="mean")
    with pytest.raises(DtypeError, match="NLLLoss: expected integer class numbers, got float64"):
        nll_loss(np.zeros((3, 4)), np.zeros(3), ignore_index=-100, reduction="mean")
    with pytest.raises(ValueError, match="label_smoothing between 0 and 1, got 2"):
        cross_entropy(np.zeros((3, 4)), np.zeros(3, int), ignore_index=-100, reduction="mean", label_smoothing=2)


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_pytorch(shape: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    f = torch.nn.functional
    rng = np.random.default_rng(5)
    x, classes, weight = example(shape, 6)
    for weighted, reduction, smoothing, kind in product(
        (False, True), ("none", "sum", "mean"), (0.0, 0.3), ("cross entropy", "probabilities", "nll")
    ):
        target = rng.random(shape) if kind == "probabilities" else classes
        mine, t = wrap(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        own, their = (weight, torch.tensor(weight)) if weighted else (None, None)
        if kind == "nll":
            y = nll_loss(mine, target, own, ignore_index=-100, reduction=reduction)
            expected = f.nll_loss(t, torch.tensor(target), their, reduction=reduction)
        else:
            attrs = {"reduction": reduction, "label_smoothing": smoothing}
            y = cross_entropy(mine, target, own, ignore_index=-100, **attrs)
            expected = f.cross_entropy(t, torch.tensor(target), their, **attrs)
        np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-12)
        g = rng.standard_normal(y.data.shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(mine.grad.data, t.grad.numpy(), atol=1e-12)
