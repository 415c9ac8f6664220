"""Layer and RMS normalisation against their formulas in float64, and against PyTorch."""

from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.providers import use_kernels
from flownn.ops.layer_norm import layer_norm, rms_norm
from tests.helpers.op_cases import OpCase, asked


def slow_layer_norm(x: Any, weight: Any, bias: Any, *, normalized_shape: Any, eps: float) -> Any:
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape[: x.ndim - len(normalized_shape)]):
        sample = x[place]
        y[place] = (sample - sample.mean()) / np.sqrt(sample.var() + eps)
        y[place] = y[place] * (1 if weight is None else weight) + (0 if bias is None else bias)
    return y


def slow_rms_norm(x: Any, weight: Any, *, normalized_shape: Any, eps: float) -> Any:
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape[: x.ndim - len(normalized_shape)]):
        y[place] = x[place] / np.sqrt((x[place] ** 2).mean() + eps) * (1 if weight is None else weight)
    return y


SIZES = [
    ((5, 6), (6,)),
    ((2, 3, 4), (3, 4)),
    ((3, 4), (3, 4)),
    ((6,), (6,)),
    ((2, 3, 4, 5), (4, 5)),
    ((3, 2, 1), (2, 1)),
]

CASES = [
    OpCase(
        layer_norm,
        [shape, weight and norm, bias and norm],
        {"normalized_shape": norm, "eps": 1e-3},
        slow_layer_norm,
        torch=lambda torch, x, w, b, *, normalized_shape, eps: torch.nn.functional.layer_norm(
            x, normalized_shape, w, b, eps
        ),
        rtol={"float16": 2e-2},  # of the parameters, which have that type too
    )
    for shape, norm in SIZES
    for weight, bias in ((True, True), (True, None), (None, True), (None, None))
] + [
    OpCase(
        rms_norm,
        [shape, weight and norm],
        {"normalized_shape": norm, "eps": 1e-3},
        slow_rms_norm,
        torch=lambda torch, x, w, *, normalized_shape, eps: torch.nn.functional.rms_norm(x, normalized_shape, w, eps),
        rtol={"float16": 2e-2},
    )
    for shape, norm in SIZES
    for weight in (True, None)
]


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("op", [layer_norm, rms_norm])
def test_blocks_of_rows_do_not_change_the_result(op: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((7, 5, 6)), rng.standard_normal(6), rng.standard_normal(6)][: 3 - (op is rms_norm)]

    def all_results() -> list[Any]:
        tensors = [wrap(a, requires_grad=True) for a in arrays]
        y = op(*tensors, normalized_shape=(6,), eps=1e-5)
        y.backward(np.cos(np.arange(y.data.size)).reshape(y.data.shape))
        return [y.data, *(t.grad.data for t in tensors)]

    whole = all_results()
    monkeypatch.setattr("flownn.kernels.blocks._BLOCK_BYTES", 4 * 6 * 8)
    for one, other in zip(whole, all_results(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def test_a_large_offset_costs_no_more_than_its_own_rounding() -> None:
    x = (np.random.default_rng(2).standard_normal((16, 4096)) + 1000).astype(np.float32)
    y = layer_norm(x, normalized_shape=(4096,), eps=1e-5).data
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=2e-4)  # half an ulp of 1000 is 3e-5


@pytest.mark.parametrize(("shape", "norm"), [((0, 4), (4,)), ((2, 0), (0,)), ((3, 0, 4), (0, 4)), ((2, 0, 4), (4,))])
def test_empty_inputs_have_empty_results_and_zero_gradients(shape: Any, norm: Any) -> None:
    x, weight, bias = (wrap(np.ones(s), requires_grad=True) for s in (shape, norm, norm))
    y = layer_norm(x, weight, bias, normalized_shape=norm, eps=1e-5)
    y.backward(np.ones(shape))
    assert y.data.shape == x.grad.data.shape == shape
    np.testing.assert_array_equal(weight.grad.data, np.zeros(norm))
    np.testing.assert_array_equal(bias.grad.data, np.zeros(norm))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", [layer_norm, rms_norm])
def test_half_precision_is_computed_in_float32(op: Any, dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    x, g = (rng.standard_normal((4, 300)) * 200).astype(kind), rng.standard_normal((4, 300)).astype(kind)
    weight = rng.standard_normal(300).astype(np.float32)
    half, wide = (wrap(x, requires_grad=True), wrap(x.astype(np.float32), requires_grad=True))
    with use_kernels("portable"):  # one kernel for both, which a provider's may differ from in the last bit
        y, expected = (op(t, weight, normalized_shape=(300,), eps=1e-5) for t in (half, wide))
    assert y.data.dtype == kind
    np.testing.assert_array_equal(y.data, expected.data.astype(kind))
    y.backward(g)
    expected.backward(g.astype(np.float32))
    np.testing.assert_array_equal(half.grad.data, wide.grad.data.astype(kind))


def test_what_does_not_fit_is_named() -> None:
    for op, name in ((layer_norm, "LayerNorm"), (rms_norm, "RMSNorm")):
        for norm in ((5,), (2, 2, 4)):
            with pytest.raises(ShapeError, match=rf"{name}: expected input \(\.\.\., .*\), got shape \(2, 4\)"):
                op(np.ones((2, 4)), normalized_shape=norm, eps=1e-5)
        with pytest.raises(ShapeError, match=rf"{name}: expected input \(\.\.\.\)"):
            op(np.ones((2, 4)), normalized_shape=(), eps=1e-5)
        with pytest.raises(ShapeError, match=rf"{name}: expected weight of shape \(4,\), got \(1,\)"):
            op(np.ones((2, 4)), np.ones(1), normalized_shape=(4,), eps=1e-5)
        with pytest.raises(DtypeError, match=f"{name}: expected weight of the input's dtype float64, got float32"):
            op(np.ones((2, 4)), np.ones(4, np.float32), normalized_shape=(4,), eps=1e-5)
        with pytest.raises(DtypeError, match=f"{name}: expected a floating point input, got int64"):
            op(np.ones((2, 4), np.int64), normalized_shape=(4,), eps=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rms_norm_without_eps_takes_pytorchs(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x = torch.full((2, 4), 1e-3, dtype=getattr(torch, dtype))
    kind = {"bfloat16": "bfloat16"}.get(dtype, dtype)
    import flownn as flow

    ours = flow.tensor(x.double().numpy(), dtype=getattr(flow, kind))
    y = rms_norm(ours, normalized_shape=(4,)).data.astype(np.float64)
    np.testing.assert_allclose(y, torch.nn.functional.rms_norm(x, (4,)).double().numpy(), rtol=1e-6)


def test_gradients_of_the_parameters_are_summed_in_short_runs() -> None:
    x = np.tile(np.array([0, 1], np.float32), (200_000, 1))
    weight, bias = (wrap(np.ones(2, np.float32), requires_grad=True) for _ in range(2))
    layer_norm(x, weight, bias, normalized_shape=(2,), eps=0.0).backward(np.full(x.shape, 0.1, np.float32))
    expected = float(np.float32(0.1)) * 200_000
    bound = 256 * 2.0**-24  # what 256 additions can round by; one running float32 sum would be 1e-4 off
    np.testing.assert_allclose(bias.grad.data, [expected, expected], rtol=bound)
    np.testing.assert_allclose(weight.grad.data, [-expected, expected], rtol=bound)
