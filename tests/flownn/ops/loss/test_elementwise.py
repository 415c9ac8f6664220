"""Losses of single elements against their definitions, and against PyTorch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.loss.elementwise import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from tests.helpers.op_cases import OpCase, asked, normal, positive


def probability(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0.05, 0.95, shape)


def one_by_one(loss: Callable[..., float]) -> Callable[..., Any]:
    """The reduction of ``loss(*elements, **attrs)`` over elements of broadcast inputs; an absent one counts as 1."""

    def expected(*arrays: Any, reduction: str, **attrs: Any) -> Any:
        given = np.broadcast_arrays(*[np.ones(()) if each is None else each for each in arrays])
        losses = np.zeros(given[0].shape)
        for at in np.ndindex(*losses.shape):
            losses[at] = loss(*[float(each[at]) for each in given], **attrs)
        if reduction == "none":
            return losses
        total = np.array(math.fsum(losses.reshape(-1)))
        if reduction == "batchmean":
            return total / (losses.shape[0] if losses.ndim else 1)
        return total / losses.size if reduction == "mean" else total

    return expected


def smooth_l1(x: float, y: float, beta: float) -> float:
    d = abs(x - y)
    return d * d / (2 * beta) if d < beta else d - beta / 2


def huber(x: float, y: float, delta: float) -> float:
    d = abs(x - y)
    return d * d / 2 if d <= delta else delta * (d - delta / 2)


def bce(x: float, y: float, weight: float) -> float:
    return -weight * (y * math.log(x) + (1 - y) * math.log(1 - x))


def bce_with_logits(x: float, y: float, weight: float, pos_weight: float) -> float:
    s = 1 / (1 + math.exp(-x))
    return -weight * (pos_weight * y * math.log(s) + (1 - y) * math.log(1 - s))


def divergence(x: float, y: float, log_target: bool) -> float:
    if log_target:
        return math.exp(y) * (y - x)
    return y * (math.log(y) - x) if y > 0 else 0.0


def poisson(x: float, y: float, log_input: bool, full: bool, eps: float) -> float:
    loss = math.exp(x) - y * x if log_input else x - y * math.log(x + eps)
    return loss + (y * math.log(y) - y + math.log(2 * math.pi * y) / 2 if full and y > 1 else 0)


def reduce(losses: Any, reduction: str) -> Any:
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def torch_bce(torch: Any, x: Any, y: Any, weight: Any = None, *, reduction: str) -> Any:
    losses = torch.nn.functional.binary_cross_entropy(x, y, reduction="none")
    return reduce(losses if weight is None else losses * weight, reduction)  # PyTorch's own weight has no gradient


def torch_bce_with_logits(
    torch: Any, x: Any, y: Any, weight: Any = None, pos_weight: Any = None, *, reduction: str
) -> Any:
    f = torch.nn.functional
    p = 1 if pos_weight is None else pos_weight
    losses = (1 - y) * f.softplus(x) + p * y * f.softplus(-x)
    return reduce(losses if weight is None else losses * weight, reduction)


DIFFERENCES = [
    (mse_loss, {}, lambda x, y: (x - y) ** 2),
    (l1_loss, {}, lambda x, y: abs(x - y)),
    (smooth_l1_loss, {"beta": 1.0}, smooth_l1),
    (smooth_l1_loss, {"beta": 0.3}, smooth_l1),
    (smooth_l1_loss, {"beta": 0}, lambda x, y, beta: abs(x - y)),
    (huber_loss, {"delta": 1.0}, huber),
    (huber_loss, {"delta": 0.3}, huber),
]
SHAPES: list[Any] = [(), (5,), (2, 3, 4), (0, 3)]


def torch_function(name: str) -> Callable[..., Any]:
    return lambda torch, *tensors, **attrs: getattr(torch.nn.functional, name)(*tensors, **attrs)


CASES = [
    OpCase(op, [shape, shape], {"reduction": reduction, **attrs}, one_by_one(loss), torch=torch_function(op.__name__))
    for op, attrs, loss in DIFFERENCES
    for reduction, shape in [*(("none", shape) for shape in SHAPES), ("mean", (2, 3, 4)), ("sum", (5,)), ("sum", (0,))]
]
CASES += [
    OpCase(op, shapes, {"reduction": reduction, **attrs}, one_by_one(loss), torch=torch_function(op.__name__))
    for op, attrs, loss in DIFFERENCES[::2]
    for shapes, reduction in [([(3, 1), (3,)], "mean"), ([(2, 3), ()], "none"), ([(2, 1, 3), (4, 1)], "sum")]
]
CASES += [
    OpCase(binary_cross_entropy, shapes, {"reduction": reduction}, one_by_one(bce),
           [probability, probability, positive], torch_bce)
    for reduction in ("none", "mean", "sum")
    for shapes in [[(2, 3), (2, 3), None], [(2, 3), (2, 3), (3,)], [(2, 3), (2, 3), (2, 1)], [(2, 3), (2, 3), (2, 3)]]
]  # fmt: skip
CASES += [
    OpCase(binary_cross_entropy, [shape, shape, None], {"reduction": "sum"}, one_by_one(bce), probability, torch_bce)
    for shape in SHAPES
]
CASES += [
    OpCase(binary_cross_entropy_with_logits, shapes, {"reduction": reduction}, one_by_one(bce_with_logits),
           [normal, probability, positive, positive], torch_bce_with_logits)
    for reduction in ("none", "mean", "sum")
    for shapes in [[(2, 3), (2, 3), None, None], [(2, 3), (2, 3), (3,), None], [(2, 3), (2, 3), None, (3,)],
                   [(2, 3), (2, 3), (2, 1), (2, 3)]]
]  # fmt: skip
CASES += [
    OpCase(binary_cross_entropy_with_logits, [shape, shape, None, None], {"reduction": "sum"},
           one_by_one(bce_with_logits), [normal, probability, positive, positive], torch_bce_with_logits)
    for shape in SHAPES
]  # fmt: skip
CASES += [
    OpCase(kl_div, [shape, shape], {"reduction": reduction, "log_target": log_target}, one_by_one(divergence),
           [normal, normal if log_target else positive],
           lambda torch, x, y, **attrs: torch.nn.functional.kl_div(x, y, **attrs))
    for log_target in (False, True)
    for reduction, shape in [("none", (2, 3)), ("mean", (2, 3)), ("sum", (2, 3, 2)), ("batchmean", (2, 3, 2)),
                             ("batchmean", ()), ("sum", (0, 3))]
]  # fmt: skip
CASES += [  # targets of both signs, where PyTorch has nan
    OpCase(kl_div, [(3, 4), (3, 4)], {"reduction": reduction, "log_target": False}, one_by_one(divergence),
           name=f"kl_div-signed-{reduction}")
    for reduction in ("none", "batchmean")
]  # fmt: skip


CASES += [
    OpCase(poisson_nll_loss, shapes, {"reduction": reduction, "log_input": log_input, "full": full, "eps": 1e-3},
           one_by_one(poisson), [normal if log_input else positive, positive], torch_function("poisson_nll_loss"))
    for log_input in (True, False)
    for full in (True, False)
    for shapes, reduction in [([(2, 3, 4)] * 2, "none"), ([(2, 3, 4)] * 2, "mean"), ([()] * 2, "sum"),
                              ([(0, 3)] * 2, "sum"), ([(3, 1), (3,)], "mean")]
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*differ in shape and are broadcast:UserWarning")
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


LOSSES = [
    (mse_loss, {}),
    (l1_loss, {}),
    (smooth_l1_loss, {"beta": 1.0}),
    (huber_loss, {"delta": 1.0}),
    (poisson_nll_loss, {"log_input": True, "full": True, "eps": 1e-8}),
    (kl_div, {"log_target": False}),
    (binary_cross_entropy, {}),
    (binary_cross_entropy_with_logits, {}),
]


@pytest.mark.parametrize(("op", "attrs"), LOSSES)
def test_the_mean_of_nothing_is_nan_with_an_empty_gradient(op: Any, attrs: Any) -> None:
    x = wrap(np.ones((0, 3)), requires_grad=True)
    loss = op(x, np.ones((0, 3)), reduction="mean", **attrs)
    assert np.isnan(loss.data)
    loss.backward()
    assert x.grad.data.shape == (0, 3)


@pytest.mark.parametrize(("op", "attrs"), LOSSES)
def test_wrong_reductions_and_types_are_named(op: Any, attrs: Any) -> None:
    x = np.full((2, 3), 0.5)
    with pytest.raises(ValueError, match=r"Loss: expected a reduction of none, mean, sum.*, got 'avg'"):
        op(x, x, reduction="avg", **attrs)
    with pytest.raises(DtypeError, match=r"Loss: expected a floating point input, got int64"):
        op(x.astype(int), x.astype(int), reduction="mean", **attrs)


@pytest.mark.parametrize(("op", "attrs"), LOSSES[:5])
def test_differences_of_unequal_shapes_warn_or_are_refused(op: Any, attrs: Any) -> None:
    with pytest.warns(UserWarning, match=r"input \(3, 1\) and target \(3,\) differ in shape and are broadcast"):
        assert op(np.zeros((3, 1)), np.zeros(3), reduction="none", **attrs).data.shape == (3, 3)
    with (
        pytest.warns(UserWarning, match="differ in shape"),
        pytest.raises(ShapeError, match=r"shapes \(2, 3\) and \(2,\) do not broadcast"),
    ):
        op(np.zeros((2, 3)), np.zeros(2), reduction="mean", **attrs)


@pytest.mark.parametrize(("op", "attrs"), LOSSES[:5])
def test_types_of_differences_are_promoted(op: Any, attrs: Any) -> None:
    x = np.zeros(3, np.float32)
    assert op(x, np.zeros(3), reduction="none", **attrs).data.dtype == np.float64
    assert op(x, np.zeros(3, int), reduction="mean", **attrs).data.dtype == np.float32
    assert op(np.zeros(3, np.float16), x, reduction="sum", **attrs).data.dtype == np.float32


@pytest.mark.parametrize(("op", "attrs"), LOSSES[5:])
def test_the_others_want_one_shape_and_fractions(op: Any, attrs: Any) -> None:
    x = np.full((2, 3), 0.5)
    with pytest.raises(ShapeError, match=r"expected a target of the input's shape \(2, 3\), got \(1, 3\)"):
        op(x, x[:1], reduction="mean", **attrs)
    with pytest.raises(DtypeError, match="expected a floating point target, got int64"):
        op(x, np.ones((2, 3), int), reduction="mean", **attrs)


@pytest.mark.parametrize("op", [binary_cross_entropy, binary_cross_entropy_with_logits])
def test_weights_may_not_widen_the_loss(op: Any) -> None:
    x = np.full((2, 3), 0.5)
    for shape in ((2,), (4, 2, 3), (1, 2, 3)):
        with pytest.raises(ShapeError, match=r"expected a weight that broadcasts to the input's shape \(2, 3\)"):
            op(x, x, np.ones(shape), reduction="mean")
    with pytest.raises(ShapeError, match=r"expected a pos_weight that broadcasts .* got shape \(2,\)"):
        binary_cross_entropy_with_logits(x, x, None, np.ones(2), reduction="mean")


def test_limits_of_smooth_l1_and_huber() -> None:
    with pytest.raises(ValueError, match="SmoothL1Loss: expected a beta of at least 0, got -1"):
        smooth_l1_loss(np.zeros(2), np.zeros(2), reduction="mean", beta=-1)
    for delta in (0, -1, math.nan):
        with pytest.raises(ValueError, match="HuberLoss: expected a delta above 0"):
            huber_loss(np.zeros(2), np.zeros(2), reduction="mean", delta=delta)


@pytest.mark.parametrize(("op", "attrs"), LOSSES[1:4])
def test_gradients_where_the_pieces_meet(op: Any, attrs: Any) -> None:
    x = wrap(np.array([0.0, 1.0, -1.0, np.inf, np.nan]), requires_grad=True)
    op(x, np.zeros(5), reduction="none", **attrs).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0, 1, -1, 1, np.nan])


class TestBinaryCrossEntropy:
    def test_sure_and_wrong_is_100_not_infinite(self) -> None:
        x = wrap(np.array([0.0, 1.0, 0.0, 1.0]), requires_grad=True)
        target = wrap(np.array([1.0, 0.0, 0.0, 1.0]), requires_grad=True)
        loss = binary_cross_entropy(x, target, reduction="none")
        np.testing.assert_array_equal(loss.data, [100, 100, 0, 0])
        loss.sum().backward()
        np.testing.assert_array_equal(x.grad.data, [-1e12, 1e12, 0, 0])
        np.testing.assert_array_equal(target.grad.data, [100, -100, 100, -100])

    @pytest.mark.parametrize("wrong", [-0.01, 1.01, math.nan, math.inf])
    def test_values_outside_are_refused(self, wrong: float) -> None:
        fine = np.array([0.5, 0.5])
        with pytest.raises(ValueError, match="BCELoss: expected every input between 0 and 1; a sigmoid"):
            binary_cross_entropy(np.array([0.5, wrong]), fine, reduction="mean")
        with pytest.raises(ValueError, match="BCELoss: expected every target between 0 and 1"):
            binary_cross_entropy(fine, np.array([0.5, wrong]), reduction="mean")

    def test_tiny_probabilities_keep_their_digits(self) -> None:
        x = np.array([1e-30], np.float32)
        np.testing.assert_allclose(binary_cross_entropy(x, np.ones(1, "f4"), reduction="sum").data, 69.0776, rtol=1e-6)
        np.testing.assert_allclose(binary_cross_entropy(x, np.zeros(1, "f4"), reduction="sum").data, 1e-30, rtol=1e-6)

    @pytest.mark.torch
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_large_scores_are_exact(self, dtype: Any) -> None:
        torch = pytest.importorskip("torch", reason="compares with PyTorch")
        scores = np.array([-1e4, -100, -30, -1, 0, 1, 30, 100, 1e4], dtype).repeat(2)
        target = np.tile([0, 1], 9).astype(dtype)
        x, t = wrap(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
        loss = binary_cross_entropy_with_logits(x, target, None, np.array(3, dtype), reduction="none")
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            t, torch.tensor(target), pos_weight=torch.tensor(3, dtype=t.dtype), reduction="none"
        )
        np.testing.assert_allclose(loss.data, expected.detach().numpy(), rtol=1e-6, atol=1e-7)
        loss.sum().backward()
        expected.sum().backward()
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-6, atol=1e-7)

    def test_small_losses_of_scores_keep_their_digits(self) -> None:
        x = wrap(np.array([-30, 30], np.float32), requires_grad=True)
        loss = binary_cross_entropy_with_logits(x, np.array([0, 1], np.float32), reduction="none")
        np.testing.assert_allclose(loss.data, math.exp(-30), rtol=1e-6)
        loss.sum().backward()
        np.testing.assert_allclose(x.grad.data, [math.exp(-30), -math.exp(-30)], rtol=1e-5)


class TestDivergence:
    def test_a_target_that_is_not_positive_counts_nothing(self) -> None:
        x = wrap(np.array([1.0, -np.inf, 2.0]), requires_grad=True)
        target = wrap(np.array([0.0, 0.0, -1.0]), requires_grad=True)
        loss = kl_div(x, target, reduction="none", log_target=False)
        np.testing.assert_array_equal(loss.data, 0)
        loss.sum().backward()
        np.testing.assert_array_equal(x.grad.data, 0)
        np.testing.assert_array_equal(target.grad.data, 0)
        logs = kl_div(x, np.full(3, -np.inf), reduction="none", log_target=True)
        np.testing.assert_array_equal(logs.data, 0)

    def test_nan_is_not_hidden(self) -> None:
        assert np.isnan(kl_div(np.zeros(1), np.array([np.nan]), reduction="sum", log_target=False).data)
        assert np.isnan(kl_div(np.array([np.nan]), np.ones(1), reduction="sum", log_target=False).data)


def test_half_precision_is_added_up_in_float32() -> None:
    x = wrap(np.full(100_000, 200, np.float16), requires_grad=True)
    loss = mse_loss(x, np.zeros(100_000, np.float16), reduction="mean")
    assert loss.data.dtype == np.float16
    assert loss.data == 40_000  # the sum is far above what float16 holds
    loss.backward()
    np.testing.assert_allclose(x.grad.data, 400 / 100_000, rtol=1e-3)
