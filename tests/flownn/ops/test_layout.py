"""Memory formats: where elements lie, and that nothing else changes."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import ShapeError
from tests.helpers.op_cases import OpCase, asked

CASES = [
    OpCase(lambda x: x.contiguous(memory_format=flow.channels_last), [(2, 3, 4, 5)], name="channels_last",
           expected=lambda x: x, torch=lambda torch, x: x.contiguous(memory_format=torch.channels_last)),
    OpCase(lambda x: x.to(memory_format=flow.channels_last_3d), [(2, 3, 2, 2, 2)], name="channels_last_3d",
           expected=lambda x: x, torch=lambda torch, x: x.to(memory_format=torch.channels_last_3d)),
    OpCase(lambda x: x.clone(memory_format=flow.contiguous_format), [(2, 3)], name="clone", expected=lambda x: x,
           torch=lambda torch, x: x.clone(memory_format=torch.contiguous_format)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1), (2, 1, 3, 3)])
def test_strides_are_those_of_torch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, theirs = flow.zeros(shape), torch.zeros(shape)
    y, want = x.to(memory_format=flow.channels_last), theirs.to(memory_format=torch.channels_last)
    for one, other in ((x, theirs), (y, want), (y.contiguous(), want.contiguous())):
        for name in ("contiguous_format", "channels_last"):
            ours = one.is_contiguous(memory_format=getattr(flow, name))
            assert ours == other.is_contiguous(memory_format=getattr(torch, name))
    if all(size > 1 for size in shape):  # the strides of dims of size 1 mean nothing
        assert y.stride() == want.stride()


def test_one_conversion_and_not_two() -> None:
    x = flow.rand(2, 3, 4, 4)
    y = x.to(memory_format=flow.channels_last)
    assert y.contiguous(memory_format=flow.channels_last) is y
    assert y.to(memory_format=flow.preserve_format) is y
    assert y.to(flow.float64).is_contiguous(memory_format=flow.channels_last)
    assert (y + 1).is_contiguous(memory_format=flow.channels_last)
    assert y.clone().is_contiguous(memory_format=flow.channels_last)
    assert copy.deepcopy(y).is_contiguous(memory_format=flow.channels_last)
    assert y.clone(memory_format=flow.contiguous_format).is_contiguous()
    assert not y.is_contiguous()
    assert flow.equal(x, y)
    assert y.to(flow.float64, memory_format=flow.contiguous_format).is_contiguous()


def test_formats_are_values() -> None:
    assert repr(flow.channels_last) == "flownn.channels_last"
    for each in (flow.channels_last, flow.preserve_format):
        assert pickle.loads(pickle.dumps(each)) is copy.deepcopy(each) is each


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.contiguous(memory_format=flow.channels_last), ShapeError, "flownn.channels_last is for 4 dims, got 2"),
    (lambda x: x.to(memory_format=flow.channels_last_3d), ShapeError, "is for 5 dims"),
    (lambda x: x.contiguous(memory_format=flow.preserve_format), ValueError, "a format with an order"),
    (lambda x: x.is_contiguous(memory_format="channels_last"), TypeError, "a memory format such as"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(2, 3))
