"""The names: every function and method has PyTorch's, and every function of elements a form in place."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import functions
from flownn.errors import DtypeError, ShapeError
from flownn.operators_in_place import InPlaceOperators

OURS_ALONE = {"power"}  # NumPy's name for pow
METHODS_ALONE = {"grad_sink", "isin", "std_mean", "var_mean"}


def test_every_public_name_exists_and_is_listed_once() -> None:
    assert len(set(flow.__all__)) == len(flow.__all__)
    for name in flow.__all__:
        assert getattr(flow, name) is not None
    for name in functions.__all__:
        assert inspect.getdoc(getattr(flow, name)), name


@pytest.mark.torch
def test_names_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert {name for name in functions.__all__ if not hasattr(torch, name)} == OURS_ALONE
    ours = {name for name in dir(flow.Tensor) if not name.startswith("_")}
    assert {name for name in ours if not hasattr(torch.Tensor, name)} == METHODS_ALONE


# methods with a form in place in PyTorch that are not functions of elements, or not available here
OTHERS = {
    "apply", "as_strided", "bernoulli", "cauchy", "conj_physical", "geometric", "i0", "igamma", "igammac",
    "ldexp",
    "log_normal", "map", "map2", "mvlgamma", "nextafter", "polygamma", "put", "index_reduce", "renorm", "resize",
    "resize_as", "resize_as_sparse", "set", "share_memory", "sparse_resize", "sparse_resize_and_clear", "squeeze",
    "swapaxes", "swapdims", "t", "transpose", "unsqueeze",
}  # fmt: skip


@pytest.mark.torch
def test_every_form_in_place_of_torch_is_here() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = {name for name in dir(torch.Tensor) if name.endswith("_") and not name.startswith("_")}
    missing = {name.removesuffix("_") for name in theirs if not hasattr(flow.Tensor, name)}
    assert missing <= OTHERS


# operands of methods that take some, and values where others are not defined
ARGUMENTS: dict[str, Any] = {
    name: (flow.tensor([0.5, 0.25, 2.0]),)
    for name in (
        "add sub mul div true_divide floor_divide remainder fmod pow atan2 hypot copysign xlogy eq ne lt le gt ge "
        "logical_and logical_or logical_xor clamp_min clamp_max heaviside"
    ).split()
} | {
    "lerp": (flow.ones(3), 0.25), "addcmul": (flow.ones(3), flow.ones(3)), "addcdiv": (flow.ones(3), flow.ones(3)),
    "clamp": (0.3, 0.6), "masked_fill": (flow.tensor([True, False, True]), 7.0), "cumsum": (0,), "cumprod": (0,),
    "masked_scatter": (flow.tensor([True, False, True]), flow.ones(3)), "index_fill": (0, flow.tensor([1]), 7.0),
    "index_add": (0, flow.tensor([1]), flow.ones(1)), "index_copy": (0, flow.tensor([1]), flow.ones(1)),
    "index_put": ((flow.tensor([1]),), flow.ones(1)), "scatter": (0, flow.tensor([1]), 7.0),
    "scatter_add": (0, flow.tensor([1]), flow.ones(1)),
    "scatter_reduce": (0, flow.tensor([1]), flow.ones(1), "amax"), "addmv": (flow.ones(3, 2), flow.ones(2)),
}  # fmt: skip
INTEGERS = {
    "bitwise_and": 3, "bitwise_or": 3, "bitwise_xor": 3, "bitwise_left_shift": 1, "bitwise_right_shift": 1, "gcd": 4,
    "lcm": 4,
}  # fmt: skip
MATRICES = {
    "tril": (), "triu": (), "fill_diagonal": (2.0,), "addmm": (flow.ones(2, 3), flow.ones(3, 2)),
    "addr": (flow.ones(2), flow.ones(2)), "addbmm": (flow.ones(4, 2, 3), flow.ones(4, 3, 2)),
}  # fmt: skip
DRAWN_OR_SET = {"copy", "fill", "zero", "uniform", "normal", "bernoulli", "random", "exponential"}
IN_PLACE = sorted(
    name.removesuffix("_")
    for name in vars(InPlaceOperators)
    if name.endswith("_") and not name.startswith("_") and name.removesuffix("_") not in DRAWN_OR_SET
)


def operands_of(name: str) -> tuple[Any, tuple[Any, ...]]:
    """A tensor and the further arguments of its method."""
    if name in INTEGERS or name == "bitwise_not":
        other = (flow.tensor([INTEGERS[name]] * 3),) if name in INTEGERS else ()
        return flow.tensor([1, 6, 12]), other
    if name in MATRICES:
        return flow.tensor([[1.0, 2.0], [3.0, 4.0]]), MATRICES[name]
    if name == "baddbmm":
        return flow.ones(1, 2, 2), (flow.ones(1, 2, 3), flow.ones(1, 3, 2))
    if name in ("acosh", "arccosh"):
        return flow.tensor([1.5, 2.0, 3.0]), ()
    return flow.tensor([0.5, -0.75, 0.25]), ARGUMENTS.get(name, ())


SAME = {"subtract": "sub", "multiply": "mul", "divide": "div", "clip": "clamp", "arctan2": "atan2", "not_equal": "ne",
        "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"}  # fmt: skip
AS_FLOAT64 = {"float_power"}


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_form_in_place_gives_the_same_in_the_same_memory(name: str) -> None:
    x, others = operands_of(SAME.get(name, name))
    if name in AS_FLOAT64:
        x, others = x.double().abs(), (flow.full((3,), 2.0),)
    plain = getattr(x, name, None)
    y = x.clone()
    array = y.data
    changed = getattr(y, name + "_")(*others)
    assert changed is y
    assert y.data is array
    assert y.dtype is x.dtype
    if plain is not None:
        np.testing.assert_array_equal(y.numpy(), plain(*others).numpy().astype(array.dtype))


def test_names_of_numpy_are_understood_where_torch_understands_them() -> None:
    x = flow.ones(2, 3)
    for name in "sum mean prod logsumexp amax amin argmax argmin all any std var norm".split():
        assert getattr(x, name)(axis=1).shape == (2,)
        assert getattr(flow, name)(input=x, axis=-1, keepdims=True).shape == (2, 1)
    assert x.max(axis=0).values.shape == (3,)
    assert flow.cat([x, x], axis=1).shape == (2, 6)
    assert flow.stack([x, x], axis=-1).shape == (2, 3, 2)
    assert x.cumsum(axis=0).tolist() == [[1] * 3, [2] * 3]
    assert x.unsqueeze(axis=0).squeeze(axis=0).shape == (2, 3)
    with pytest.raises(TypeError, match="axes"):
        x.sum(axes=0)


# ---------------------------------------------------------------- about tensors


def test_questions_about_tensors() -> None:
    x = flow.zeros(2, 3)
    assert flow.is_tensor(x)
    assert not flow.is_tensor(x.data)
    assert flow.is_floating_point(x)
    assert not flow.is_floating_point(x.long())
    assert flow.numel(x) == 6
    assert flow.result_type(x.half(), 1.0) is flow.float16
    assert flow.result_type(flow.tensor([1]), 1.0) is flow.float32
    assert flow.broadcast_shapes((2, 1), (3,), ()) == (2, 3)
    assert flow.softmax(x, 1).sum().item() == pytest.approx(2)
    assert flow.log_softmax(x, 1)[0, 0].item() == pytest.approx(-np.log(3))
    with pytest.raises(ShapeError, match=r"broadcast_shapes: \(2,\), \(3,\) do not broadcast"):
        flow.broadcast_shapes((2,), (3,))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_limits_of_floating_point_types_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = flow.finfo(getattr(flow, name)), torch.finfo(getattr(torch, name))
    for each in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(ours, each) == pytest.approx(getattr(theirs, each)), each


@pytest.mark.torch
@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8"])
def test_limits_of_integer_types_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = flow.iinfo(getattr(flow, name)), torch.iinfo(getattr(torch, name))
    for each in ("bits", "max", "min", "dtype"):
        assert getattr(ours, each) == getattr(theirs, each)


def test_limits_refuse_the_other_kind() -> None:
    assert flow.finfo().dtype == "float32"
    with pytest.raises(DtypeError, match="see iinfo"):
        flow.finfo(flow.int8)
    with pytest.raises(DtypeError, match="see finfo"):
        flow.iinfo(flow.float32)
