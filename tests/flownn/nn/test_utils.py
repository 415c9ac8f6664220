"""Clipping of gradients, and parameters as one vector."""

import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)


def parameters(*grads: Any) -> list[flow.Tensor]:
    result = []
    for grad in grads:
        p = flow.nn.Parameter(flow.zeros(*np.shape(grad), dtype=flow.float64))
        p.grad = None if grad is None else flow.tensor(grad, dtype=flow.float64)
        result.append(p)
    return result


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf, "inf"])
def test_norm_is_that_of_all_gradients_as_one_vector(norm_type: Any) -> None:
    values = [[[3.0, -4.0]], [1.0, 2.0, -2.0]]
    together = np.concatenate([np.ravel(v) for v in values])
    norm = np.linalg.norm(together, ord=float(norm_type))
    chosen = parameters(*values)
    chosen.insert(1, parameters(None)[0])
    assert clip_grad_norm_(chosen, 1.5, norm_type).item() == pytest.approx(norm)
    clipped = np.concatenate([p.grad.data.ravel() for p in chosen if p.grad is not None])
    np.testing.assert_allclose(clipped, together * 1.5 / (norm + 1e-6), rtol=1e-12)


def test_small_gradients_stay_and_memory_is_kept() -> None:
    p = parameters([0.3, 0.4])[0]
    memory = p.grad.data
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(0.5)
    assert memory.tolist() == [0.3, 0.4]
    clip_grad_norm_(p, 0.1)
    assert p.grad.data is memory
    assert clip_grad_norm_([], 1.0).item() == 0


def test_not_finite() -> None:
    p = parameters([1.0, math.inf])[0]
    with pytest.raises(RuntimeError, match="the gradients' norm is inf; they were not scaled"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.data.tolist() == [1, math.inf]
    assert clip_grad_norm_(p, 1.0).item() == math.inf


@pytest.mark.torch
def test_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape) for shape in ((3, 4), (5,), (2, 2, 2))]
    ours, theirs = parameters(*grads), [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
    for p, g in zip(theirs, grads, strict=True):
        p.grad = torch.tensor(g)
    norm = torch.nn.utils.clip_grad_norm_(theirs, 2.0)
    assert clip_grad_norm_(ours, 2.0).item() == pytest.approx(norm.item(), rel=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-12)


def test_total_norm() -> None:
    values = [flow.tensor([[3.0, -4.0]]), flow.tensor([12.0])]
    assert get_total_norm(values).item() == pytest.approx(13)
    assert get_total_norm(values[0], "inf").item() == 4
    assert get_total_norm([]).item() == 0
    assert get_total_norm([flow.tensor([math.nan])]).item() != 0
    with pytest.raises(RuntimeError, match="get_total_norm: the norm is nan"):
        get_total_norm([flow.tensor([math.nan])], error_if_nonfinite=True)


@pytest.mark.parametrize("dtype", [flow.float16, flow.bfloat16, flow.float32, flow.int32])
def test_total_norm_in_every_order_of_memory_and_type(dtype: Any) -> None:
    whole = np.random.default_rng(1).integers(-9, 10, (4, 6, 5)).astype(dtype.dtype)
    pieces = [
        whole,
        whole.transpose(2, 0, 1),
        whole[:, ::2],
        whole[0, :, 3],
        np.zeros(0, dtype.dtype),
        whole[1, 1, 1:2],
    ]
    squares = sum(float((each.astype(np.float64) ** 2).sum()) for each in pieces)
    found = get_total_norm([flow.from_numpy(each) for each in pieces]).item()
    assert found == (int(math.sqrt(squares)) if dtype is flow.int32 else pytest.approx(math.sqrt(squares), rel=1e-6))


def test_clip_value() -> None:
    chosen = parameters([3.0, -0.5], None, [[-7.0]])
    memory = chosen[0].grad.data
    clip_grad_value_(chosen, 1)
    assert chosen[0].grad.data is memory
    assert [p.grad.tolist() for p in chosen if p.grad is not None] == [[1, -0.5], [[-1]]]
    half = flow.nn.Parameter(flow.zeros(2, dtype=flow.bfloat16))
    half.grad = flow.tensor([5.0, -1.0], dtype=flow.bfloat16)
    clip_grad_value_(half, 2)
    assert half.grad.tolist() == [2, -1]
    assert half.grad.dtype == flow.bfloat16


def test_gradients_that_a_backward_needs_may_not_be_clipped_unnoticed() -> None:
    x = flow.tensor([3.0, 4.0], requires_grad=True)
    for clip in (lambda: clip_grad_norm_(x, 0.1), lambda: clip_grad_value_(x, 0.1)):
        x.grad = flow.tensor([30.0, 40.0])
        y = (x * x.grad).sum()
        clip()
        with pytest.raises(flow.GradientError, match="clip_grad"):
            y.backward()


def test_vector_and_back() -> None:
    layer = flow.nn.Linear(3, 2)
    vector = parameters_to_vector(layer.parameters())
    np.testing.assert_array_equal(vector.data, np.concatenate([layer.weight.data.ravel(), layer.bias.data]))
    (vector * vector).sum().backward()
    np.testing.assert_allclose(layer.bias.grad.data, 2 * layer.bias.data)
    values = flow.tensor(np.arange(8, dtype=np.float32))
    vector_to_parameters(values, layer.parameters())
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert layer.bias.tolist() == [6, 7]
    assert layer.bias.is_leaf
    with pytest.raises(flow.ShapeError, match=r"vector_to_parameters: expected shape \(8,\), got \(9,\)"):
        vector_to_parameters(flow.zeros(9), layer.parameters())
