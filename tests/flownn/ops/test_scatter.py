"""Writing and adding at positions, against loops and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked, away_from_zero, integers, normal

INDEX = np.array([[0, 2, 2, 1], [1, 1, 0, 0]])  # places along dim 0 of a (3, 5): twice for several
DISTINCT = np.array([[2, 0, 1, 1], [1, 1, 0, 0]])
MASK = np.array([[True, False, True, True, False], [False] * 5, [True] * 5])


def torch_of(torch: Any, *arrays: Any) -> list[Any]:
    return [torch.from_numpy(each) for each in arrays]


def scattered(index: Any, combine: Any) -> Any:
    def slow(x: Any, src: Any) -> Any:
        y = x.copy()
        for row, column in np.ndindex(index.shape):
            value = src[row, column] if np.ndim(src) else src
            y[index[row, column], column] = combine(y[index[row, column], column], value)
        return y

    return slow


def reduced(reduce: str, include_self: bool) -> Any:
    function: Any = {"sum": np.sum, "mean": np.mean, "prod": np.prod, "amax": np.max, "amin": np.min}[reduce]

    def slow(x: Any, src: Any) -> Any:
        y = x.copy()
        for place in np.ndindex(x.shape):
            sent = [src[i, place[1]] for i in range(2) if place[1] < 4 and INDEX[i, place[1]] == place[0]]
            if sent:
                y[place] = function([x[place], *sent] if include_self else sent)
        return y

    return slow


def put(x: Any, key: Any, value: Any, accumulate: bool = False) -> Any:
    y = x.copy()
    if accumulate:
        np.add.at(y, key, value)
    else:
        y[key] = value
    return y


KEY = (np.array([0, 2, 2]), np.array([1, 4, 0]))
AGAIN = (np.array([0, 2, 0]), np.array([1, 4, 1]))

CASES = [
    OpCase(lambda x, src: flow.scatter(x, 0, flow.from_numpy(DISTINCT), src), [(3, 5), (2, 4)], name="scatter",
           expected=scattered(DISTINCT, lambda old, new: new),
           torch=lambda torch, x, src: torch.scatter(x, 0, torch.from_numpy(DISTINCT), src)),
    OpCase(lambda x, src: flow.scatter(x, 0, flow.from_numpy(INDEX), src), [(3, 5), (2, 4)], name="scatter-twice",
           expected=scattered(INDEX, lambda old, new: new)),
    OpCase(lambda x, src: flow.scatter(x, 0, flow.from_numpy(DISTINCT), src), [(3, 5), (3, 5)], name="scatter-larger",
           expected=scattered(DISTINCT, lambda old, new: new)),
    OpCase(lambda x: flow.scatter(x, 0, flow.from_numpy(DISTINCT), 2.5), [(3, 5)], name="scatter-number",
           expected=lambda x: scattered(DISTINCT, lambda old, new: new)(x, 2.5),
           torch=lambda torch, x: torch.scatter(x, 0, torch.from_numpy(DISTINCT), 2.5)),
    OpCase(lambda x: flow.scatter(x, 0, flow.from_numpy(INDEX), 2.5, reduce="multiply"), [(3, 5)],
           name="scatter-multiply", expected=lambda x: scattered(INDEX, lambda old, new: old * new)(x, 2.5)),
    OpCase(lambda x: flow.scatter(x, 0, flow.from_numpy(INDEX), 2.5, reduce="add"), [(3, 5)],
           name="scatter-add-number", expected=lambda x: scattered(INDEX, lambda old, new: old + new)(x, 2.5)),
    OpCase(lambda x, src: flow.scatter_add(x, 0, flow.from_numpy(INDEX), src), [(3, 5), (2, 4)], name="scatter_add",
           expected=scattered(INDEX, lambda old, new: old + new),
           torch=lambda torch, x, src: torch.scatter_add(x, 0, torch.from_numpy(INDEX), src)),
    OpCase(lambda x, src: flow.scatter_add(x, -1, flow.tensor([[[1, 0, 1]]]), src), [(2, 1, 2), (1, 1, 3)],
           name="scatter_add-3d",
           torch=lambda torch, x, src: torch.scatter_add(x, -1, torch.tensor([[[1, 0, 1]]]), src)),
    *(
        OpCase(lambda x, src, r=r, s=s: flow.scatter_reduce(x, 0, flow.from_numpy(INDEX), src, r, include_self=s),
               [(3, 5), (2, 4)], name=f"scatter_reduce-{r}-{s}", expected=reduced(r, s), sample=away_from_zero,
               torch=lambda torch, x, src, r=r, s=s: torch.scatter_reduce(
                   x, 0, torch.from_numpy(INDEX), src, r, include_self=s))
        for r in ("sum", "mean", "prod", "amax", "amin") for s in (True, False)
    ),
    OpCase(lambda x, source: flow.index_add(x, 1, flow.tensor([0, 3, 0]), source, alpha=2), [(2, 4), (2, 3)],
           name="index_add",
           expected=lambda x, source: put(x.T, np.array([0, 3, 0]), 2 * source.T, True).T,
           torch=lambda torch, x, source: torch.index_add(x, 1, torch.tensor([0, 3, 0]), source, alpha=2)),
    OpCase(lambda x, source: flow.index_copy(x, 0, flow.tensor([2, 0]), source), [(3, 4), (2, 4)], name="index_copy",
           expected=lambda x, source: put(x, np.array([2, 0]), source),
           torch=lambda torch, x, source: torch.index_copy(x, 0, torch.tensor([2, 0]), source)),
    OpCase(lambda x: flow.index_fill(x, 1, flow.tensor([2, 0]), 7.0), [(3, 4)], name="index_fill",
           expected=lambda x: put(x.T, np.array([2, 0]), 7.0).T,
           torch=lambda torch, x: torch.index_fill(x, 1, torch.tensor([2, 0]), 7.0)),
    OpCase(lambda x, v: flow.index_put(x, tuple(map(flow.from_numpy, KEY)), v), [(3, 5), (3,)], name="index_put",
           expected=lambda x, v: put(x, KEY, v),
           torch=lambda torch, x, v: torch.index_put(x, tuple(torch_of(torch, *KEY)), v)),
    OpCase(lambda x, v: flow.index_put(x, tuple(map(flow.from_numpy, AGAIN)), v, accumulate=True), [(3, 5), (3,)],
           name="index_put-accumulate", expected=lambda x, v: put(x, AGAIN, v, True),
           torch=lambda torch, x, v: torch.index_put(x, tuple(torch_of(torch, *AGAIN)), v, accumulate=True)),
    OpCase(lambda x, v: flow.index_put(x, (flow.tensor([0, 2]),), v, accumulate=True), [(3, 5), ()],
           name="index_put-rows", expected=lambda x, v: put(x, np.array([0, 2]), v, True),
           torch=lambda torch, x, v: torch.index_put(x, (torch.tensor([0, 2]),), v, accumulate=True)),
    OpCase(lambda x, source: flow.masked_scatter(x, flow.from_numpy(MASK), source), [(3, 5), (10,)],
           name="masked_scatter", expected=lambda x, source: put(x, MASK, source[: MASK.sum()]),
           torch=lambda torch, x, source: torch.masked_scatter(x, torch.from_numpy(MASK), source)),
    OpCase(lambda x, i: flow.take(x, i), [(3, 4), (2, 2)], name="take", sample=(normal, integers(12, -12)),
           expected=lambda x, i: x.reshape(-1)[i], torch=lambda torch, x, i: torch.take(x, i)),
    OpCase(lambda x, i: flow.take_along_dim(x, i, 1), [(3, 4), (1, 2)], name="take_along_dim",
           sample=(normal, integers(4)), expected=lambda x, i: np.take_along_axis(x, np.repeat(i, 3, 0), 1),
           torch=lambda torch, x, i: torch.take_along_dim(x, i, 1)),
    OpCase(lambda x, i: flow.take_along_dim(x, i), [(3, 4), (5,)], name="take_along_dim-flat",
           sample=(normal, integers(12)), expected=lambda x, i: x.reshape(-1)[i],
           torch=lambda torch, x, i: torch.take_along_dim(x, i)),
    OpCase(lambda x: x.select(1, -1), [(2, 3, 2)], name="select", expected=lambda x: x[:, -1],
           torch=lambda torch, x: x.select(1, -1)),
    OpCase(lambda x: x.narrow(1, -2, 2), [(2, 3)], name="narrow", expected=lambda x: x[:, 1:3],
           torch=lambda torch, x: x.narrow(1, -2, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("values", [[2.0, 0.0, 3.0, 0.0], [0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 2.0, 3.0]])
@pytest.mark.parametrize("include_self", [True, False])
def test_the_gradient_of_a_product_with_zeros(values: list[float], include_self: bool) -> None:
    src = flow.tensor(values, dtype=flow.float64, requires_grad=True)
    x = flow.tensor([0.5, 0.0], dtype=flow.float64, requires_grad=True)
    index = flow.tensor([0, 0, 1, 0])
    flow.scatter_reduce(x, 0, index, src, "prod", include_self=include_self).sum().backward()
    for i in range(4):
        others = [v for k, v in enumerate(values) if k != i and index[k] == index[i]]
        own = [[0.5, 0.0][int(index[i])]] if include_self else []
        assert src.grad[i].item() == pytest.approx(np.prod([*others, *own]))
    want = [values[0] * values[1] * values[3], values[2]] if include_self else [0, 0]
    np.testing.assert_allclose(x.grad.numpy(), want)


def test_equal_extremes_share_the_gradient() -> None:
    x = flow.tensor([1.0, 5.0], requires_grad=True)
    src = flow.tensor([1.0, 1.0, 2.0], requires_grad=True)
    flow.scatter_reduce(x, 0, flow.tensor([0, 0, 1]), src, "amax").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1])
    np.testing.assert_allclose(src.grad.numpy(), [1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_integers(dtype: str) -> None:
    x, src = flow.tensor([1, 2], dtype=dtype), flow.tensor([3, 4, 5], dtype=dtype)
    index = flow.tensor([0, 0, 1])
    want = {"sum": [8, 7], "mean": [2, 3], "prod": [12, 10], "amax": [4, 5], "amin": [1, 2]}
    for reduce, values in want.items():
        result = flow.scatter_reduce(x, 0, index, src, reduce)
        assert (result.tolist(), result.dtype.name) == (values, dtype)
    assert x.scatter_add(0, index, src).tolist() == [8, 7]
    assert x.index_add(0, flow.tensor([1, 1]), src[:2]).tolist() == [1, 9]


def test_methods_in_place_change_the_tensor_and_go_on_with_the_graph() -> None:
    x = flow.zeros(3, requires_grad=True)
    y = x * 1
    y.scatter_(0, flow.tensor([1]), 5.0).index_add_(0, flow.tensor([2, 2]), flow.ones(2)).index_fill_(
        0, flow.tensor([0]), 7.0
    ).scatter_add_(0, flow.tensor([0]), flow.ones(1)).masked_scatter_(flow.tensor([False, True, False]), flow.ones(1))
    assert y.tolist() == [8, 1, 2]
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 1]
    z = flow.zeros(2, 2)
    z.index_put_((flow.tensor([0, 0]), flow.tensor([1, 1])), flow.ones(2), accumulate=True)
    assert z.tolist() == [[0, 2], [0, 0]]
    assert flow.zeros(2).index_copy_(0, flow.tensor([1]), flow.ones(1)).tolist() == [0, 1]
    assert flow.tensor(3.0).index_add(0, flow.tensor([0]), flow.tensor(2.0)).tolist() == 5


def test_half_precision_is_summed_in_float32() -> None:
    src = flow.full((4096,), 0.25, dtype=flow.float16)
    total = flow.zeros(1, dtype=flow.float16).scatter_add(0, flow.zeros(4096, dtype=flow.int64), src)
    assert (total.tolist(), total.dtype) == ([1024.0], flow.float16)
    x = flow.zeros(2, 3, dtype=flow.bfloat16, requires_grad=True)
    x[flow.tensor([0] * 1000)].sum().backward()
    assert x.grad.tolist() == [[1000.0] * 3, [0.0] * 3]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: flow.scatter(x, 0, flow.tensor([[3]]), 1.0), IndexError, "scatter: positions must be from 0 to 2"),
    (lambda x: flow.scatter(x, 0, flow.tensor([[0] * 6]), 1.0), ShapeError, r"index of shape \(1, 6\) does not fit"),
    (lambda x: flow.scatter(x, 0, flow.tensor([[0, 0]]), flow.ones(1, 1)), ShapeError, r"a source of shape \(1, 1\)"),
    (lambda x: flow.scatter_add(x, 0, flow.tensor([[0]]), flow.ones(1, 1).double()), DtypeError,
     "values of type float32"),
    (lambda x: flow.scatter(x, 0, flow.tensor([[0]]), 1.0, reduce="max"), ValueError, "see scatter_reduce"),
    (lambda x: flow.scatter_reduce(x, 0, flow.tensor([[0]]), x, "max"), ValueError, "sum, mean, prod, amax, amin"),
    (lambda x: flow.index_add(x, 0, flow.tensor([3]), flow.ones(1, 5)), IndexError, "index_add: positions must be"),
    (lambda x: flow.index_add(x, 0, flow.tensor([0]), flow.ones(2, 5)), ShapeError, r"a source of shape \(1, 5\)"),
    (lambda x: flow.index_fill(x, 0, flow.tensor([[0]]), 1.0), ShapeError, r"an index of shape \(n,\)"),
    (lambda x: flow.masked_scatter(x, x > -1, flow.ones(3)), ShapeError, "expected 15 elements in source or more"),
    (lambda x: flow.index_put(x, (flow.tensor([0]),), flow.ones(2)), ShapeError, "index_put"),
    (lambda x: flow.take(x, flow.tensor([15])), IndexError, "out of bounds"),
    (lambda x: flow.take(x, flow.ones(1)), DtypeError, "take: expected a tensor of integers"),
    (lambda x: flow.narrow(x, 1, 3, 3), ShapeError, "start 3 and length 3 do not fit into size 5"),
    (lambda x: flow.select(x, 1, 5), IndexError, "out of bounds"),
    (lambda x: flow.take_along_dim(x, flow.tensor([[0]] * 2), 1), ShapeError, "do not broadcast but in dim 1"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(3, 5))
