"""The class losses against their definitions, and against PyTorch."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, GradientError, ShapeError
from flownn.ops.loss.classes import combined_margin, cross_entropy, nll_loss
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import OpCase, asked, inside, integers

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
        check_vjp(
            lambda x, p, w: cross_entropy(x, p, w, label_smoothing=smoothing, **attrs),  # noqa: B023
            x,
            rng.random(shape),
            weight,
            rng=rng,
        )


def test_half_precision_keeps_its_dtype_and_sums_in_float32() -> None:
    x = np.full((7, 500), 3, np.float16)
    losses = cross_entropy(x, np.zeros(7, int), ignore_index=-100, reduction="none").data
    assert losses.dtype == np.float16
    np.testing.assert_allclose(losses, np.log(500), rtol=1e-3)
    total = nll_loss(np.full((300, 2), -300, np.float16), np.zeros(300, int), ignore_index=-100, reduction="mean").data
    assert total.dtype == np.float16
    assert total == 300  # the sum, 90000, is no float16


@pytest.mark.parametrize("op", [nll_loss, cross_entropy])
def test_an_empty_batch_and_a_batch_of_ignored_targets(op: Any) -> None:
    for x, target in ((np.ones((0, 4)), np.ones(0, int)), (np.ones((2, 4)), np.full(2, -100))):
        tensor = wrap(x, requires_grad=True)
        total = op(tensor, target, ignore_index=-100, reduction="sum")
        assert total.data == 0
        total.backward()
        np.testing.assert_array_equal(tensor.grad.data, np.zeros(x.shape))
        mean = op(tensor, target, ignore_index=-100, reduction="mean")
        assert np.isnan(mean.data)
        mean.backward()
        np.testing.assert_array_equal(tensor.grad.data, np.zeros(x.shape))
    empty = cross_entropy(wrap(np.ones((0, 4))), np.ones((0, 4)), ignore_index=-100, reduction="sum")
    assert empty.data == 0


@pytest.mark.parametrize("op", [nll_loss, cross_entropy])
def test_wrong_targets_are_named(op: Any) -> None:
    attrs = {"ignore_index": -100, "reduction": "mean"}
    x = np.zeros((3, 4))
    with pytest.raises(ValueError, match="class numbers from 0 to 3 or -100 to be left out, got 4"):
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
    with pytest.raises(ValueError, match="class probabilities leave no class 2 to ignore; drop ignore_index"):
        cross_entropy(np.zeros((3, 4)), np.zeros((3, 4)), ignore_index=2, reduction="mean")
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


@pytest.mark.parametrize("op", [nll_loss, cross_entropy])
def test_weights_of_class_numbers_have_no_gradient_and_say_so(op: Any) -> None:
    x, target, weight = np.ones((2, 4)), np.array([0, 1]), wrap(np.ones(4), requires_grad=True)
    loss = op(x, target, weight, ignore_index=-100, reduction="sum")
    with pytest.raises(GradientError, match=r"no gradient with respect to weight; pass weight.detach\(\)"):
        loss.backward()


# ---------------------------------------------------------------- combined margin


def slow_margin(x: Any, label: Any, *, m1: float, m2: float, m3: float) -> Any:
    y = x.copy()
    for row, of_class in enumerate(label):
        if of_class != -1:
            y[row, of_class] = math.cos(m1 * math.acos(x[row, of_class]) + m2) - m3
    return y


def torch_margin(torch: Any, x: Any, label: Any, *, m1: float, m2: float, m3: float) -> Any:
    chosen = torch.nn.functional.one_hot(label.clamp(min=0), x.shape[1]) * (label >= 0)[:, None]
    return torch.where(chosen.bool(), torch.cos(m1 * torch.acos(x) + m2) - m3, x)


MARGINS = [
    OpCase(combined_margin, [shape, shape[:1]], dict(zip(("m1", "m2", "m3"), m, strict=True)), slow_margin,
           [inside, integers(shape[1], -1)], torch_margin)
    for shape in [(6, 4), (1, 1), (0, 3)]
    for m in [(1.0, 0.0, 0.0), (1.0, 0.0, 0.35), (1.0, 0.5, 0.0), (0.3, 0.5, 0.4), (4.0, 0.0, 0.0)]
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(MARGINS))
def test_combined_margin(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_margins_at_the_ends_of_the_cosine() -> None:
    ends, label = np.array([[1.0, 0.0], [-1.0, 0.0], [1 + 1e-15, 0.0]]), np.zeros(3, int)
    for attrs in ({"m1": 1.0, "m2": 0.0, "m3": 0.2}, {"m1": 1.0, "m2": 0.5, "m3": 0.0}):
        x = wrap(ends, requires_grad=True)
        y = combined_margin(x, label, **attrs)
        np.testing.assert_allclose(y.data[:, 0], np.cos([attrs["m2"], np.pi + attrs["m2"], attrs["m2"]]) - attrs["m3"])
        y.sum().backward()
        assert np.isfinite(x.grad.data).all()
    assert np.isnan(combined_margin(np.array([[np.nan]]), np.zeros(1, int), m1=1.0, m2=0.5, m3=0.0).data).all()


def test_a_margin_of_the_cosine_alone_takes_no_detour_over_the_angle() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (100, 1)).astype(np.float32)
    y = combined_margin(x, np.zeros(100, int), m1=1.0, m2=0.0, m3=0.25).data
    np.testing.assert_array_equal(y, x - np.float32(0.25))


def test_wrong_inputs_of_margins_are_named() -> None:
    attrs = {"m1": 1.0, "m2": 0.5, "m3": 0.0}
    with pytest.raises(ValueError, match="expected cosines between -1 and 1; normalise"):
        combined_margin(np.full((2, 3), 1.1), np.zeros(2, int), **attrs)
    with pytest.raises(ValueError, match=r"CombinedMarginLoss: expected class numbers from 0 to 2 .*got 3"):
        combined_margin(np.zeros((2, 3)), np.array([3, 0]), **attrs)
    with pytest.raises(ShapeError, match=r"CombinedMarginLoss: expected cosines \(N, C\), got shape \(3,\)"):
        combined_margin(np.zeros(3), np.array([1]), **attrs)
    with pytest.raises(ShapeError, match=r"class numbers of shape \(2,\), got \(3,\)"):
        combined_margin(np.zeros((2, 3)), np.zeros(3, int), **attrs)
    with pytest.raises(DtypeError, match="floating point input, got int64"):
        combined_margin(np.zeros((2, 3), int), np.zeros(2, int), **attrs)
    with pytest.raises(DtypeError, match="integer class numbers, got float64"):
        combined_margin(np.zeros((2, 3)), np.zeros(2), **attrs)
