"""Looking rows up one number at a time; gradients of repeated ones; renormalised rows; one-hot tables."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, GradientError, ShapeError
from flownn.nn import functional as F
from flownn.ops.embedding import embedding, one_hot
from tests.helpers.gradcheck import gradients_of
from tests.helpers.op_cases import OpCase, asked, integers, normal


def one_at_a_time(weight: Any, index: Any, **attrs: Any) -> Any:
    y = np.zeros((*index.shape, weight.shape[1]))
    for place in np.ndindex(*index.shape):
        y[place] = weight[index[place]]
    return y


def in_torch(torch: Any, weight: Any, index: Any, **attrs: Any) -> Any:
    return torch.nn.functional.embedding(index, weight, **attrs)


CASES = [
    OpCase(embedding, [(5, 3), shape], expected=one_at_a_time, sample=(normal, integers(5)), torch=in_torch)
    for shape in ((4,), (2, 30), (), (0, 2), (2, 1, 3))
]
# These are no gradients of the forward, so that a central difference does not apply.
SCALED = [
    {"padding_idx": 2},
    {"scale_grad_by_freq": True},
    {"padding_idx": 0, "scale_grad_by_freq": True},
]


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("attrs", SCALED, ids=str)
def test_padding_and_frequency_change_the_gradient(attrs: Any, rng: np.random.Generator) -> None:
    weight, index, g = rng.standard_normal((5, 3)), rng.integers(0, 4, (4, 6)), rng.standard_normal((4, 6, 3))
    want = np.zeros_like(weight)
    for place in np.ndindex(*index.shape):
        number = index[place]
        if number != attrs.get("padding_idx"):
            want[number] += g[place] / ((index == number).sum() if "scale_grad_by_freq" in attrs else 1)
    y = embedding(flow.tensor(weight), flow.tensor(index), **attrs)
    np.testing.assert_array_equal(y.data, weight[index])  # the padding too
    got, _ = gradients_of(lambda w, i: embedding(w, i, **attrs), [weight, index], [g])
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.torch
@pytest.mark.parametrize("attrs", SCALED, ids=str)
def test_padding_and_frequency_are_those_of_torch(attrs: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    weight, index, g = rng.standard_normal((5, 3)), rng.integers(0, 4, (4, 6)), rng.standard_normal((4, 6, 3))
    theirs = torch.tensor(weight, requires_grad=True)
    in_torch(torch, theirs, torch.tensor(index), **attrs).backward(torch.tensor(g))
    got, _ = gradients_of(lambda w, i: embedding(w, i, **attrs), [weight, index], [g])
    np.testing.assert_allclose(got, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_many_small_gradients_of_half_precision_are_summed_wide() -> None:
    weight, index = np.zeros((2, 1), np.float16), np.zeros(4096, np.int64)
    (got, _) = gradients_of(embedding, [weight, index], [np.full((4096, 1), 0.5, np.float16)])
    assert got.tolist() == [[2048], [0]]  # one after the other in float16 they would stop at 1024


@pytest.mark.torch
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, float("inf")])
def test_max_norm_changes_the_rows_that_are_looked_up(norm_type: float, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    data = rng.standard_normal((6, 4)) * np.array([[3], [0.1], [1], [3], [2], [0.2]])
    index = np.array([[0, 1, 1], [2, 4, 0]])
    weight, theirs = flow.tensor(data), torch.tensor(data)
    y = F.embedding(flow.tensor(index), weight, max_norm=1.0, norm_type=norm_type)
    want = torch.nn.functional.embedding(torch.tensor(index), theirs, max_norm=1.0, norm_type=norm_type)
    np.testing.assert_allclose(y.data, want.numpy(), rtol=1e-12)
    np.testing.assert_allclose(weight.data, theirs.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(weight.data[[1, 3, 5]], data[[1, 3, 5]])  # short, or not looked up
    assert (abs(weight.data - data).max(axis=1)[[0, 2, 4]] > 0.01).all()


def test_max_norm_counts_as_a_change_in_place() -> None:
    weight = flow.tensor([[3.0, 4.0], [0.0, 1.0]], requires_grad=True)
    square = (weight * weight).sum()
    y = F.embedding(flow.tensor([0]), weight, max_norm=1.0)
    y.sum().backward()  # itself it needs no values
    assert weight.grad is not None
    assert weight.grad.data.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(GradientError, match="embedding"):
        square.backward()
    fine = (weight * weight).sum()
    F.embedding(flow.tensor([1]), weight, max_norm=2.0)  # short already
    fine.backward()


def test_negative_padding_counts_from_the_end() -> None:
    weight = flow.ones(3, 2, requires_grad=True)
    F.embedding(flow.tensor([0, 2, 2]), weight, padding_idx=-1).sum().backward()
    assert weight.grad is not None
    assert weight.grad.data.tolist() == [[1, 1], [0, 0], [0, 0]]


TABLE = flow.ones(4, 2)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: F.embedding(flow.tensor([1, 4]), TABLE), IndexError, "embedding: expected numbers from 0 to 3, got 4"),
    (lambda: F.embedding(flow.tensor([-1]), TABLE), IndexError, "embedding: expected numbers from 0 to 3, got -1"),
    (lambda: F.embedding(flow.tensor([-1]), TABLE, max_norm=1), IndexError, "got -1"),
    (lambda: F.embedding(flow.ones(2), TABLE), DtypeError, "embedding: expected a tensor of integers, got float32"),
    (lambda: F.embedding(flow.tensor([True]), TABLE), DtypeError, "expected a tensor of integers, got bool"),
    (lambda: F.embedding(flow.tensor([0]), flow.ones(4)), ShapeError, r"embedding: expected a weight \(V, D\), got"),
    (lambda: F.embedding(flow.tensor([0]), TABLE, 4), ValueError, "a padding_idx from -4 to 3, got 4"),
    (lambda: F.embedding(flow.tensor([0]), TABLE, sparse=True), NotImplementedError, "sparse=True is not available"),
    (lambda: F.one_hot(flow.tensor([0, 3]), 3), ValueError, "one_hot: expected numbers from 0 to 2, got 3"),
    (lambda: F.one_hot(flow.tensor([-1, 3])), ValueError, "one_hot: expected numbers from 0 to 3, got -1"),
    (lambda: F.one_hot(flow.ones(2)), DtypeError, "one_hot: expected a tensor of integers, got float32"),
    (lambda: F.one_hot(flow.zeros(0, dtype=flow.int64)), ValueError, "num_classes for an empty tensor"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(4,), (2, 3), (), (0, 2)])
@pytest.mark.parametrize("num_classes", [5, 7])
def test_one_hot_is_that_of_torch(shape: Any, num_classes: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    index = rng.integers(0, 5, shape)
    want = torch.nn.functional.one_hot(torch.tensor(index), num_classes).numpy()
    got = F.one_hot(flow.tensor(index), num_classes).data
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype


def test_one_hot_values_and_their_type() -> None:
    index = flow.tensor([2, 0], dtype=flow.int32)
    assert flow.one_hot(index, 4, 5, -1).data.tolist() == [[-1, -1, 5, -1], [5, -1, -1, -1]]
    y = one_hot(index, num_classes=-1, on_value=0.9, off_value=0)
    assert y.dtype is flow.float32
    np.testing.assert_array_equal(y.data, np.array([[0, 0, 0.9], [0.9, 0, 0]], np.float32))
