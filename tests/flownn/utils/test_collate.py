"""What becomes of samples, here and in PyTorch."""

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.utils.data import default_collate, default_convert

Pair = namedtuple("Pair", "x y")


def test_numbers_text_and_nothing_else() -> None:
    assert default_collate([1, 2]).dtype == flow.int64
    assert default_collate([1.5, 2]).dtype == flow.float64
    assert default_collate([True, False]).dtype == flow.bool
    assert default_collate([np.float32(1), np.float32(2)]).dtype == flow.float32
    assert default_collate(["a", "b"]) == ["a", "b"]
    assert default_collate([b"a"]) == [b"a"]
    for wrong in ([None], [object()], [np.array(["a"])]):
        with pytest.raises(TypeError, match=r"default_collate: .*pass a collate_fn"):
            default_collate(wrong)


def test_shapes_that_differ() -> None:
    for samples in ([np.zeros(2), np.zeros(3)], [flow.zeros(2), flow.zeros(3)], [[1], [1, 2]]):
        with pytest.raises(flow.ShapeError):
            default_collate(samples)


def test_gradients_pass_through() -> None:
    x = flow.ones(2, requires_grad=True)
    default_collate([x * 2, x * 3]).sum().backward()
    assert x.grad.tolist() == [5, 5]


def plain(value: Any) -> Any:
    """The same structure with arrays and their dtypes in place of tensors, of ours or of PyTorch's."""
    if hasattr(value, "dtype"):
        array = np.asarray(value.data if isinstance(value, flow.Tensor) else value)
        return array.tolist(), array.dtype, "array"
    if isinstance(value, dict):
        return type(value).__name__, {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(each) for each in value]
    return value


BATCHES: list[Any] = [
    [1, 2, 3],
    [1.5, 2.5],
    ["a", "b"],
    [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    [np.int16(4), np.int16(5)],
    [(1, "a"), (2, "b")],
    [[1, 2.5], [3, 4.5]],
    [{"x": 1, "y": [1.0, "t"]}, {"x": 2, "y": [3.0, "u"]}],
    [OrderedDict(x=1), OrderedDict(x=5)],
    [Pair(1, {"z": 2.0}), Pair(3, {"z": 4.0})],
    [[], []],
]


@pytest.mark.torch
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_as_in_pytorch(batch: list[Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    assert plain(default_collate(batch)) == plain(torch.utils.data.default_collate(batch))
    assert plain(default_convert(batch)) == plain(torch.utils.data.default_convert(batch))
