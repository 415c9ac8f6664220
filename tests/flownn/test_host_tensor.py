"""Tensors of records and of arrays: what they say, and that nothing computes with them."""

import copy
import pickle

import numpy as np
import pytest

import flownn as flow
from flownn.dtypes import as_dtype
from flownn.errors import DeviceError, DtypeError, GradientError
from flownn.host_tensor import HostTensor

ARRAYS = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros(0, np.float32), np.ones(4)]


def buffers():
    return HostTensor(flow.tensor_buffer, ARRAYS, range(3))


def records():
    return HostTensor(flow.record, [{"label": 1}, {"label": 2}], range(2))


def test_the_dtypes():
    assert repr(flow.record) == "flownn.of_record"
    assert repr(flow.tensor_buffer) == "flownn.tensor_buffer"
    for each in (flow.record, flow.tensor_buffer):
        assert not each.is_floating_point
        assert pickle.loads(pickle.dumps(each)) is each
        assert as_dtype(each.name) is each


def test_a_buffer_tensor_lists_its_arrays():
    tensor = buffers()
    assert isinstance(tensor, flow.Tensor)
    assert (tensor.shape, tensor.dtype, str(tensor.device)) == ((3,), flow.tensor_buffer, "cpu")
    assert (len(tensor), tensor.numel(), tensor.ndim, tensor.dim(), tensor.size(0), tensor.size()) == (
        3,
        3,
        1,
        1,
        3,
        (3,),
    )
    found = tensor.numpy()
    assert type(found) is list
    assert all(one is other for one, other in zip(found, ARRAYS, strict=True))
    assert repr(tensor) == "tensor([uint8 (2, 3), float32 (0,), float64 (4,)], dtype=flownn.tensor_buffer)"
    assert not any((tensor.is_cuda, tensor.requires_grad, tensor.is_floating_point()))
    assert tensor.is_leaf
    assert tensor.type() == "flownn.tensor_buffer"


def test_a_record_tensor():
    tensor = records()
    assert (tensor.shape, tensor.dtype) == ((2,), flow.record)
    assert repr(tensor) == "tensor(<2 records>, dtype=flownn.of_record)"
    with pytest.raises(DtypeError, match=r"flownn\.of_record is no array; a decoder such as nn\.OFRecordRawDecoder"):
        tensor.numpy()


def test_long_ones_are_shortened():
    assert repr(HostTensor(flow.tensor_buffer, [np.ones(1)] * 7, range(7))).count("(1,)") == 6


@pytest.mark.parametrize("tensor", [buffers(), records()], ids=["tensor_buffer", "record"])
@pytest.mark.parametrize("compute", [
    lambda x: x + 1, lambda x: 2 * x, lambda x: -x, lambda x: x == x, lambda x: x + x, lambda x: x.sum(),
    lambda x: x[0], lambda x: x.reshape(1, -1), lambda x: list(x), lambda x: x.add_(1), lambda x: flow.cat([x, x]),
    lambda x: flow.relu(x), lambda x: x.requires_grad_(),
    lambda x: flow.tensor(x), lambda x: x.item(), lambda x: x.tolist(), lambda x: x.clone(), lambda x: np.asarray(x),
    lambda x: flow.ones(2) + x, lambda x: np.ones(2) * x, lambda x: x.backward(), lambda x: flow.zeros_like(x),
    lambda x: x.float(), lambda x: x.to(flow.uint8), lambda x: x.to(flow.ones(1)), lambda x: x.contiguous(),
    lambda x: copy.deepcopy(x), lambda x: flow.nn.Linear(1, 1)(x)
])  # fmt: skip
def test_nothing_computes_with_them(tensor, compute):
    with pytest.raises(
        (DtypeError, GradientError),
        match=r"type flownn\.|cannot become|no array can have|gradient",
    ):
        compute(tensor)


@pytest.mark.parametrize("tensor", [buffers(), records()], ids=["tensor_buffer", "record"])
def test_they_stay_on_the_host_and_have_no_gradient(tensor):
    assert tensor.to("cpu") is tensor.cpu() is tensor.to(tensor.dtype) is tensor.detach() is tensor
    for move in (lambda: tensor.cuda(), lambda: tensor.to("cuda"), lambda: tensor.to(device="cuda:1")):
        with pytest.raises(DeviceError, match=r"type flownn\..* stays in host memory, got cuda"):
            move()
    with pytest.raises(GradientError, match="has no gradient"):
        tensor.requires_grad_()
    assert tensor.requires_grad_(False) is tensor


def test_a_copy_shares_nothing():
    copied = buffers().to(copy=True)
    for one, other in zip(copied.numpy(), ARRAYS, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not np.shares_memory(one, other) or not one.size
    assert copied.origins == (0, 1, 2)


@pytest.mark.parametrize("make", [
    lambda: flow.zeros(2, dtype=flow.record), lambda: flow.tensor([1], dtype=flow.tensor_buffer),
    lambda: flow.ones(2).to(flow.tensor_buffer), lambda: np.dtype(flow.record),
    lambda: flow.promote_types(flow.record, flow.float32), lambda: flow.set_default_dtype(flow.record),
    lambda: HostTensor(flow.float32, [], []), lambda: HostTensor(flow.tensor_buffer, [1], [None]),
])  # fmt: skip
def test_no_numbers_become_one(make):
    with pytest.raises(DtypeError):
        make()
