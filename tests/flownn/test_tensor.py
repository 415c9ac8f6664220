"""Tensors as values: attributes, conversion, printing, copying."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DeviceError, DtypeError, GradientError, ShapeError


def test_attributes() -> None:
    x = flow.zeros(2, 3, 4)
    assert (x.shape, x.ndim, x.dim(), x.numel(), len(x), x.size(-1)) == ((2, 3, 4), 3, 3, 24, 2, 4)
    assert repr(x.shape) == repr(x.size()) == "flownn.Size([2, 3, 4])"
    assert x.shape.numel() == 24
    assert (x.stride(), x.T.stride(), x.is_contiguous(), x.T.is_contiguous()) == ((12, 4, 1), (1, 4, 12), True, False)
    assert (x.dtype, x.element_size(), x.is_floating_point(), x.device, x.is_cuda) == (
        flow.float32, 4, True, flow.device("cpu"), False,
    )  # fmt: skip
    assert (x.is_leaf, x.requires_grad, x.grad, x.grad_fn) == (True, False, None, None)
    assert (x.requires_grad_() * 2).is_leaf is False


def test_the_constructor_takes_sizes_or_values() -> None:
    assert flow.Tensor(2, 3).shape == (2, 3)
    assert flow.Tensor().shape == (0,)
    array = np.array([1, 2])
    x = flow.Tensor(array)
    assert (x.dtype, x.tolist()) == (flow.float32, [1, 2])
    assert not np.shares_memory(x.numpy(), array)
    with pytest.raises(DtypeError, match="Tensor: expected sizes, or one array"):
        flow.Tensor([1], [2])


def test_conversion_to_python_and_numpy() -> None:
    x = flow.tensor([[1.5, 2], [3, 4]])
    assert x.tolist() == [[1.5, 2], [3, 4]]
    assert (float(x[0, 0]), int(x[1, 0]), bool(x[0, 1]), x[0, 0].item()) == (1.5, 3, True, 1.5)
    assert x.numpy() is x.data
    assert np.asarray(x) is x.data
    assert np.array(x, dtype=np.float64).dtype == np.float64
    assert flow.tensor([1.5], dtype=flow.bfloat16).tolist() == [1.5]
    assert f"{x[0, 0]:.2f}" == "1.50"
    assert 3 in x
    assert 5 not in x
    assert [row.tolist() for row in x] == [[1.5, 2], [3, 4]]
    assert x.requires_grad_().numpy() is x.data  # as the documentation's examples use it
    assert np.from_dlpack(flow.ones(2)).tolist() == [1, 1]
    with pytest.raises(ShapeError, match=r"item: expected one element, got shape \(2, 2\)"):
        x.item()
    with pytest.raises(ShapeError, match="truth of 4 elements"):
        bool(x)
    with pytest.raises(DtypeError, match="only integers can be an index"):
        range(x[0, 0])
    for call in (len, iter):
        with pytest.raises(TypeError, match="0-dim"):
            call(flow.tensor(1))


def test_numpy_leaves_operators_to_tensors() -> None:
    x = flow.ones(2, requires_grad=True)
    for result in (np.ones(2, np.float32) + x, np.float32(2) * x, np.ones(2) - x, np.ones(2) / x):
        assert isinstance(result, flow.Tensor)
        assert result.requires_grad


def test_comparison_with_none_and_hash() -> None:
    x = flow.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != 1).tolist() == [False, False]
    assert len({x, x, flow.ones(2)}) == 2


def test_to_changes_type_and_keeps_gradients() -> None:
    x = flow.ones(2, requires_grad=True)
    assert x.to(flow.float32) is x
    assert x.to("cpu") is x
    assert x.to(copy=True) is not x
    y = x.to("cpu", flow.float64)
    assert y.dtype is flow.float64
    (y * 3).sum().backward()
    assert (x.grad.tolist(), x.grad.dtype) == ([3, 3], flow.float32)
    assert x.to(flow.zeros(1, dtype=flow.int8)).dtype is flow.int8
    assert not x.long().requires_grad
    kinds = [x.float(), x.double(), x.half(), x.bfloat16(), x.long(), x.int(), x.bool(), x.type(flow.uint8)]
    assert [each.dtype.name for each in kinds] == [
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "bool", "uint8",
    ]  # fmt: skip
    assert x.type() == "flownn.float32"
    assert flow.ones(1, dtype=flow.int32).type_as(x).dtype is flow.float32


def test_detach_shares_memory_and_clone_does_not() -> None:
    x = flow.ones(2, requires_grad=True)
    assert x.detach().data is x.data
    assert not x.detach().requires_grad
    assert x.clone().requires_grad
    assert not np.shares_memory(x.clone().data, x.data)


def test_leaves_can_be_copied_and_pickled_whole() -> None:
    x = flow.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    copied = copy.deepcopy([x, x])
    assert copied[0] is copied[1]
    assert (copied[0].tolist(), copied[0].requires_grad, copied[0].grad.tolist()) == ([1, 2], True, [2, 4])
    copied[0].grad.zero_()
    assert x.grad.tolist() == [2, 4]
    again = pickle.loads(pickle.dumps(x))
    assert (again.tolist(), again.requires_grad, again.grad) == ([1, 2], True, None)
    for function in (copy.deepcopy, pickle.dumps):
        with pytest.raises(GradientError, match="only leaves"):
            function(x * 2)


@pytest.mark.skipif(flow.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said() -> None:
    for call in (flow.ones(1).cuda, lambda: flow.ones(1).to("cuda:1"), lambda: flow.zeros(1, device="cuda")):
        with pytest.raises(DeviceError, match=r"cuda: CuPy is (not installed|installed but)"):
            call()
    assert flow.cuda.device_count() == 0
    flow.cuda.synchronize()


F32 = "dtype=flownn.float32"


@pytest.mark.parametrize(("x", "text"), [
    (lambda: flow.tensor([[1.0, 2], [3, 4]]), f"tensor([[1., 2.],\n        [3., 4.]], {F32})"),
    (lambda: flow.tensor([-0.3161, 0, 0.5]), f"tensor([-0.3161,  0.0000,  0.5000], {F32})"),
    (lambda: flow.tensor(2.5), f"tensor(2.5000, {F32})"),
    (lambda: flow.tensor(24.0), f"tensor(24., {F32})"),
    (lambda: flow.tensor([1, -200]), "tensor([   1, -200], dtype=flownn.int64)"),
    (lambda: flow.tensor([True, False]), "tensor([ True, False], dtype=flownn.bool)"),
    (lambda: flow.tensor([]), f"tensor([], {F32})"),
    (lambda: flow.zeros(2, 0), f"tensor([], size=(2, 0), {F32})"),
    (lambda: flow.tensor([1e-5, 1.0]), f"tensor([1.0000e-05, 1.0000e+00], {F32})"),
    (lambda: flow.tensor([1.0, 1e9]), f"tensor([1.0000e+00, 1.0000e+09], {F32})"),
    (lambda: flow.tensor([1.0, float("nan"), -float("inf")]), f"tensor([1., nan, -inf], {F32})"),
    (lambda: flow.tensor([[[1], [2]], [[3], [4]]]),
     "tensor([[[1],\n         [2]],\n\n        [[3],\n         [4]]], dtype=flownn.int64)"),
    (lambda: flow.tensor([1.0], requires_grad=True), f"tensor([1.], {F32}, requires_grad=True)"),
    (lambda: flow.tensor([1.0], requires_grad=True) * 2, f"tensor([2.], {F32}, grad_fn=<multiply_backward>)"),
    (lambda: flow.tensor([1.5], dtype=flow.bfloat16), "tensor([1.5000], dtype=flownn.bfloat16)"),
])  # fmt: skip
def test_repr(x: Any, text: str) -> None:
    assert repr(x()) == text


def test_repr_of_long_tensors_is_shortened_and_wrapped() -> None:
    assert repr(flow.arange(2000)) == "tensor([   0,    1,    2,  ..., 1997, 1998, 1999], dtype=flownn.int64)"
    wide = repr(flow.arange(40))
    assert wide.splitlines()[1].startswith("        ")
    assert max(map(len, wide.splitlines())) <= 80
    square = repr(flow.zeros(100, 100)).splitlines()
    assert len(square) == 7
    assert square[3] == "        ...,"
    long_note = repr(flow.ones(6, requires_grad=True) + 0.25)
    assert long_note.splitlines()[-1] == "       grad_fn=<add_backward>)"


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(60))
def test_repr_is_that_of_torch_but_for_the_type(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0, 14, rng.integers(0, 4)))
    array = (rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 9)).astype(np.float32)
    array = np.asarray(np.rint(array) if seed % 3 == 0 else array)
    if array.size and seed % 2:
        array.reshape(-1)[rng.integers(array.size)] = rng.choice([0, np.nan, np.inf, -np.inf])
    ours = repr(flow.from_numpy(array)).replace(f", {F32}", "").replace(F32, "").rstrip()
    theirs = repr(torch.from_numpy(array))
    assert "".join(ours.split()).replace(",)", ")") == "".join(theirs.split())


@pytest.fixture
def _print_options() -> Any:
    yield
    flow.set_printoptions(profile="default")


@pytest.mark.torch
@pytest.mark.usefixtures("_print_options")
@pytest.mark.parametrize("options", [
    {"precision": 2}, {"threshold": 5, "edgeitems": 1}, {"linewidth": 40}, {"sci_mode": True}, {"sci_mode": False},
    {"profile": "short"}, {"profile": "full"}, {"profile": "short", "precision": 6},
])  # fmt: skip
def test_print_options_are_those_of_torch(options: dict[str, Any], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    flow.set_printoptions(**options)
    try:
        torch.set_printoptions(**options)
        for shape in ((3,), (2, 9), (40, 40), ()):
            array = np.asarray(rng.standard_normal(shape) * 50)
            for each in (array, np.rint(array), array.astype(np.int64), array > 0):
                ours = repr(flow.from_numpy(np.asarray(each)))
                theirs = repr(torch.from_numpy(np.asarray(each)))
                assert ours.split("dtype")[0].split(",\n       ")[0].rstrip(" ,\n)") == (
                    theirs.split("dtype")[0].split(",\n       ")[0].rstrip(" ,\n)")
                )
    finally:
        torch.set_printoptions(profile="default")


@pytest.mark.usefixtures("_print_options")
def test_print_options_stay_until_they_are_changed() -> None:
    flow.set_printoptions(precision=1)
    flow.set_printoptions(threshold=2)
    assert repr(flow.tensor([1.25, 2.5])) == f"tensor([1.2, 2.5], {F32})"
    assert "..." in repr(flow.arange(9))
    flow.set_printoptions(profile="full")
    assert "..." not in repr(flow.arange(5000))
    for wrong in ({"profile": "long"}, {"precision": -1}, {"edgeitems": 0}):
        with pytest.raises(ValueError, match="set_printoptions: expected"):
            flow.set_printoptions(**wrong)


def test_copies_of_tensors_parameters_and_modules() -> None:
    x = flow.ones(2, 3).T.requires_grad_()
    shallow = copy.copy(x)
    assert np.shares_memory(shallow.data, x.data)
    assert shallow.requires_grad
    parameter = flow.nn.Parameter(flow.ones(2))
    for each in (copy.copy(parameter), copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(each) is flow.nn.Parameter
        assert (each.tolist(), each.requires_grad) == ([1, 1], True)
    frozen = copy.deepcopy(flow.nn.Parameter(flow.ones(2), requires_grad=False))
    assert not frozen.requires_grad
    module = flow.nn.Sequential(flow.nn.Linear(2, 3), flow.nn.ReLU())
    for each in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert each[0].weight is not module[0].weight
        assert flow.equal(each[0].weight, module[0].weight)
        each(flow.ones(1, 2)).sum().backward()
        assert module[0].weight.grad is None
    half = pickle.loads(pickle.dumps(flow.ones(2, dtype=flow.bfloat16)))
    assert (half.dtype, half.tolist()) == (flow.bfloat16, [1, 1])
    assert pickle.loads(pickle.dumps(flow.bfloat16)) is flow.bfloat16
    assert copy.deepcopy(flow.Size((1, 2))) == (1, 2)


def test_integer_types_by_method() -> None:
    x = flow.tensor([1.5, -1.0])
    assert [each.dtype.name for each in (x.byte(), x.char(), x.short())] == ["uint8", "int8", "int16"]
    assert x.data_ptr() == x.view(2, 1).data_ptr() != x.clone().data_ptr()
    assert x[1:].data_ptr() == x.data_ptr() + 4


def test_less_common_attributes() -> None:
    x = flow.zeros(2, 3)
    assert (x.itemsize, x.nbytes, x.ndimension(), x.get_device(), x.storage_offset()) == (4, 24, 2, -1, 0)
    assert x[1, 1:].storage_offset() == 4
    assert [each.is_signed() for each in (x, x.bfloat16(), x.int(), x.byte(), x.bool())] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert flow.tensor([2]).is_nonzero()
    assert not flow.tensor(0.0).is_nonzero()
    assert x.is_same_size(flow.ones(2, 3))
    assert not x.is_same_size(flow.ones(3, 2))
    with pytest.raises(ShapeError, match="is_nonzero: expected one element"):
        x.is_nonzero()
    y = flow.ones(2, requires_grad=True) * 2
    with pytest.raises(GradientError, match="detach_: a view"):
        y[:1].detach_()
    assert y.detach_() is y
    assert (y.is_leaf, y.requires_grad) == (True, False)
    assert (flow.pi, flow.inf, flow.e > 2, flow.nan != flow.nan) == (np.pi, np.inf, True, True)
