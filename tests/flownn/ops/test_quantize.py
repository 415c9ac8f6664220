"""Quantization against the documented formulas, one number at a time."""

import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.ops.quantize import fake_quantize, min_max_observer, moving_average_min_max_observer, quantize
from tests.helpers.op_cases import OpCase, asked, positive, vjp_matches_a_central_difference

SCHEMES = [("google", "symmetric"), ("google", "affine"), ("cambricon", "symmetric")]


def slow_parameters(lowest: float, highest: float, formula: str, bit: int, scheme: str) -> tuple[float, float]:
    if formula == "cambricon":
        return math.floor(math.log2(max(abs(highest), abs(lowest)))) - (bit - 2), 0.0
    if scheme == "symmetric":
        return max(abs(highest), abs(lowest)) / (2 ** (bit - 1) - 1), 0.0
    scale = (highest - lowest) / (2**bit - 1)
    return scale, -lowest / scale


def slow_observer(x: Any, *, formula: str, bit: int, scheme: str, per_layer: bool) -> Any:
    parts = [x] if per_layer else list(x)
    found = [slow_parameters(part.min(), part.max(), formula, bit, scheme) for part in parts]
    return tuple(np.array(column) for column in zip(*found, strict=True))


def slow_quantize(x: Any, scale: Any, zero_point: Any, *, formula: str, bit: int, scheme: str) -> Any:
    y = np.empty(x.shape)
    for at in np.ndindex(*x.shape):
        channel = at[0] if scale.size > 1 else 0
        step, zero = float(scale.ravel()[channel]), float(zero_point.ravel()[channel])
        if formula == "cambricon":
            y[at] = min(max(round(x[at] / 2.0**step), -(2 ** (bit - 1))), 2 ** (bit - 1) - 1)
        elif scheme == "symmetric":
            limit = 2 ** (bit - 1) - 1
            y[at] = min(max(round(x[at] / step), -limit), limit)
        else:
            y[at] = min(max(round(x[at] / step + zero), 0), 2**bit - 1) - zero
    return y


def slow_fake_quantize(x: Any, scale: Any, zero_point: Any, **attrs: Any) -> Any:
    steps = 2.0**scale if attrs["formula"] == "cambricon" else scale
    aligned = (-1, *(1,) * (x.ndim - 1))
    return slow_quantize(x, scale, zero_point, **attrs) * steps.reshape(aligned)


def around(low: float, high: float) -> Any:
    return lambda rng, shape: rng.uniform(low, high, shape)


