"""Embedding beside PyTorch's: text, initial values, training, given vectors, errors."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn, optim
from flownn.errors import DtypeError, ShapeError


@pytest.mark.torch
@pytest.mark.parametrize("options", [
    {}, {"padding_idx": 1}, {"padding_idx": -1}, {"max_norm": 1.5}, {"max_norm": 1.0, "norm_type": 1.0},
    {"scale_grad_by_freq": True}, {"padding_idx": 0, "max_norm": 2.0, "norm_type": 3.0, "scale_grad_by_freq": True},
], ids=str)  # fmt: skip
def test_text_state_results_and_gradients(options: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = nn.Embedding(6, 4, **options).double(), torch.nn.Embedding(6, 4, **options).double()
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert (ours.padding_idx, ours.max_norm, ours.norm_type) == (theirs.padding_idx, theirs.max_norm, theirs.norm_type)
    index = np.random.default_rng(0).integers(0, 6, (3, 7))
    for kind in (np.int64, np.int32):
        y, want = ours(flow.tensor(index.astype(kind))), theirs(torch.tensor(index))
        np.testing.assert_allclose(y.data, want.detach().numpy(), rtol=1e-12)
    g = np.random.default_rng(1).standard_normal(y.data.shape)
    y.backward(flow.tensor(g))
    want.backward(torch.tensor(g))
    assert ours.weight.grad is not None
    np.testing.assert_allclose(ours.weight.grad.data, theirs.weight.grad.numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-12)


def test_initial_values() -> None:
    flow.manual_seed(0)
    layer = nn.Embedding(300, 50, padding_idx=7)
    assert layer.weight.data[7].tolist() == [0] * 50
    others = np.delete(layer.weight.data, 7, axis=0)
    assert abs(others.mean()) < 0.03
    assert abs(others.std() - 1) < 0.03


def test_padding_is_not_trained() -> None:
    layer = nn.Embedding(4, 3, padding_idx=2)
    before = layer.weight.data.copy()
    sgd = optim.SGD(layer.parameters(), lr=0.1)
    layer(flow.tensor([0, 2, 2])).sum().backward()
    sgd.step()
    np.testing.assert_array_equal(layer.weight.data[1:], before[1:])
    assert (layer.weight.data[0] != before[0]).all()


def test_given_vectors() -> None:
    vectors = flow.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer = nn.Embedding(2, 2, padding_idx=0, _weight=vectors)
    assert layer.weight.data is vectors.data
    assert layer.weight.requires_grad
    frozen = nn.Embedding.from_pretrained(vectors, padding_idx=0)
    assert frozen.weight.data.tolist() == [[1, 2], [3, 4]]  # the padding too
    assert not frozen.weight.requires_grad
    assert repr(frozen) == "Embedding(2, 2, padding_idx=0)"
    assert nn.Embedding.from_pretrained(vectors, freeze=False, max_norm=1.0).weight.requires_grad
    assert frozen(flow.tensor([1])).data.tolist() == [[3, 4]]


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nn.Embedding(0, 2), ValueError, "Embedding: expected positive sizes, got 0 and 2"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "Embedding: expected a padding_idx from -3 to 2, got 3"),
    (lambda: nn.Embedding(3, 2, sparse=True), NotImplementedError, "Embedding: sparse=True is not available"),
    (lambda: nn.Embedding(3, 2, _weight=flow.ones(2, 3)), ShapeError, r"a _weight of shape \(3, 2\), got \(2, 3\)"),
    (lambda: nn.Embedding.from_pretrained(flow.ones(3)), ShapeError, r"expected embeddings \(V, D\), got shape \(3,\)"),
    (lambda: nn.Embedding(3, 2)(flow.tensor([3])), IndexError, "embedding: expected numbers from 0 to 2, got 3"),
    (lambda: nn.Embedding(3, 2)(flow.ones(3)), DtypeError, "embedding: expected a tensor of integers, got float32"),
])  # fmt: skip
def test_what_is_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
