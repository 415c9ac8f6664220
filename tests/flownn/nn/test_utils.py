"""Clipping of gradients."""

import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.nn.utils import clip_grad_norm_


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
