"""Weight normalisation of modules: parameters, hook, removal, and the same training as in PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn.utils import remove_weight_norm, weight_norm


def test_parameters_and_state() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight
    assert weight_norm(layer) is layer
    assert [name for name, _ in layer.named_parameters()] == ["bias", "weight_g", "weight_v"]
    assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
    assert not isinstance(layer.weight, nn.Parameter)
    assert layer.weight_v.data is before.data
    np.testing.assert_allclose(layer.weight_g.data, np.linalg.norm(before.data, axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(layer.weight.data, before.data, rtol=1e-6)


def test_every_forward_uses_the_present_values() -> None:
    layer = weight_norm(nn.Linear(3, 2, bias=False))
    layer.load_state_dict({"weight_g": [[2.0], [10.0]], "weight_v": [[0.0, 3.0, 4.0], [0.0, 0.0, 1.0]]})
    assert layer(flow.ones(1, 3)).tolist() == [[pytest.approx(2.8), 10]]
    with flow.no_grad():
        layer.weight_g *= 2
    assert layer(flow.ones(1, 3)).tolist() == [[pytest.approx(5.6), 20]]
    assert layer.weight.requires_grad
    layer.double()
    assert layer(flow.ones(1, 3, dtype=flow.float64)).dtype == flow.float64


def test_removal_keeps_the_present_value() -> None:
    layer = weight_norm(nn.Conv2d(2, 3, 2), dim=None)
    assert layer.weight_g.shape == ()
    with flow.no_grad():
        layer.weight_g *= 3
    x = flow.tensor(np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32))
    expected = layer(x)
    assert remove_weight_norm(layer) is layer
    assert sorted(name for name, _ in layer.named_parameters()) == ["bias", "weight"]
    assert layer.weight.is_leaf
    np.testing.assert_allclose(layer(x).data, expected.data, rtol=1e-6)
    assert not layer._forward_pre_hooks


def test_two_weights_of_one_module() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(flow.ones(2, 2)), nn.Parameter(flow.ones(3))

        def forward(self) -> Any:
            return self.first.sum() + self.second.sum()

    module = weight_norm(weight_norm(Two(), "first", dim=1), "second")
    assert module.first_g.shape == (1, 2)
    assert module.second_g.shape == (3,)
    remove_weight_norm(module, "first")
    assert module().item() == pytest.approx(7)
    assert sorted(n for n, _ in module.named_parameters()) == ["first", "second_g", "second_v"]


def test_refusals() -> None:
    layer = weight_norm(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="weight_norm: 'weight' of this Linear is normalised already"):
        weight_norm(layer)
    with pytest.raises(AttributeError, match="weight_norm: Linear has no parameter 'scale'"):
        weight_norm(layer, "scale")
    with pytest.raises(ValueError, match="remove_weight_norm: 'bias' of this Linear is not normalised"):
        remove_weight_norm(layer, "bias")
    with pytest.raises(flow.ShapeError, match="weight_norm: expected a dim from -2 to 1, got 2"):
        weight_norm(nn.Linear(2, 2), dim=2)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("dim", [0, 1, -1, -2, None])
@pytest.mark.parametrize(("text", "shape"), [("Linear(4, 3)", (2, 4)), ("Conv1d(4, 6, 3)", (2, 4, 7))])
def test_trains_as_in_pytorch(text: str, shape: tuple[int, ...], dim: int | None) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.nn.utils.weight_norm(eval(f"nn.{text}", {"nn": torch.nn}).double(), dim=dim)
    ours = weight_norm(eval(f"nn.{text}", {"nn": nn}).double(), dim=dim)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    optimizers = [flow.optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)]
    for step in range(3):
        data = np.random.default_rng(step).standard_normal(shape)
        losses = [(ours(flow.tensor(data)) ** 2).sum(), (theirs(torch.tensor(data)) ** 2).sum()]
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-10)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].data, value.numpy(), rtol=1e-9)
