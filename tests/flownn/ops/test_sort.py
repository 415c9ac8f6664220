"""Order along a dim against NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked


def ordered(axis: int, descending: bool) -> Any:
    def slow(x: Any) -> Any:
        index = np.argsort(-x if descending else x, axis=axis, kind="stable")
        return np.take_along_axis(x, index, axis), index

    return slow


CASES = [
    *(
        OpCase(lambda x, d=d, r=r: flow.sort(x, d, r), [(3, 4)], name=f"sort-{d}-{r}", expected=ordered(d, r),
               torch=lambda torch, x, d=d, r=r: torch.sort(x, d, r))
        for d in (0, -1) for r in (False, True)
    ),
    OpCase(lambda x: flow.argsort(x, 0, descending=True), [(3, 4)], name="argsort", differentiable=False,
           expected=lambda x: np.argsort(-x, axis=0), torch=lambda torch, x: torch.argsort(x, 0, descending=True)),
    OpCase(flow.msort, [(4, 2)], expected=lambda x: np.sort(x, 0), torch=lambda torch, x: torch.msort(x)),
    OpCase(lambda x: flow.topk(x, 2, 1), [(3, 4)], name="topk",
           expected=lambda x: tuple(each[:, :2] for each in ordered(1, True)(x)),
           torch=lambda torch, x: torch.topk(x, 2, 1)),
    OpCase(lambda x: flow.topk(x, 3, 0, largest=False), [(3, 4)], name="topk-smallest", expected=ordered(0, False),
           torch=lambda torch, x: torch.topk(x, 3, 0, largest=False)),
    OpCase(lambda x: flow.topk(x, 0), [(3, 4)], name="topk-none",
           expected=lambda x: (x[:, :0], np.zeros((3, 0), int)), torch=lambda torch, x: torch.topk(x, 0)),
    OpCase(lambda x: flow.kthvalue(x, 2, 1), [(3, 4)], name="kthvalue",
           expected=lambda x: tuple(each[:, 1] for each in ordered(1, False)(x)),
           torch=lambda torch, x: torch.kthvalue(x, 2, 1)),
    OpCase(lambda x: flow.kthvalue(x, 3, 0, keepdim=True), [(3, 4)], name="kthvalue-kept",
           expected=lambda x: tuple(each[2:] for each in ordered(0, False)(x)),
           torch=lambda torch, x: torch.kthvalue(x, 3, 0, keepdim=True)),
    OpCase(lambda x: flow.median(x, 1), [(3, 4)], name="median",
           expected=lambda x: tuple(each[:, 1] for each in ordered(1, False)(x)),
           torch=lambda torch, x: torch.median(x, 1)),
    OpCase(lambda x: flow.median(x), [(3, 3)], name="median-all", expected=np.median,
           torch=lambda torch, x: torch.median(x)),
    OpCase(lambda x: flow.nanmedian(x, 0, keepdim=True), [(5, 2)], name="nanmedian",
           expected=lambda x: tuple(each[2:3] for each in ordered(0, False)(x)),
           torch=lambda torch, x: torch.nanmedian(x, 0, keepdim=True)),
    *(
        OpCase(lambda x, i=i: flow.quantile(x, 0.3, 1, interpolation=i), [(3, 6)], name=f"quantile-{i}",
               expected=lambda x, i=i: np.quantile(x, 0.3, axis=1, method=i),
               torch=lambda torch, x, i=i: torch.quantile(x, 0.3, 1, interpolation=i), dtypes=("float32", "float64"))
        for i in ("linear", "lower", "higher", "nearest", "midpoint")
    ),
    OpCase(lambda x: flow.quantile(x, flow.tensor([0.0, 0.25, 1.0]), 0, keepdim=True), [(4, 3)], name="quantile-many",
           expected=lambda x: np.quantile(x, [0, 0.25, 1], axis=0, keepdims=True),
           torch=lambda torch, x: torch.quantile(x, torch.tensor([0.0, 0.25, 1.0]).double(), 0, keepdim=True)),
    OpCase(lambda x: flow.quantile(x, 0.75), [(4, 3)], name="quantile-all", expected=lambda x: np.quantile(x, 0.75),
           torch=lambda torch, x: torch.quantile(x, 0.75)),
    OpCase(lambda x: flow.quantile(x, 0.5, keepdim=True), [(4, 3)], name="quantile-all-kept",
           expected=lambda x: np.quantile(x, 0.5, keepdims=True),
           torch=lambda torch, x: torch.quantile(x, 0.5, keepdim=True)),
    OpCase(lambda x: flow.sort(x), [()], name="sort-0-dim", expected=lambda x: (x, np.array(0)),
           torch=lambda torch, x: torch.sort(x)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "bfloat16"])
@pytest.mark.parametrize("descending", [False, True])
def test_every_type_is_sorted_and_equal_ones_keep_their_order(dtype: str, descending: bool) -> None:
    x = flow.tensor([1, 0, 1, 3, 0, 2], dtype=dtype)
    values, index = x.sort(descending=descending)
    plain = [int(each) for each in x.tolist()]
    want = sorted(range(6), key=lambda i: (-plain[i] if descending else plain[i], i))
    assert index.tolist() == want
    assert (values.tolist(), values.dtype.name) == ([x.tolist()[i] for i in want], dtype)


def test_nan_is_the_largest() -> None:
    x = flow.tensor([2.0, float("nan"), 1.0, float("nan")])
    assert x.sort().indices.tolist() == [2, 0, 1, 3]
    assert x.sort(descending=True).indices.tolist() == [1, 3, 0, 2]
    assert x.topk(1).indices.tolist() == [1]
    assert x.bfloat16().topk(1, largest=False).indices.tolist() == [2]
    assert [each.item() for each in x.median(0)][1] == 1
    assert np.isnan(x.median().item())
    assert [each.item() for each in x.nanmedian(0)] == [1, 2]
    assert np.isnan(flow.tensor([float("nan")]).nanmedian().item())
    assert np.isnan(flow.quantile(x, 0.1).item())


@pytest.mark.torch
def test_mode_and_search_are_those_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for shape in ((7,), (4, 9), (2, 5, 3)):
        x = rng.integers(0, 4, shape)
        for dim in range(-1, len(shape)):
            for keepdim in (False, True):
                ours, theirs = flow.mode(flow.tensor(x), dim, keepdim), torch.mode(torch.tensor(x), dim, keepdim)
                np.testing.assert_array_equal(ours.values.numpy(), theirs.values.numpy())
                np.testing.assert_array_equal(ours.indices.numpy(), theirs.indices.numpy())
    lines, values = np.sort(rng.integers(0, 6, (3, 2, 7)), -1), rng.integers(-1, 7, (3, 2, 5))
    for right in (False, True):
        want = torch.searchsorted(torch.tensor(lines), torch.tensor(values), right=right)
        np.testing.assert_array_equal(
            flow.searchsorted(flow.tensor(lines), flow.tensor(values), right=right).numpy(), want.numpy()
        )
        want = torch.bucketize(torch.tensor(values), torch.tensor(lines[0, 0]), right=right, out_int32=True)
        ours = flow.bucketize(flow.tensor(values), flow.tensor(lines[0, 0]), right=right, out_int32=True)
        np.testing.assert_array_equal(ours.numpy(), want.numpy())
        assert ours.dtype is flow.int32
    assert flow.searchsorted(flow.tensor([1, 3, 5]), 3, side="right").item() == 2


def test_mode_and_the_gradient_of_what_was_picked() -> None:
    x = flow.tensor([[1.0, 2, 2, 3, 3]], requires_grad=True)
    values, index = flow.mode(x)
    assert (values.tolist(), index.tolist()) == ([2], [2])
    values.sum().backward()
    assert x.grad.tolist() == [[0, 0, 1, 0, 0]]
    assert flow.mode(flow.tensor(3.0)).values.item() == 3


def test_empty_and_0_dim() -> None:
    assert flow.zeros(2, 0).sort(1).values.shape == (2, 0)
    assert flow.zeros(0, 2).topk(1, 1).indices.shape == (0, 1)
    assert [each.tolist() for each in flow.tensor(3.0).topk(1)] == [3, 0]
    assert flow.tensor(3.0).median(0).values.item() == 3
    assert flow.quantile(flow.tensor(3.0), 0.5).item() == 3


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.topk(5), ShapeError, "topk: expected k from 0 to 4, the size of dim 1, got 5"),
    (lambda x: x.kthvalue(0), ShapeError, "kthvalue: expected k from 1 to 4"),
    (lambda x: x.sort(2), ShapeError, "sort: expected a dim from -2 to 1"),
    (lambda x: x[:, :0].median(1), ShapeError, "median: nothing to choose from"),
    (lambda x: x[:, :0].mode(1), ShapeError, "mode: nothing to choose from"),
    (lambda x: x.long().quantile(0.5), DtypeError, "quantile: expected a floating point type"),
    (lambda x: x.quantile(1.5), ValueError, "fractions from 0 to 1"),
    (lambda x: x.quantile(0.5, interpolation="cubic"), ValueError, "linear, lower, higher, nearest, midpoint"),
    (lambda x: flow.searchsorted(x, flow.zeros(4)), ShapeError, r"values of shape \(3, 'n'\), got \(4,\)"),
    (lambda x: flow.searchsorted(x[0], 1, right=True, side="left"), ValueError, "in accord with right"),
    (lambda x: flow.bucketize(1, x), ShapeError, r"boundaries of shape \(n,\)"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(3, 4))
