"""Batch normalisation, plain and fused, against its formula in float64, and against PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import memory_owner, wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.norm import batch_norm, fused_batch_norm
from flownn.overwritten import _saved_arrays
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of

SHAPES = [(5, 3), (4, 3, 5), (4, 3, 2, 5), (2, 3, 2, 3, 4)]


RUNNING = (np.array([0.5, -1.0, 2.0]), np.array([0.5, 1.0, 2.0]))


def slow_batch_norm(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        y[:, channel] = (x[:, channel] - mean[channel]) / np.sqrt(variance[channel] + eps)
        y[:, channel] = y[:, channel] * weight[channel] + bias[channel]
    return y


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_definition(shape: Any) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal(shape) * 3 + 2, rng.standard_normal(3), rng.standard_normal(3)
    running_mean, running_var = rng.standard_normal(3), rng.random(3) + 0.5
    arguments = (x, weight, bias, running_mean, running_var)
    y = batch_norm(*arguments, use_batch_statistics=False, momentum=0.3, eps=1e-3)
    np.testing.assert_allclose(y.data, slow_batch_norm(x, running_mean, running_var, weight, bias, 1e-3), atol=1e-12)

    channels = [x[:, c].reshape(-1) for c in range(3)]
    mean, biased = [c.mean() for c in channels], [c.var() for c in channels]
    new_mean = 0.7 * running_mean + 0.3 * np.array(mean)
    new_var = 0.7 * running_var + 0.3 * np.array([c.var(ddof=1) for c in channels])
    y = batch_norm(*arguments, use_batch_statistics=True, momentum=0.3, eps=1e-3)
    np.testing.assert_allclose(y.data, slow_batch_norm(x, mean, biased, weight, bias, 1e-3), atol=1e-12)
    np.testing.assert_allclose(running_mean, new_mean, atol=1e-13)
    np.testing.assert_allclose(running_var, new_var, atol=1e-13)


def by_statistics(
    x: Any, weight: Any, bias: Any, *, running: Any, use_batch_statistics: bool, momentum: float, eps: float
) -> Any:
    axes = (0, *range(2, x.ndim))
    mean, variance = (x.mean(axis=axes), x.var(axis=axes)) if use_batch_statistics else running
    weight, bias = (np.ones(3), np.zeros(3)) if weight is None else (weight, bias)
    return slow_batch_norm(x, mean, variance, weight, bias, eps)


def with_running(x: Any, weight: Any, bias: Any, *, running: Any, **attrs: Any) -> Any:
    """The op with the running statistics as attributes, since it changes them (here by momentum 0: not)."""
    return batch_norm(x, weight, bias, *running, **attrs)


CASES = [
    OpCase(
        with_running,
        [shape, affine, affine],
        {"running": RUNNING, "use_batch_statistics": batch, "momentum": 0.0, "eps": 1e-3},
        by_statistics,
        name=f"batch_norm-{shape}-{affine}-{batch}".replace(" ", ""),
        rtol={"float16": 2e-2},  # of the parameters, which have that type too
    )
    for shape in SHAPES
    for affine in ((3,), None)
    for batch in (True, False)
]


def fused_with_running(x: Any, addend: Any, weight: Any, bias: Any, *, running: Any, **attrs: Any) -> Any:
    return fused_batch_norm(x, addend, weight, bias, *running, **attrs)


def fused_by_statistics(x: Any, addend: Any, weight: Any, bias: Any, **attrs: Any) -> Any:
    return np.maximum(by_statistics(x, weight, bias, **attrs) + (0 if addend is None else addend), 0)


CASES += [
    OpCase(
        fused_with_running,
        [shape, addend and shape, affine, affine],
        {"running": RUNNING, "use_batch_statistics": batch, "momentum": 0.0, "eps": 1e-3},
        fused_by_statistics,
        name=f"fused_batch_norm-{shape}-{addend}-{affine}-{batch}".replace(" ", ""),
        rtol={"float16": 2e-2},
    )
    for shape in SHAPES
    for addend, affine in ((True, (3,)), (None, (3,)), (True, None))
    for batch in (True, False)
]


@pytest.mark.parametrize("question", QUESTIONS[:-1], ids=name_of)  # PyTorch is asked below, for many more rows
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_statistics_of_a_large_offset_batch_are_exact_in_float32() -> None:
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((64, 4, 40, 40)) + 1000).astype(np.float32)
    mean, var = np.zeros(4, np.float32), np.zeros(4, np.float32)
    batch_norm(x, None, None, mean, var, use_batch_statistics=True, momentum=1.0, eps=1e-5)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)])
@pytest.mark.parametrize("batch", [True, False])
def test_an_empty_batch_changes_nothing_and_has_zero_gradients(shape: Any, batch: bool) -> None:
    x, weight, bias = (wrap(np.ones(s), requires_grad=True) for s in (shape, 3, 3))
    running_mean, running_var = np.full(3, 2.0), np.full(3, 4.0)
    y = batch_norm(x, weight, bias, running_mean, running_var, use_batch_statistics=batch, momentum=0.5, eps=1e-5)
    assert y.data.shape == shape
    y.backward(np.zeros(shape))
    np.testing.assert_array_equal(running_mean, [2, 2, 2])
    np.testing.assert_array_equal(running_var, [4, 4, 4])
    assert x.grad.data.shape == shape
    np.testing.assert_array_equal([weight.grad.data, bias.grad.data], np.zeros((2, 3)))


def test_one_value_per_channel_is_refused_in_training_only() -> None:
    x = np.ones((1, 3, 1, 1))
    with pytest.raises(ShapeError, match=r"more than 1 value per channel when training, got \(1, 3, 1, 1\)"):
        batch_norm(x, use_batch_statistics=True, momentum=0.1, eps=1e-5)
    y = batch_norm(x, None, None, np.ones(3), np.ones(3), use_batch_statistics=False, momentum=0.1, eps=1e-5)
    np.testing.assert_array_equal(y.data, np.zeros_like(x))


def test_half_precision_input_with_float32_parameters() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 3, 5)).astype(np.float16)
    weight, bias = np.ones(3, np.float32), np.zeros(3, np.float32)
    y = batch_norm(x, weight, bias, use_batch_statistics=True, momentum=0.1, eps=1e-5).data
    assert y.dtype == np.float16
    wide = batch_norm(x.astype(np.float32), weight, bias, use_batch_statistics=True, momentum=0.1, eps=1e-5).data
    np.testing.assert_array_equal(y, wide.astype(np.float16))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("with_addend", [False, True])
def test_fused_saves_its_input_and_with_an_addend_its_result(
    with_addend: bool, channels_last: bool, dtype: str
) -> None:
    shape = (2, 32, 32, 3) if channels_last else (2, 3, 32, 32)
    x, addend = np.random.default_rng(5).standard_normal((2, *shape)).astype(dtype)
    x, addend = (np.moveaxis(each, -1, 1) if channels_last else each for each in (x, addend))
    leaf = wrap(x, requires_grad=True)
    y = fused_batch_norm(leaf, addend if with_addend else None, use_batch_statistics=True, momentum=0.1, eps=1e-5)
    assert y.grad_fn is not None
    saved = {id(memory_owner(array)) for array in _saved_arrays(y.grad_fn.vjp) if array.size >= x.size}
    assert saved == {id(memory_owner(x))} | ({id(memory_owner(y.data))} if with_addend else set())


@pytest.mark.parametrize("name", ["batch_norm", "fused_batch_norm"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_layout_stays_also_that_of_the_gradient(channels_last: bool, name: str) -> None:
    x = np.random.default_rng(7).standard_normal((2, 9, 10, 3) if channels_last else (2, 3, 9, 10))
    x = np.moveaxis(x, -1, 1) if channels_last else x
    op = {"batch_norm": batch_norm, "fused_batch_norm": fused_batch_norm}[name]
    y = op(wrap(x, requires_grad=True), use_batch_statistics=True, momentum=0.1, eps=1e-5)
    assert y.grad_fn is not None
    assert y.grad_fn.vjp is not None
    grad_x = y.grad_fn.vjp(np.ones_like(x))[0]()
    assert y.data.strides == grad_x.strides == x.strides


def test_fused_rectifies_in_half_precision_and_wants_an_addend_like_the_input() -> None:
    x = np.random.default_rng(6).standard_normal((4, 3, 5)).astype(np.float16)
    attrs = {"use_batch_statistics": True, "momentum": 0.1, "eps": 1e-5}
    y = fused_batch_norm(x, x, **attrs).data
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(y, np.maximum(batch_norm(wide, **attrs).data + wide, 0).astype(np.float16))
    with pytest.raises(ShapeError, match=r"FusedBatchNorm: expected addend of shape \(4, 3, 5\), got \(3, 5\)"):
        fused_batch_norm(x, x[0], **attrs)
    with pytest.raises(DtypeError, match="FusedBatchNorm: expected addend of the input's dtype float64, got float16"):
        fused_batch_norm(x.astype(np.float64), x, **attrs)


def test_what_is_missing_or_wrong_is_named() -> None:
    with pytest.raises(ShapeError, match=r"BatchNorm: expected input \(N, C, ...\), got shape \(3,\)"):
        batch_norm(np.ones(3), use_batch_statistics=True, momentum=0.1, eps=1e-5)
    with pytest.raises(ShapeError, match=r"BatchNorm: expected running_var of shape \(3,\), got \(1,\)"):
        batch_norm(np.ones((2, 3)), None, None, np.ones(3), np.ones(1), use_batch_statistics=True, momentum=1, eps=1)
    with pytest.raises(DtypeError, match="BatchNorm: expected weight of the input's dtype float64, got float32"):
        batch_norm(np.ones((2, 3)), np.ones(3, np.float32), use_batch_statistics=True, momentum=0.1, eps=1e-5)
    with pytest.raises(ValueError, match="running statistics, or use_batch_statistics"):
        batch_norm(np.ones((2, 3)), use_batch_statistics=False, momentum=0.1, eps=1e-5)
    with pytest.raises(DtypeError, match="BatchNorm: expected a floating point input, got int64"):
        batch_norm(np.ones((2, 3), np.int64), use_batch_statistics=True, momentum=0.1, eps=1e-5)


@pytest.mark.torch
def test_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(4)
    for shape, batch, affine, channels_last in product(SHAPES, (True, False), (True, False), (True, False)):
        x = rng.standard_normal(shape) * 3 + 2
        if channels_last:
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        parameters = [rng.standard_normal(3), rng.standard_normal(3)] if affine else []
        running = rng.standard_normal(3), rng.random(3) + 0.5
        their_running = [torch.tensor(a) for a in running]
        theirs = [torch.tensor(a, requires_grad=True) for a in (x, *parameters)]
        ours = [wrap(a, requires_grad=True) for a in (x, *parameters)]
        weight, bias = theirs[1:] or (None, None)
        expected = torch.nn.functional.batch_norm(theirs[0], *their_running, weight, bias, batch, 0.3, 1e-5)
        own = ours[1:] or (None, None)
        y = batch_norm(ours[0], *own, *running, use_batch_statistics=batch, momentum=0.3, eps=1e-5)
        np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-11)
        for a, b in zip(running, their_running, strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-12)
        g = rng.standard_normal(shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.grad.data, b.grad.numpy(), atol=1e-11)
