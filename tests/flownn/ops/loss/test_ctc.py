"""CTC against a sum over every path written out, and against PyTorch."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.loss.ctc import ctc_loss
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import OpCase, asked, normal


def meaning(path: tuple[int, ...], blank: int) -> list[int]:
    """The labels of a path: repetitions once, then without blanks."""
    return [label for label, _ in itertools.groupby(path) if label != blank]


def slow_ctc(
    log_probs: Any,
    targets: Any,
    *,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "none",
    zero_infinity: bool = False,
) -> Any:
    """Add up the probabilities of all paths that mean the target, sample by sample, path by path."""
    losses = []
    for n, (steps, count) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        target = list(targets[n, :count])
        total = 0.0
        for path in itertools.product(range(log_probs.shape[2]), repeat=steps):
            if meaning(path, blank) == target:
                total += math.exp(sum(log_probs[t, n, label] for t, label in enumerate(path)))
        loss = -math.log(total) if total else math.inf
        losses.append(0.0 if zero_infinity and loss == math.inf else loss)
    if reduction == "mean":
        return np.mean([loss / max(count, 1) for loss, count in zip(losses, target_lengths, strict=True)])
    return np.array(losses) if reduction == "none" else np.sum(losses)


def torch_ctc(torch: Any, scores: Any, targets: Any, *, input_lengths: Any, target_lengths: Any, **attrs: Any) -> Any:
    lengths = torch.tensor(input_lengths), torch.tensor(target_lengths)
    return torch.nn.functional.ctc_loss(scores.log_softmax(-1), targets, *lengths, **attrs)


def from_scores(scores: Any, targets: Any, **attrs: Any) -> Any:
    return ctc_loss(scores.log_softmax(-1), targets, **attrs)


def slow_from_scores(scores: Any, targets: Any, **attrs: Any) -> Any:
    return slow_ctc(scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)), targets, **attrs)


# input lengths, target lengths, blank, classes; the inputs have as many steps as the longest
SIZES: list[Any] = [
    ((5,), (2,), 0, 3),
    ((5, 4, 5), (2, 2, 1), 0, 3),
    ((5, 3), (3, 1), 2, 3),
    ((6, 2), (3, 2), 1, 2),  # one label only: nothing but repetitions; the second does not fit
    ((4, 1, 3), (0, 0, 2), 0, 4),
    ((2, 2), (1, 0), 0, 2),
    ((3, 0, 0), (2, 0, 1), 0, 3),
    ((1, 1), (1, 0), 3, 4),
]
REDUCTIONS = [("none", False), ("sum", True), ("mean", True)]


def labels(classes: int, blank: int) -> Any:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        drawn = rng.integers(0, classes - 1, shape)
        return drawn + (drawn >= blank)

    return draw


def fits(inputs: Any, counts: Any) -> bool:
    """Whether any target of these lengths fits, also if all of its labels are the same."""
    return all(steps >= max(2 * count - 1, 0) for steps, count in zip(inputs, counts, strict=True))


def case(op: Any, sizes: Any, reduction: str, zero_infinity: bool, expected: Any, torch: Any) -> OpCase:
    inputs, counts, blank, classes = sizes
    attrs = {"input_lengths": inputs, "target_lengths": counts, "blank": blank, "reduction": reduction}
    shapes = [(max(inputs), len(inputs), classes), (len(inputs), max(counts) + 1)]
    return OpCase(op, shapes, attrs | {"zero_infinity": zero_infinity}, expected, [normal, labels(classes, blank)],
                  torch, name=f"{op.__name__}-{inputs}-{counts}-{reduction}".replace(" ", ""))  # fmt: skip


CASES = [
    case(*row, sizes, reduction, zero_infinity, *results)
    for sizes in SIZES
    for reduction, zero_infinity in REDUCTIONS
    if zero_infinity or fits(*sizes[:2])
    for row, results in [((from_scores,), (slow_from_scores, torch_ctc)), ((ctc_loss,), (slow_ctc, None))]
]


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(8))
def test_random_batches_agree_with_torch(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(seed)
    steps, samples, classes = rng.integers(1, 30), rng.integers(1, 6), rng.integers(2, 12)
    inputs, longest = rng.integers(0, steps + 1, samples), int(rng.integers(0, 12))
    counts, blank = rng.integers(0, longest + 1, samples), int(rng.integers(0, classes))
    targets = labels(classes, blank)(rng, (samples, longest))
    scores = rng.standard_normal((steps, samples, classes)) * 3
    for reduction, zero_infinity in itertools.product(("none", "sum", "mean"), (False, True)):
        attrs: Any = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
        x, t = wrap(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
        loss = ctc_loss(x.log_softmax(-1), wrap(targets), inputs, wrap(counts), **attrs)
        want = torch.nn.functional.ctc_loss(
            t.log_softmax(-1), torch.tensor(targets), torch.tensor(inputs), torch.tensor(counts), **attrs
        )
        np.testing.assert_allclose(loss.data, want.detach().numpy(), rtol=1e-10, atol=1e-12)
        seeds = rng.standard_normal(loss.data.shape)
        loss.backward(seeds)
        want.backward(torch.tensor(seeds))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-8, atol=1e-10)  # nan in the same places


BASIC: Any = {"blank": 0, "reduction": "none", "zero_infinity": False}


def test_targets_one_after_the_other_are_the_same_as_padded_ones() -> None:
    scores = flow.randn(6, 3, 5).log_softmax(-1)
    padded = flow.tensor([[1, 2, 2], [3, -7, 99], [4, 1, 0]])  # what is behind a target's length is not read
    want = ctc_loss(scores, padded, (6, 4, 5), (3, 1, 2), **BASIC).data
    for dtype in (flow.int32, flow.int64, flow.uint8):
        joined = flow.tensor([1, 2, 2, 3, 4, 1], dtype=dtype)
        np.testing.assert_array_equal(ctc_loss(scores, joined, [6, 4, 5], flow.tensor([3, 1, 2]), **BASIC).data, want)


def test_one_sample_without_a_batch() -> None:
    scores = flow.randn(6, 4)
    want = ctc_loss(scores.reshape(6, 1, 4), flow.tensor([[1, 3]]), (6,), (2,), **BASIC)
    x = wrap(scores.data, requires_grad=True)
    for targets, lengths in [([1, 3], (6, 2)), ([[1, 3]], ((6,), (2,))), ([1, 3], (flow.tensor(6), flow.tensor([2])))]:
        loss = ctc_loss(x, flow.tensor(targets), *lengths, **BASIC)
        assert loss.shape == ()
        assert loss.data == want.data[0]
    loss.backward()
    assert x.grad.shape == (6, 4)


def test_empty_targets_cost_the_blanks() -> None:
    scores = np.random.default_rng(0).standard_normal((4, 2, 3))
    for targets in (np.zeros((2, 0), int), np.zeros(0, int), np.ones((2, 3), int)):
        loss = ctc_loss(wrap(scores), wrap(targets), (4, 2), (0, 0), **BASIC)
        np.testing.assert_allclose(loss.data, [-scores[:, 0, 0].sum(), -scores[:2, 1, 0].sum()])


def test_a_target_that_does_not_fit_costs_infinity_or_nothing() -> None:
    scores = np.random.default_rng(1).standard_normal((3, 2, 4))
    targets = wrap(np.array([[2, 2], [1, 3]]))  # the first needs a blank between, so 3 steps
    for zero_infinity, first, inside in ((False, math.inf, math.nan), (True, 0, 0)):
        x = wrap(scores, requires_grad=True)
        loss = ctc_loss(x, targets, (2, 3), (2, 2), **BASIC | {"zero_infinity": zero_infinity})
        assert loss.data[0] == first
        assert np.isfinite(loss.data[1])
        loss.sum().backward()
        np.testing.assert_array_equal(x.grad.data[:2, 0, [0, 2]], inside)  # of the blank and the label
        np.testing.assert_array_equal(x.grad.data[:2, 0, [1, 3]], 0)
        np.testing.assert_array_equal(x.grad.data[2:, 0], 0)
        np.testing.assert_allclose(x.grad.data[:, 1].sum(axis=1), -1)  # at every step one of the labels


def test_impossible_labels_have_a_finite_gradient() -> None:
    scores = np.random.default_rng(2).standard_normal((4, 1, 3))
    scores[1, 0, 2] = scores[2, 0, 0] = -np.inf
    x = wrap(scores, requires_grad=True)
    loss = ctc_loss(x, wrap(np.array([[1, 2]])), (4,), (2,), **BASIC)
    np.testing.assert_allclose(
        loss.data, slow_ctc(scores, np.array([[1, 2]]), input_lengths=(4,), target_lengths=(2,)), rtol=1e-12
    )
    loss.sum().backward()
    assert np.isfinite(x.grad.data).all()
    assert x.grad.data[1, 0, 2] == x.grad.data[2, 0, 0] == 0


def test_what_is_behind_an_input_is_not_read() -> None:
    scores = np.random.default_rng(5).standard_normal((6, 2, 3))
    targets = wrap(np.array([[1, 2], [2, 0]]))
    results = []
    for filler in (0.0, np.nan, -np.inf):
        scores[4:, 1] = filler
        x = wrap(scores.copy(), requires_grad=True)
        loss = ctc_loss(x, targets, (6, 4), (2, 1), **BASIC)
        loss.sum().backward()
        results.append((loss.data, x.grad.data))
    for loss, gradient in results[1:]:
        np.testing.assert_array_equal(loss, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


def test_log_probabilities_may_change_before_the_backward() -> None:
    x = wrap(np.zeros((3, 1, 3)), requires_grad=True)
    log_probs = x * 1
    loss = ctc_loss(log_probs, wrap(np.array([[1]])), (3,), (1,), **BASIC)
    log_probs.fill_(9.0)
    loss.sum().backward()  # what it needs was copied
    np.testing.assert_allclose(x.grad.data.sum(axis=2), -1)


def test_long_inputs_keep_their_digits_in_float32() -> None:
    rng = np.random.default_rng(3)
    scores, targets = rng.standard_normal((1500, 2, 20)), rng.integers(1, 20, (2, 120))
    results = []
    for dtype in (np.float32, np.float64):
        x = wrap(scores.astype(np.float32).astype(dtype), requires_grad=True)
        loss = ctc_loss(x.log_softmax(-1), wrap(targets), (1500, 1400), (120, 90), **BASIC)
        loss.sum().backward()
        results.append((loss.data, x.grad.data))
    (loss, gradient), (exact_loss, exact_gradient) = results
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-6)
    np.testing.assert_allclose(gradient, exact_gradient, atol=1e-4)  # unscaled sums are off by 3e-4


def test_the_gradient_is_that_of_any_log_probabilities() -> None:
    rng = np.random.default_rng(4)
    targets = np.array([[1, 1, 2], [3, 1, 0]])
    attrs = BASIC | {"input_lengths": (7, 5), "target_lengths": (3, 2), "reduction": "mean"}
    check_vjp(lambda x: ctc_loss(x, wrap(targets), **attrs), rng.standard_normal((7, 2, 4)) * 4, rng=rng)


WRONG: list[Any] = [
    ({"scores": (5, 2, 4, 1)}, ShapeError, r"expected log-probabilities \(T, N, C\) or \(T, C\)"),
    ({"scores": (5, 0, 4)}, ShapeError, r"none of them 0, got shape \(5, 0, 4\)"),
    ({"blank": 4}, ValueError, "expected a blank from 0 to 3, got 4"),
    ({"blank": -1}, ValueError, "expected a blank from 0 to 3, got -1"),
    ({"reduction": "batchmean"}, ValueError, "expected a reduction of none, mean, sum, got 'batchmean'"),
    ({"targets": [[1, 2], [0, 3]]}, ValueError, "expected targets from 0 to 3 without the blank 0, got 0"),
    ({"targets": [[1, 4], [3, 3]]}, ValueError, "without the blank 0, got 4"),
    ({"targets": [[1, -1], [3, 3]]}, ValueError, "without the blank 0, got -1"),
    ({"targets": [[1.0, 2.0], [1.0, 3.0]]}, DtypeError, "expected integer targets, got float32"),
    ({"targets": [[1, 2]]}, ShapeError, r"expected targets \(2, S\) or \(sum of target_lengths,\), got shape \(1, 2\)"),
    ({"targets": [1, 2, 3]}, ShapeError, "as many targets as target_lengths sum to, 4, got 3"),
    ({"inputs": (6, 5)}, ValueError, r"expected input_lengths from 0 to 5, got \[6, 5\]"),
    ({"inputs": (-1, 5)}, ValueError, "expected input_lengths from 0 to 5"),
    ({"inputs": (5, 5, 5)}, ShapeError, "expected input_lengths for 2 samples, got 3"),
    ({"inputs": (5.0, 4.0)}, DtypeError, "expected integer input_lengths, got float64"),
    ({"counts": (3, 2)}, ValueError, r"expected target_lengths from 0 to 2, got \[3, 2\]"),
    ({"counts": (2, -1)}, ValueError, "expected target_lengths from 0 to 2"),
    ({"counts": 2}, ShapeError, "expected target_lengths for 2 samples, got 1"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=[str(change) for change, *_ in WRONG])
def test_wrong_inputs_are_named(change: Any, error: type[Exception], message: str) -> None:
    given: Any = {"scores": (5, 2, 4), "targets": [[1, 2], [3, 3]], "inputs": (5, 5), "counts": (2, 2)} | change
    attrs = {name: change.get(name, BASIC[name]) for name in BASIC}
    with pytest.raises(error, match=f"CTCLoss: .*{message}"):
        ctc_loss(flow.zeros(*given["scores"]), flow.tensor(given["targets"]), given["inputs"], given["counts"], **attrs)


def test_log_probabilities_must_be_floating_point() -> None:
    with pytest.raises(DtypeError, match="CTCLoss: expected a floating point input, got int64"):
        ctc_loss(flow.ones(5, 1, 3, dtype=flow.int64), flow.tensor([[1]]), (5,), (1,), **BASIC)
