"""Several results at once, distinct elements and counts, against NumPy and PyTorch."""

import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked

CASES = [
    OpCase(lambda x: flow.var_mean(x, 1), [(3, 4)], name="var_mean", expected=lambda x: (x.var(1, ddof=1), x.mean(1)),
           torch=lambda torch, x: torch.var_mean(x, 1)),
    OpCase(lambda x: flow.std_mean(x, (0, 2), correction=0, keepdim=True), [(3, 4, 2)], name="std_mean",
           expected=lambda x: (x.std((0, 2), keepdims=True), x.mean((0, 2), keepdims=True)),
           torch=lambda torch, x: torch.std_mean(x, (0, 2), correction=0, keepdim=True)),
    OpCase(lambda x: flow.var(x, 1, correction=2), [(3, 4)], name="var-correction", expected=lambda x: x.var(1, ddof=2),
           torch=lambda torch, x: torch.var(x, 1, correction=2)),
    OpCase(lambda x: flow.std(x, False), [(3, 4)], name="std-flag", expected=lambda x: x.std(),
           torch=lambda torch, x: torch.std(x, False)),
    OpCase(lambda x: flow.aminmax(x, dim=0), [(3, 4)], name="aminmax", expected=lambda x: (x.min(0), x.max(0)),
           torch=lambda torch, x: torch.aminmax(x, dim=0)),
    OpCase(lambda x: flow.count_nonzero(x > 0, 1), [(3, 4)], name="count_nonzero", differentiable=False,
           expected=lambda x: (x > 0).sum(1), torch=lambda torch, x: torch.count_nonzero(x > 0, 1)),
    OpCase(lambda x: flow.nanmean(x, 1), [(3, 4)], name="nanmean", expected=lambda x: x.mean(1),
           torch=lambda torch, x: torch.nanmean(x, 1)),
    OpCase(lambda x: flow.histc(x, 5, -1, 1), [(3, 4)], name="histc", differentiable=False,
           expected=lambda x: np.histogram(x, 5, (-1, 1))[0].astype(x.dtype),
           torch=lambda torch, x: torch.histc(x, 5, -1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_nan_is_left_out() -> None:
    x = flow.tensor([[1.0, math.nan, 3.0], [math.nan] * 3], requires_grad=True)
    assert flow.nansum(x, 1).tolist() == [4, 0]
    flow.nanmean(x, 1)[0].backward()
    assert flow.nanmean(x, 1)[0].item() == 2
    assert math.isnan(flow.nanmean(x, 1)[1].item())
    assert x.grad.tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    with pytest.raises(DtypeError, match="nanmean"):
        flow.nanmean(x.long())


def same(ours: Any, theirs: Any) -> None:
    ours = ours if isinstance(ours, tuple) else (ours,)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(20))
def test_distinct_elements_are_those_of_torch(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0, 5, rng.integers(1, 4)))
    x = rng.integers(-1, 2, shape).astype(rng.choice(["int64", "float32", "bool", "uint8"]))
    kinds = {"return_inverse": bool(seed % 2), "return_counts": bool(seed % 3)}
    for dim in (None, *range(len(shape))):
        if dim is not None and 0 in shape:
            continue  # PyTorch refuses some of these
        named = {} if dim is None else {"dim": dim}
        same(flow.unique(flow.tensor(x), **kinds, **named), torch.unique(torch.tensor(x), **kinds, **named))
        if x.size:
            theirs = torch.unique_consecutive(torch.tensor(x), **kinds, **named)
            same(flow.unique_consecutive(flow.tensor(x), **kinds, **named), theirs)


def test_distinct_elements() -> None:
    values, inverse, counts = flow.tensor([3, 1, 3]).unique(return_inverse=True, return_counts=True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 3], [1, 0, 1], [1, 2])
    assert flow.tensor([2.0, 1.0, 2.0], dtype=flow.bfloat16).unique().tolist() == [1, 2]
    assert flow.zeros(0).unique().shape == (0,)
    assert flow.zeros(3, 0).unique(dim=0).shape == (1, 0)
    assert flow.tensor(5).unique().tolist() == [5]


def test_counts() -> None:
    x = flow.tensor([0, 2, 2])
    assert x.bincount().tolist() == [1, 0, 2]
    assert x.bincount(minlength=5).tolist() == [1, 0, 2, 0, 0]
    weighted = x.bincount(flow.tensor([0.5, 1.0, 2.0]))
    assert (weighted.tolist(), weighted.dtype) == ([0.5, 0, 3], flow.float32)
    assert flow.histc(flow.tensor([1.0, 2.0, 4.0]), 3).tolist() == [1, 1, 1]
    assert flow.histc(flow.tensor([2.0, 2.0]), 2).tolist() == [0, 2]
    assert flow.histc(flow.zeros(0), 2).tolist() == [0, 0]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: flow.bincount(flow.tensor([-1])), ValueError, "integers from 0, got -1"),
    (lambda: flow.bincount(flow.ones(2)), DtypeError, "bincount: expected integers"),
    (lambda: flow.bincount(flow.tensor([[1]])), ShapeError, r"expected x \(n,\)"),
    (lambda: flow.histc(flow.ones(2), 0), ValueError, "positive number of bins"),
    (lambda: flow.histc(flow.tensor([math.inf])), ValueError, "finite range"),
    (lambda: flow.unique(flow.ones(2), dim=1), ShapeError, "unique: expected a dim"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
