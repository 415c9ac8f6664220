"""Sequential, ModuleList and ModuleDict: what lists and dicts do, and how they print."""

import pytest

import flownn as flow
from flownn import nn


def kinds(modules: nn.Module) -> list[str]:
    return [type(module).__name__ for module in modules.children()]


def test_sequential_calls_in_order() -> None:
    net = nn.Sequential(nn.ZeroPad2d(1), nn.Flatten(), nn.Linear(16, 2))
    assert net(flow.ones(3, 1, 2, 2)).shape == (3, 2)


def test_sequential_is_a_list() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Flatten())
    assert net.append(nn.Identity()) is net
    assert len(net) == 3
    assert isinstance(net[-1], nn.Identity)
    assert kinds(net[1:]) == ["Flatten", "Identity"]
    net.insert(0, nn.Softmax(1))
    assert kinds(net) == ["Softmax", "ReLU", "Flatten", "Identity"]
    assert [name for name, _ in net.named_children()] == ["0", "1", "2", "3"]
    net[1] = nn.LogSoftmax(1)
    del net[0]
    assert isinstance(net.pop(), nn.Identity)
    assert kinds(net) == ["LogSoftmax", "Flatten"]
    with pytest.raises(IndexError, match="Sequential: index 2 is out of range for 2 modules"):
        _ = net[2]


def test_named_sequential_keeps_its_names() -> None:
    net = nn.Sequential({"pool": nn.MaxPool2d(2), "act": nn.ReLU(), "flat": nn.Flatten()})
    assert isinstance(net.act, nn.ReLU)
    del net[0]
    assert [name for name, _ in net.named_children()] == ["act", "flat"]
    assert [name for name, _ in net[1:].named_children()] == ["flat"]


def test_module_list() -> None:
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert [name for name, _ in layers.named_parameters()][::2] == ["0.weight", "1.weight", "2.weight"]
    layers += [nn.ReLU()]
    assert kinds(layers + nn.ModuleList([nn.Flatten()])) == ["Linear", "Linear", "Linear", "ReLU", "Flatten"]
    assert kinds(layers[1:3]) == ["Linear", "Linear"]
    assert kinds(layers) == ["Linear", "Linear", "Linear", "ReLU"]
    del layers[:2]
    assert [name for name, _ in layers.named_children()] == ["0", "1"]
    with pytest.raises(NotImplementedError, match="ModuleList"):
        layers(1)
    assert len(nn.ModuleList()) == 0


def test_module_dict() -> None:
    layers = nn.ModuleDict({"a": nn.ReLU()})
    layers["b"] = nn.Flatten()
    layers.update([("a", nn.Identity())])
    assert list(layers) == list(layers.keys()) == ["a", "b"]
    assert [type(module).__name__ for module in layers.values()] == ["Identity", "Flatten"]
    assert "a" in layers
    assert dict(layers.items())["b"] is layers["b"]
    assert isinstance(layers.pop("b"), nn.Flatten)
    del layers["a"]
    assert len(layers) == 0
    layers["c"] = nn.ReLU()
    layers.clear()
    assert len(layers) == 0