def exponents(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.integers(-4, 0, shape).astype(np.float64)


ATTRS = [{"formula": f, "bit": bit, "scheme": s} for f, s in SCHEMES for bit in (2, 5, 8)]
OBSERVERS = [
    OpCase(min_max_observer, shapes=[shape], attrs=attrs | {"per_layer": per_layer}, expected=slow_observer,
           differentiable=False)
    for attrs in ATTRS
    for shape, per_layer in [((2, 3, 4), True), ((4, 3, 5), False), ((6,), False), ((), True)]
    if per_layer or attrs["formula"] == "google"
]  # fmt: skip
ROUNDING = [
    OpCase(op, shapes=[shape, (channels,), (channels,)], attrs=attrs, expected=expected,
           sample=[around(-8, 8), exponents if attrs["formula"] == "cambricon" else positive, around(1, 3)],
           rtol={"float16": 2e-2}, differentiable=op is fake_quantize)
    for op, expected in [(quantize, slow_quantize), (fake_quantize, slow_fake_quantize)]
    for attrs in ATTRS
    for shape, channels in [((2, 3, 4), 1), ((4, 3, 5), 4), ((0, 3), 1)]
    if channels == 1 or attrs["formula"] == "google"
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(OBSERVERS))
def test_observer(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize(
    ("case", "question"),
    # The straight-through gradient is not the derivative; it has a test of its own.
    [
        p
        for p in asked(ROUNDING)
        if not (p.values[0].differentiable and p.values[1] is vjp_matches_a_central_difference)
    ],
)
def test_rounding(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("attrs", ATTRS, ids=str)
def test_gradient_passes_straight_through_also_where_clamped(attrs: dict[str, Any], rng: np.random.Generator) -> None:
    x = flow.tensor(rng.uniform(-100, 100, (3, 4)), requires_grad=True)
    scale = flow.tensor([0.5], dtype=flow.float64, requires_grad=True)
    g = rng.standard_normal((3, 4))
    fake_quantize(x, scale, flow.tensor([1.0]), **attrs).backward(flow.tensor(g))
    np.testing.assert_array_equal(x.grad.data, g)
    assert scale.grad is None


@pytest.mark.parametrize(("formula", "scheme"), SCHEMES)
@pytest.mark.parametrize("momentum", [0.0, 0.95])
def test_moving_averages(formula: Any, scheme: Any, momentum: float, rng: np.random.Generator) -> None:
    moving_max, moving_min = np.zeros(1), np.zeros(1)
    high = low = 0.0
    for step in range(4):
        x = rng.standard_normal((2, 5)) + step
        result = moving_average_min_max_observer(
            x, moving_max, moving_min, update=True, momentum=momentum, formula=formula, bit=8, scheme=scheme
        )
        if scheme == "symmetric":
            largest = max(abs(x.ravel()))
            high = low = largest if step == 0 else high * momentum + largest * (1 - momentum)
        else:
            high = x.max() if step == 0 else high * momentum + x.max() * (1 - momentum)
            low = x.min() if step == 0 else low * momentum + x.min() * (1 - momentum)
        assert (moving_max.item(), moving_min.item()) == pytest.approx((high, low), rel=1e-12)
        want = slow_parameters(low, high, formula, 8, scheme)
        assert tuple(each.item() for each in result) == pytest.approx(want, rel=1e-12)
        assert not any(each.requires_grad for each in result)


def test_zeros_stay_zeros() -> None:
    x = np.zeros((2, 3), np.float32)
    for formula, scheme in SCHEMES:
        parameters = min_max_observer(x, formula=formula, bit=8, scheme=scheme, per_layer=True)
        for rounding in (quantize, fake_quantize):
            assert not rounding(x, *parameters, formula=formula, bit=8, scheme=scheme).data.any()


def test_exponent_is_exact_just_below_a_power_of_two() -> None:
    x = np.array([np.nextafter(np.float32(8), np.float32(0)), -1], np.float32)
    scale, _ = min_max_observer(x, formula="cambricon", bit=8, scheme="symmetric", per_layer=True)
    assert scale.item() == 2 - 6


def test_quantized_range_covers_the_observed_range(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 50))
    for scheme in ("symmetric", "affine"):
        attrs: dict[str, Any] = {"formula": "google", "bit": 8, "scheme": scheme}
        scale, zero_point = min_max_observer(x, per_layer=False, **attrs)
        error = abs(fake_quantize(x, scale, zero_point, **attrs).data - x)
        assert (error <= scale.data[:, None] * (0.5 + 1e-9)).all()


def test_wrong_input() -> None:
    google: dict[str, Any] = {"formula": "google", "bit": 8, "scheme": "symmetric"}
    with pytest.raises(ShapeError, match=r"MinMaxObserver: expected an input with elements, got shape \(0, 2\)"):
        min_max_observer(np.zeros((0, 2)), per_layer=True, **google)
    with pytest.raises(ShapeError, match="elements and channels"):
        min_max_observer(np.zeros(()), per_layer=False, **google)
    with pytest.raises(DtypeError, match="MinMaxObserver: expected a floating point input, got int64"):
        min_max_observer(np.zeros(3, np.int64), per_layer=True, **google)
    with pytest.raises(ShapeError, match=r"Quantization: expected a scale of shape \(1,\) or \(4,\)"):
        quantize(np.zeros((4, 3)), np.ones(3), np.zeros(3), **google)
    with pytest.raises(ShapeError, match=r"FakeQuantization: expected a zero_point of shape \(1,\) or \(4,\)"):
        fake_quantize(np.zeros((4, 3)), np.ones(4), np.zeros((1, 4)), **google)
    with pytest.raises(ShapeError, match=r"expected a scale of shape \(1,\) with formula 'cambricon'"):
        quantize(np.zeros((4, 3)), np.ones(4), np.zeros(4), formula="cambricon", bit=8, scheme="symmetric")
