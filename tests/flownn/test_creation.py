"""Making tensors, dtypes, devices and random generators."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import backend, dtypes
from flownn.errors import DeviceError, DtypeError, ShapeError


@pytest.mark.parametrize(("values", "dtype"), [
    (1, "int64"), (1.5, "float32"), (True, "bool"), ([1, 2], "int64"), ([1, 2.5], "float32"), ([], "float32"),
    (np.float64(1), "float64"), (np.zeros(2, np.int8), "int8"), (np.zeros(2), "float64"), ([np.zeros(2)], "float32"),
])  # fmt: skip
def test_tensor_takes_the_type_from_the_values(values: Any, dtype: str) -> None:
    assert flow.tensor(values).dtype.name == dtype
    assert flow.tensor(values, dtype=flow.float16).dtype is flow.float16


def test_tensor_copies_and_from_numpy_shares() -> None:
    array = np.zeros(2, np.float32)
    copied, shared = flow.tensor(array), flow.from_numpy(array)
    array[0] = 1
    assert (copied.tolist(), shared.tolist()) == ([0, 0], [1, 0])
    assert flow.as_tensor(array).data is not None
    assert np.shares_memory(flow.as_tensor(array).data, array)
    assert flow.as_tensor(shared) is shared
    assert flow.as_tensor(array, dtype=flow.float64).dtype is flow.float64
    assert flow.as_tensor([1, 2]).tolist() == [1, 2]
    assert np.shares_memory(flow.from_dlpack(array).data, array)
    nested = flow.tensor([flow.tensor([1.0, 2.0]), [3, 4]], requires_grad=True)
    assert (nested.tolist(), nested.is_leaf) == ([[1, 2], [3, 4]], True)
    x = flow.ones(2, requires_grad=True)
    assert flow.tensor(x).requires_grad is False


def test_filled_and_counted() -> None:
    assert flow.zeros((2, 3)).shape == flow.zeros(2, 3).shape == flow.zeros([2, 3]).shape == (2, 3)
    assert flow.ones(()).item() == 1
    assert flow.empty(2, dtype=flow.int8).dtype is flow.int8
    assert flow.full((2,), 7).tolist() == [7, 7]
    assert (flow.full((2,), 7).dtype, flow.full((2,), 7.0).dtype, flow.full((2,), True).dtype) == (
        flow.int64, flow.float32, flow.bool,
    )  # fmt: skip
    assert flow.arange(2, 8, 3).tolist() == [2, 5]
    assert (flow.arange(3.0).dtype, flow.arange(3).dtype) == (flow.float32, flow.int64)
    assert flow.arange(3, 0, -1).tolist() == [3, 2, 1]
    assert flow.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert flow.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = flow.zeros(2, 3, dtype=flow.float64)
    for like in (flow.zeros_like, flow.ones_like, flow.empty_like, flow.rand_like, flow.randn_like):
        assert (like(x).shape, like(x).dtype, like(x, dtype=flow.float16).dtype) == ((2, 3), x.dtype, flow.float16)
    assert flow.full_like(x, 2).tolist() == [[2.0] * 3] * 2
    assert flow.zeros(2, requires_grad=True).requires_grad
    for values in ((1, 2, 0), (1, 2, -1)):
        with pytest.raises(ValueError, match="does not lead from 1 to 2"):
            flow.arange(*values)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: flow.tensor([[1], [1, 2]]), ShapeError, "tensor: nested sequences must have equal lengths"),
    (lambda: flow.tensor(["a"]), DtypeError, "expected one of float16"),
    (lambda: flow.tensor(1j), DtypeError, "expected one of float16"),
    (lambda: flow.from_numpy([1]), DtypeError, "expected a NumPy array, got list"),
    (lambda: flow.from_numpy(np.zeros(2, ">f4")), DtypeError, "native byte order"),
    (lambda: flow.from_numpy(np.zeros(2, np.uint32)), DtypeError, "expected one of float16"),
    (lambda: flow.zeros(2, dtype="float99"), DtypeError, "got 'float99'"),
    (lambda: flow.set_default_dtype(flow.int32), DtypeError, "expected a floating point type, got flownn.int32"),
    (lambda: flow.rand(2, dtype=flow.int32), DtypeError, "rand: expected a floating point type"),
    (lambda: flow.randint(3, 3, (2,)), ValueError, "expected high above low, got 3 and 3"),
    (lambda: flow.randint(3, 5), ShapeError, "sequence of sizes"),
    (lambda: flow.device("tpu"), DeviceError, "expected 'cpu', 'cuda' or 'cuda:<index>', got 'tpu'"),
    (lambda: flow.device("cpu:1"), DeviceError, "there is one cpu"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- dtypes and devices


def test_dtypes_are_known_to_numpy_and_by_many_names() -> None:
    assert np.zeros(2, flow.float16).dtype == np.float16
    assert np.dtype(flow.bfloat16).itemsize == flow.bfloat16.itemsize == 2
    for name in ("float32", np.float32, np.dtype("f4"), flow.float32, float, "float"):
        assert dtypes.as_dtype(name) is flow.float32
    assert dtypes.as_dtype(int) is flow.int64
    assert (flow.float, flow.int, flow.bool, flow.long, flow.double) == (
        flow.float32, flow.int32, dtypes.bool_, flow.int64, flow.float64,
    )  # fmt: skip
    assert repr(flow.bool) == "flownn.bool"


@pytest.mark.torch
def test_promotion_table_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for first in dtypes._ALL:
        for second in dtypes._ALL:
            want = torch.promote_types(getattr(torch, first.name), getattr(torch, second.name))
            assert f"torch.{flow.promote_types(first, second).name}" == str(want)


def test_the_default_dtype() -> None:
    try:
        flow.set_default_dtype(flow.float64)
        assert flow.get_default_dtype() is flow.float64
        for x in (flow.tensor(1.5), flow.zeros(2), flow.tensor([1]) * 0.5, flow.arange(2) / 2, flow.rand(1)):
            assert x.dtype is flow.float64
    finally:
        flow.set_default_dtype(flow.float32)


def test_devices_are_values() -> None:
    assert flow.device("cuda") == flow.device("cuda:0") == flow.device("cuda", 0) != flow.device("cuda:1")
    assert (str(flow.device("cuda:1")), str(flow.device(flow.device("cpu")))) == ("cuda:1", "cpu")
    assert len({flow.device("cpu"), flow.device("cpu")}) == 1
    array = np.zeros(2)
    assert backend.array_module(array, None, 2.0) is np
    assert backend.to_device(array, backend.CPU) is array
    assert backend.device_of(array) == backend.CPU


# ---------------------------------------------------------------- random numbers


DRAWS: list[Any] = [
    lambda g: flow.rand(5, generator=g), lambda g: flow.randn(5, generator=g), lambda g: flow.randperm(9, generator=g),
    lambda g: flow.randint(2, 9, (5,), generator=g), lambda g: flow.rand_like(flow.ones(5), generator=g),
    lambda g: flow.rand(5, dtype=flow.float16, generator=g), lambda g: flow.randn(5, dtype=flow.float64, generator=g),
    lambda g: flow.zeros(5).normal_(generator=g), lambda g: flow.zeros(5).uniform_(-1, 1, generator=g),
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_repeat_under_a_seed_and_from_a_stored_state(draw: Any) -> None:
    first = flow.Generator(3)
    assert draw(first).tolist() == draw(flow.Generator(3)).tolist()
    state = json.loads(json.dumps(first.get_state()))
    rest = [draw(first).tolist() for _ in range(3)]
    again = flow.Generator().set_state(state)
    assert [draw(again).tolist() for _ in range(3)] == rest
    assert rest[0] != rest[1]
    assert again.initial_seed() == 3
    assert draw(first.manual_seed(3)).tolist() == draw(flow.Generator(3)).tolist()
    with pytest.raises(ValueError, match="expected the entries"):
        first.set_state({"seed": 1})


def test_the_default_generator() -> None:
    flow.manual_seed(5)
    first = [flow.rand(3).tolist(), flow.randn(3).tolist()]
    flow.manual_seed(5)
    assert [flow.rand(3).tolist(), flow.randn(3).tolist()] == first
    assert flow.initial_seed() == 5
    assert flow.Generator(5).uniform((3,), np.dtype(np.float32)).tolist() == first[0]
    assert flow.default_generator.seed() == flow.initial_seed() != 5


def test_ranges_and_moments() -> None:
    g = flow.Generator(0)
    for dtype in (flow.float16, flow.bfloat16, flow.float32, flow.float64):
        x = flow.rand(20000, dtype=dtype, generator=g)
        assert x.dtype is dtype
        values = x.double().numpy()
        assert 0 <= values.min() < 0.01
        assert 0.99 < values.max() < 1  # never 1, also where rounding could make it one
        assert abs(values.mean() - 0.5) < 0.011  # five standard deviations of the mean
        y = flow.randn(20000, dtype=dtype, generator=g).double().numpy()
        assert abs(y.mean()) < 0.036
        assert abs(y.std() - 1) < 0.03
    n = flow.randint(-2, 3, (5000,), generator=g)
    assert sorted(set(n.tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(flow.randperm(50, generator=g).tolist()) == list(range(50))
    assert set(flow.randint(2, (100,), generator=g).tolist()) == {0, 1}


def test_threads_share_a_generator_without_drawing_twice() -> None:
    g = flow.Generator(1)
    drawn: list[float] = []
    threads = [
        threading.Thread(target=lambda: drawn.extend(flow.rand(500, dtype=flow.float64, generator=g).tolist()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(drawn)) == 4000
    assert sorted(drawn) == sorted(flow.rand(4000, dtype=flow.float64, generator=flow.Generator(1)).tolist())


# ---------------------------------------------------------------- more ways to make tensors


@pytest.mark.torch
def test_counted_tensors_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for call in (
        lambda m: m.logspace(-1, 2, 4), lambda m: m.logspace(0, 3, 4, 2.0), lambda m: m.tril_indices(3, 4),
        lambda m: m.tril_indices(3, 3, -1), lambda m: m.triu_indices(3, 4, 1), lambda m: m.triu_indices(2, 2),
    ):  # fmt: skip
        np.testing.assert_allclose(call(flow).numpy(), call(torch).numpy(), rtol=1e-6)
    assert flow.tril_indices(2, 2).dtype is flow.int64


def test_new_tensors_are_like_their_maker() -> None:
    x = flow.zeros(2, dtype=flow.float64)
    made = [
        x.new_zeros(2, 3),
        x.new_ones((2, 3)),
        x.new_full((2, 3), 7),
        x.new_empty([2, 3]),
        x.new_tensor([[1] * 3] * 2),
    ]
    assert all((each.dtype, each.shape, each.requires_grad) == (flow.float64, (2, 3), False) for each in made)
    assert (made[1].sum().item(), made[2].sum().item(), made[4].sum().item()) == (6, 42, 6)
    assert x.new_ones(1, dtype=flow.int8, requires_grad=False).dtype is flow.int8
    assert x.new_zeros(1, requires_grad=True).requires_grad
    copied = x.new_tensor(x)
    assert not np.shares_memory(copied.data, x.data)


MORE_DRAWS: list[Any] = [
    lambda g: flow.bernoulli(flow.full((9,), 0.5), generator=g), lambda g: flow.zeros(9).random_(100, generator=g),
    lambda g: flow.multinomial(flow.ones(9), 5, generator=g), lambda g: flow.normal(flow.zeros(5), 2.0, generator=g),
    lambda g: flow.multinomial(flow.ones(2, 9), 20, replacement=True, generator=g),
    lambda g: flow.normal(1.0, 2.0, (5,), generator=g), lambda g: flow.randint_like(flow.ones(9), 100, generator=g),
    lambda g: flow.zeros(5).exponential_(2.0, generator=g), lambda g: flow.zeros(9).bernoulli_(0.5, generator=g),
]  # fmt: skip


@pytest.mark.parametrize("draw", MORE_DRAWS)
def test_more_draws_repeat_under_a_seed(draw: Any) -> None:
    first = flow.Generator(3)
    values = draw(first)
    assert values.tolist() == draw(flow.Generator(3)).tolist()
    assert values.tolist() != draw(first).tolist()


def test_distributions() -> None:
    g = flow.Generator(0)
    chances = flow.tensor([0.0, 1.0, 0.25]).expand(20000, 3)
    drawn = flow.bernoulli(chances, generator=g)
    assert drawn.dtype is flow.float32
    np.testing.assert_allclose(drawn.mean(0).numpy(), [0, 1, 0.25], atol=0.016)  # five standard deviations
    weights = flow.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 0.0]])
    drawn = flow.multinomial(weights, 20000, replacement=True, generator=g)
    assert (drawn.shape, drawn.dtype) == ((2, 20000), flow.int64)
    counts = np.stack([np.bincount(row, minlength=3) for row in drawn.numpy()]) / 20000
    np.testing.assert_allclose(counts, [[0.25, 0, 0.75], [0.5, 0.5, 0]], atol=0.018)
    first = [flow.multinomial(weights[0], 2, generator=g).tolist() for _ in range(4000)]
    assert {tuple(each) for each in first} == {(0, 2), (2, 0)}
    assert abs(np.mean([each[0] == 0 for each in first]) - 0.25) < 0.035
    x = flow.normal(flow.tensor([0.0, 5.0]).expand(20000, 2), flow.tensor([1.0, 0.1]), generator=g)
    np.testing.assert_allclose(x.mean(0).numpy(), [0, 5], atol=0.036)
    np.testing.assert_allclose(x.std(0).numpy(), [1, 0.1], rtol=0.03)
    y = flow.zeros(20000, dtype=flow.float64).exponential_(4.0, generator=g)
    assert y.mean().item() == pytest.approx(0.25, abs=0.01)
    n = flow.zeros(5000).random_(2, 5, generator=g)
    assert sorted(set(n.tolist())) == [2, 3, 4]
    assert flow.randint_like(n, 2, 4).dtype is flow.float32


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: flow.bernoulli(flow.tensor([1.5])), ValueError, "probabilities from 0 to 1"),
    (lambda: flow.bernoulli(flow.tensor([1])), DtypeError, "floating point probabilities"),
    (lambda: flow.zeros(1).bernoulli_(-1), ValueError, "bernoulli_: expected probabilities"),
    (lambda: flow.multinomial(flow.tensor([1.0, 0.0]), 2), ValueError, "cannot draw 2 samples"),
    (lambda: flow.multinomial(flow.tensor([-1.0, 2.0]), 1), ValueError, "finite weights from 0"),
    (lambda: flow.multinomial(flow.ones(1, 1, 1), 1), ShapeError, r"weights \(n,\) or \(rows, n\)"),
    (lambda: flow.normal(0.0, 1.0), ShapeError, "a size for two numbers"),
    (lambda: flow.normal(flow.zeros(2), -1.0), ValueError, "standard deviations from 0"),
    (lambda: flow.randint_like(flow.ones(2), 0), ValueError, "high above low, got 0 and 0"),
    (lambda: flow.zeros(1).random_(3, 3), ValueError, "random_: expected high above low"),
    (lambda: flow.zeros(1).exponential_(0), ValueError, "positive rate"),
])  # fmt: skip
def test_wrong_distributions(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_sizes_by_name_and_the_state_of_the_default_generator() -> None:
    state = flow.get_rng_state()
    for make in (flow.zeros, flow.ones, flow.empty, flow.rand, flow.randn):
        assert make(size=(2, 3)).shape == make(size=[2, 3]).shape == (2, 3)
        with pytest.raises(ShapeError, match="expected sizes or size="):
            make(2, size=(3,))
    first = flow.rand(3).tolist()
    assert flow.seed() == flow.initial_seed()
    flow.set_rng_state(state)
    for make in (flow.rand, flow.rand, flow.randn, flow.randn):
        make(2, 3)
    assert flow.rand(3).tolist() == first
