"""FusedMLP beside the layers that it stands for."""

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import ShapeError
from flownn.nn import functional as F


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("hidden", [[], [5], (5, 6)])
def test_it_computes_what_its_layers_would(hidden: list[int], skip: bool) -> None:
    fused = nn.FusedMLP(3, hidden, 4, skip)
    sizes = [3, *hidden, 4]
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        linear = nn.Linear(sizes[i], sizes[i + 1])
        linear.load_state_dict({"weight": fused.weight(i), "bias": fused.bias(i)})
        layers += [linear, nn.ReLU()]
    plain = nn.Sequential(*(layers[:-1] if skip else layers))
    x = flow.randn(2, 7, 3)
    y = fused(x)
    assert y.shape == (2, 7, 4)
    np.testing.assert_array_equal(y.data, plain(x).data)
    assert skip == bool((y.data < 0).any())
    y.sum().backward()
    plain(x).sum().backward()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        np.testing.assert_array_equal(one.grad.data, other.grad.data)


def test_names_members_and_text() -> None:
    fused = nn.FusedMLP(3, [5, 6], 4)
    assert list(fused.state_dict()) == ["weight_0", "bias_0", "weight_1", "bias_1", "weight_2", "bias_2"]
    assert [tuple(each.shape) for each in fused.weights()] == [(5, 3), (6, 5), (4, 6)]
    assert [tuple(each.shape) for each in fused.biases()] == [(5,), (6,), (4,)]
    assert fused.weight(1) is fused.weights()[1]
    assert fused.bias(2) is fused.biases()[2]
    assert repr(fused) == (
        "FusedMLP(in_features=3, hidden_features=[5, 6], out_features=4, skip_final_activation=False)"
    )
    old = fused.weight(0)
    fused.add_parameters()
    assert fused.weight(0) is not old
    assert len(list(fused.parameters())) == 6


def test_initial_values_are_those_of_linear() -> None:
    fused = nn.FusedMLP(100, [200], 50)
    for weight, bias in zip(fused.weights(), fused.biases(), strict=True):
        bound = weight.data.shape[1] ** -0.5
        for values in (weight.data, bias.data):
            assert 0.9 * bound < abs(values).max() <= bound
            assert values.std() == pytest.approx(bound / 3**0.5, rel=0.25)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"FusedMLP: expected positive sizes, got 3, \[0\] and 4"):
        nn.FusedMLP(3, [0], 4)
    with pytest.raises(ShapeError, match=r"FusedMLP: expected input \(..., 3\), got shape \(2, 4\)"):
        nn.FusedMLP(3, [5], 4)(F.relu(flow.ones(2, 4)))
