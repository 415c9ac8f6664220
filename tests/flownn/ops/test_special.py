"""Less common functions of one, two and three elements against NumPy, SciPy and PyTorch."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.special

import flownn as flow
from flownn.errors import DtypeError
from flownn.ops import arithmetic, compare, special
from tests.helpers.op_cases import OpCase, asked, away_from_zero, inside, integers, normal, positive

ONE: list[Any] = [
    (special.asinh, np.arcsinh, normal), (special.acosh, np.arccosh, lambda rng, shape: rng.uniform(1.2, 3, shape)),
    (special.atanh, np.arctanh, inside), (special.exp2, np.exp2, normal), (special.erfc, scipy.special.erfc, normal),
    (special.erfinv, scipy.special.erfinv, inside), (special.lgamma, scipy.special.gammaln, positive),
    (special.digamma, scipy.special.digamma, positive), (special.sinc, np.sinc, away_from_zero),
    (special.logit, scipy.special.logit, lambda rng, shape: rng.uniform(0.1, 0.9, shape)),
    (special.nan_to_num, np.nan_to_num, normal), (special.deg2rad, np.deg2rad, normal),
    (special.rad2deg, np.rad2deg, normal), (special.frac, lambda x: x - np.trunc(x), normal),
]  # fmt: skip
TWO: list[Any] = [
    (arithmetic.atan2, np.arctan2, normal), (arithmetic.hypot, np.hypot, normal),
    (arithmetic.fmod, np.fmod, away_from_zero),
    (arithmetic.fmax, np.fmax, normal), (arithmetic.fmin, np.fmin, normal),
    (arithmetic.xlogy, scipy.special.xlogy, positive),
    (arithmetic.logaddexp, np.logaddexp, normal), (arithmetic.logaddexp2, np.logaddexp2, normal),
    (arithmetic.copysign, np.copysign, normal),
]  # fmt: skip


def same_name(op: Any) -> Any:
    return lambda torch, *x, **attrs: getattr(torch, op.__name__)(*x, **attrs)


LOOSE = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-11}  # PyTorch's own gamma functions have about ten digits
CASES = [
    *(OpCase(op, [(3, 4)], {}, expected, sample, same_name(op), rtol=LOOSE) for op, expected, sample in ONE),
    *(OpCase(op, [(3, 1), (2, 3, 4)], {}, expected, sample, same_name(op), rtol=LOOSE) for op, expected, sample in TWO),
    OpCase(special.logit, [(3, 4)], {"eps": 0.2}, lambda x, eps: scipy.special.logit(np.clip(x, eps, 1 - eps)),
           lambda rng, shape: rng.uniform(0.01, 0.99, shape), same_name(special.logit), rtol=LOOSE),
    OpCase(arithmetic.lerp, [(3, 4), (3, 4), (4,)], {}, lambda x, y, w: x + w * (y - x),
           torch=same_name(arithmetic.lerp), rtol=LOOSE),
    OpCase(lambda x, y: arithmetic.lerp(x, y, 0.25), [(3, 4), (3, 1)], name="lerp-number",
           expected=lambda x, y: x + 0.25 * (y - x), torch=lambda torch, x, y: torch.lerp(x, y, 0.25), rtol=LOOSE),
    OpCase(arithmetic.addcmul, [(3, 4), (3, 1), (4,)], {"value": 0.5}, lambda x, y, z, value: x + value * y * z,
           torch=same_name(arithmetic.addcmul), rtol=LOOSE),
    OpCase(arithmetic.addcdiv, [(3, 4), (3, 1), (4,)], {"value": 0.5}, lambda x, y, z, value: x + value * y / z,
           away_from_zero, same_name(arithmetic.addcdiv), rtol=LOOSE),
    OpCase(arithmetic.clamp_min, [(3, 4), (4,)], {}, np.maximum, torch=same_name(arithmetic.clamp_min)),
    OpCase(arithmetic.clamp_max, [(3, 4), (4,)], {}, np.minimum, torch=same_name(arithmetic.clamp_max)),
    OpCase(arithmetic.float_power, [(3, 4), (4,)], {}, np.float_power, positive, same_name(arithmetic.float_power),
           dtypes=("float64",)),
    *(
        OpCase(op, [(3, 1), (3, 4)], {}, expected, integers(6), same_name(op), differentiable=False)
        for op, expected in ((compare.bitwise_left_shift, np.left_shift), (compare.bitwise_right_shift, np.right_shift),
                             (compare.bitwise_and, np.bitwise_and), (compare.bitwise_or, np.bitwise_or),
                             (compare.bitwise_xor, np.bitwise_xor))
    ),
    OpCase(compare.isclose, [(3, 1), (3, 4)], {"rtol": 0.5}, lambda x, y, rtol: abs(x - y) <= 1e-8 + rtol * abs(y),
           normal, same_name(compare.isclose), differentiable=False),
    OpCase(compare.isin, [(3, 4), (2,)], {}, np.isin, integers(6), same_name(compare.isin), differentiable=False),
    OpCase(compare.signbit, [(3, 4)], {}, np.signbit, normal, same_name(compare.signbit), differentiable=False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


INF, NAN = math.inf, math.nan
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, INF, -INF, NAN]


@pytest.mark.torch
@pytest.mark.parametrize("name", [op.__name__ for op, *_ in (*ONE, *TWO)])
def test_edges_and_their_gradients_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    count = 2 if name in [op.__name__ for op, *_ in TWO] else 1
    grid = [np.array(EDGES)] if count == 1 else [each.reshape(-1) for each in np.meshgrid(EDGES, EDGES)]
    ours = [flow.tensor(each, dtype=flow.float64, requires_grad=True) for each in grid]
    theirs = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in grid]
    y, want = getattr(flow, name)(*ours), getattr(torch, name)(*theirs)
    np.testing.assert_allclose(y.numpy(), want.detach().numpy(), rtol=1e-10, atol=1e-15)
    y.sum().backward()
    want.sum().backward()
    finite = np.all([np.isfinite(each) for each in grid], axis=0)
    if name in ("lgamma", "digamma", "logit"):  # whose signs of infinity at the poles follow no rule
        finite &= (grid[0] != 0) & (grid[0] != -1)
    if name in ("fmax", "fmin", "copysign", "hypot", "atan2"):
        finite &= ~((grid[0] == 0) & (grid[-1] == 0))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad.numpy()[finite], other.grad.numpy()[finite], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", [op.__name__ for op, *_ in ONE if op.__name__ not in ("nan_to_num", "frac", "acosh")])
def test_integers_become_the_default_type(name: str) -> None:
    assert getattr(flow, name)(flow.tensor([0, 1], dtype=flow.int8)).dtype is flow.float32


@pytest.mark.parametrize("op", [op for op, *_ in (*ONE, *TWO)], ids=lambda op: op.__name__)
def test_bfloat16_stays(op: Any) -> None:
    count = 2 if op in [each for each, *_ in TWO] else 1
    x = [flow.full((2,), 0.5, dtype=flow.bfloat16, requires_grad=True) for _ in range(count)]
    y = op(*x)
    assert y.dtype is flow.bfloat16
    y.sum().backward()
    assert all(each.grad.dtype is flow.bfloat16 for each in x)


def test_equal_answers_for_whole_tensors_and_eq_for_elements() -> None:
    x = flow.tensor([1.0, 2.0])
    assert flow.equal(x, x.clone()) is True
    assert flow.equal(x, flow.tensor([1.0, 3.0])) is False
    assert flow.equal(x, flow.tensor([[1.0, 2.0]])) is False
    assert x.equal(x.double())
    assert flow.eq(x, 1).tolist() == (x == 1).tolist() == [True, False]


def test_close() -> None:
    x = flow.tensor([1.0, NAN, INF, -INF])
    assert flow.isclose(x, x).tolist() == [True, False, True, True]
    assert flow.isclose(x, x, equal_nan=True).tolist() == [True] * 4
    assert flow.isclose(x, -x).tolist() == [False] * 4
    assert flow.allclose(flow.ones(2), flow.ones(2) + 1e-6)
    assert not flow.allclose(flow.ones(2), flow.ones(2) + 1e-3)
    assert flow.allclose(flow.tensor([3]), flow.tensor([3]))
    x, y = flow.tensor([3, 250], dtype=flow.uint8), flow.tensor([5, 250], dtype=flow.uint8)
    assert flow.isclose(x, y).tolist() == [False, True]


def test_nan_to_num_and_infinities() -> None:
    x = flow.tensor([NAN, INF, -INF, 2.0], dtype=flow.float16)
    assert x.nan_to_num().tolist() == [0, 65504, -65504, 2]
    assert x.nan_to_num(nan=1, posinf=3, neginf=-4).tolist() == [1, 3, -4, 2]
    assert (x.isposinf().tolist(), x.isneginf().tolist()) == ([False, True, False, False], [False, False, True, False])


@pytest.mark.torch
@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3])
def test_round_to_digits(decimals: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = rng.standard_normal(50) * 100
    got = flow.round(flow.tensor(x), decimals=decimals)
    np.testing.assert_allclose(got.numpy(), torch.round(torch.tensor(x), decimals=decimals).numpy(), rtol=1e-14)
    assert flow.tensor([15]).round(decimals=0).tolist() == [15]


def test_shifts_are_for_integers() -> None:
    x = flow.tensor([1, -8])
    assert ((x << 2).tolist(), (x >> 1).tolist(), (~x).tolist()) == ([4, -32], [0, -4], [-2, 7])
    for call in (lambda: x << 1.0, lambda: flow.ones(1) >> 1, lambda: flow.tensor([True]) << flow.tensor([True])):
        with pytest.raises(DtypeError, match="expected integers"):
            call()


def test_where_alone_gives_places() -> None:
    rows, columns = flow.where(flow.tensor([[0, 1], [1, 0]]) > 0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert [each.tolist() for each in flow.nonzero(flow.tensor([0, 5]), as_tuple=True)] == [[1]]
    assert [each.tolist() for each in flow.nonzero(flow.tensor(5), as_tuple=True)] == [[0]]
    assert flow.argwhere(flow.tensor([0, 5])).tolist() == [[1]]
    with pytest.raises(TypeError, match="both x and y"):
        flow.where(rows > 0, 1)
