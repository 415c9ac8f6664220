"""ParameterList and ParameterDict: what lists and dicts do, how they print, and that PyTorch's do the same."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn


def sizes(values: Any) -> list[int]:
    return [value.numel() for value in values]


def test_list() -> None:
    entries = nn.ParameterList(nn.Parameter(flow.ones(n)) for n in (1, 2, 3))
    assert entries.append(flow.ones(4)) is entries
    assert all(isinstance(each, nn.Parameter) for each in entries)
    assert isinstance(entries[1:], nn.ParameterList)
    assert sizes(entries[1:]) == [2, 3, 4]
    assert sizes(entries[::-2]) == [4, 2]
    assert entries[-1] is entries[3]
    entries[-1] = flow.ones(5)
    before = entries
    entries += entries
    assert entries is before
    assert sizes(entries) == [1, 2, 3, 5, 1, 2, 3, 5]
    assert len(list(entries.parameters())) == 4
    assert list(entries.state_dict()) == [str(i) for i in range(8)]
    with pytest.raises(IndexError, match="ParameterList: index 8 is out of range for 8 entries"):
        _ = entries[8]
    with pytest.raises(TypeError, match="expected an iterable of tensors, got Tensor"):
        entries.extend(flow.ones(3))
    with pytest.raises(RuntimeError, match="cannot be called"):
        entries(1)
    assert "0" not in dir(entries)


def test_tensors_share_their_memory_with_the_parameter() -> None:
    tensor = flow.ones(2)
    entries = nn.ParameterList([tensor])
    assert entries[0].data is tensor.data
    assert entries[0].requires_grad


def test_dict() -> None:
    entries = nn.ParameterDict([("b", flow.ones(1)), ("a", flow.ones(2))])
    entries["c"] = flow.ones(3)
    assert list(entries) == list(entries.keys()) == ["b", "a", "c"]
    assert list(reversed(entries)) == ["c", "a", "b"]
    assert sizes(entries.values()) == [1, 2, 3]
    assert dict(entries.items())["c"] is entries["c"] is entries.c
    assert "a" in entries
    assert "d" not in entries
    assert entries.get("d") is None
    assert entries.get("a", 5) is entries["a"]
    assert entries.setdefault("a", flow.ones(9)).numel() == 2
    assert isinstance(entries.setdefault("d", flow.ones(4)), nn.Parameter)
    entries.update({"z": flow.ones(8), "a": flow.ones(7)})
    assert list(entries) == ["b", "a", "c", "d", "z"]
    assert sizes(entries.values()) == [1, 7, 3, 4, 8]
    assert entries.popitem()[0] == "z"
    assert entries.pop("b").numel() == 1
    del entries["c"]
    assert list(entries.state_dict()) == ["a", "d"]
    both = entries | nn.ParameterDict({"d": flow.ones(1)})
    assert sizes(both.values()) == [7, 1]
    assert both["a"] is entries["a"]
    entries |= {"e": flow.ones(2)}
    assert list(entries.copy()) == ["a", "d", "e"]
    assert list(entries.fromkeys(["x", "y"], 3).items()) == [("x", 3), ("y", 3)]
    entries.clear()
    assert (len(entries), list(entries.parameters())) == (0, [])


def test_dict_refuses() -> None:
    entries = nn.ParameterDict({"a": flow.ones(1)})
    for key in ("keys", "training", "a.b", 3):
        with pytest.raises(ValueError, match="ParameterDict: "):
            entries[key] = flow.ones(1)
    assert list(entries) == ["a"]
    with pytest.raises(KeyError):
        _ = entries["keys"]
    with pytest.raises(KeyError, match="it is empty"):
        nn.ParameterDict().popitem()
    with pytest.raises(TypeError, match="expected a mapping or pairs, got int"):
        entries.update(3)
    with pytest.raises(ValueError, match="expected pairs, element 1 has length 3"):
        entries.update([("b", flow.ones(1)), ("c", 1, 2)])
    assert list(entries) == ["a"]
    with pytest.raises(RuntimeError, match="cannot be called"):
        entries()


def test_order_of_what_is_added() -> None:
    unsorted = [("b", flow.ones(1)), ("a", flow.ones(2))]
    assert list(nn.ParameterDict(dict(unsorted))) == ["a", "b"]
    assert list(nn.ParameterDict(OrderedDict(unsorted))) == ["b", "a"]
    assert list(nn.ParameterDict(nn.ParameterDict(unsorted))) == ["b", "a"]


def test_training_copying_and_converting() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([flow.ones(2), flow.ones(2)])
            self.biases = nn.ParameterDict({"only": flow.zeros(2)})

        def forward(self, x: Any) -> Any:
            return sum((x * weight for weight in self.weights), self.biases["only"])

    net = Sum()
    assert list(net.state_dict()) == ["weights.0", "weights.1", "biases.only"]
    net(flow.tensor([1.0, 2.0])).sum().backward()
    assert [p.grad.tolist() for p in net.parameters()] == [[1, 2], [1, 2], [1, 1]]
    other = copy.deepcopy(net).double()
    assert other.weights[1].dtype == flow.float64
    assert net.weights[1].dtype == flow.float32
    np.testing.assert_array_equal(other(flow.ones(2).double()).data, [2, 2])


# What is done with both libraries: (nn, function that makes tensors) -> a container
SCRIPTS: list[Callable[[Any, Any], Any]] = [
    lambda nn, ones: nn.ParameterList([ones(2, 3), nn.Parameter(ones(())), 3]),
    lambda nn, ones: nn.ParameterList([ones(2)]),
    lambda nn, ones: nn.ParameterList(),
    lambda nn, ones: nn.ParameterList([ones(i) for i in range(5)])[1:4:2],
    lambda nn, ones: nn.ParameterDict({"b": ones(2, 3), "a": ones(()), "c": None}),
    lambda nn, ones: nn.ParameterDict([("b", ones(1)), ("a", ones(2))]),
    lambda nn, ones: nn.Sequential(nn.ParameterList([ones(1), ones(2)]), nn.ParameterDict({"x": ones(1)})),
]


@pytest.mark.torch
@pytest.mark.parametrize("script", SCRIPTS)
def test_same_text_and_state_as_pytorch(script: Callable[[Any, Any], Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = script(nn, flow.ones), script(torch.nn, torch.ones)
    text = repr(theirs).replace("torch.FloatTensor", "torch.float32").replace("torch.", "flownn.")
    assert repr(ours) == text
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
