"""Group and instance normalisation against their formulas in float64, and against PyTorch."""

from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.providers import use_kernels
from flownn.ops.group_norm import group_norm, instance_norm
from tests.helpers.op_cases import OpCase, asked

RUNNING = (np.array([0.5, -1.0, 2.0, 0.0]), np.array([0.5, 1.0, 2.0, 0.1]))


def slow_group_norm(x: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> Any:
    y, size = np.empty_like(x), x.shape[1] // num_groups
    for sample in range(x.shape[0]):
        for group in range(num_groups):
            part = x[sample, group * size : (group + 1) * size]
            y[sample, group * size : (group + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + eps)
    return scaled(y, weight, bias)


def scaled(y: Any, weight: Any, bias: Any) -> Any:
    for channel in range(y.shape[1]):
        y[:, channel] *= 1 if weight is None else weight[channel]
        y[:, channel] += 0 if bias is None else bias[channel]
    return y


def slow_instance_norm(
    x: Any, weight: Any, bias: Any, *, running: Any, use_input_statistics: bool, **attrs: Any
) -> Any:
    if use_input_statistics:
        return slow_group_norm(x, weight, bias, num_groups=x.shape[1], eps=attrs["eps"])
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        y[:, channel] = (x[:, channel] - running[0][channel]) / np.sqrt(running[1][channel] + attrs["eps"])
    return scaled(y, weight, bias)


def with_running(x: Any, weight: Any, bias: Any, *, running: Any, **attrs: Any) -> Any:
    """The op with the running statistics as attributes, since it changes them (here by momentum 0: not)."""
    return instance_norm(x, weight, bias, *running, **attrs)


def in_torch(torch: Any, x: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> Any:
    return torch.nn.functional.group_norm(x, num_groups, weight, bias, eps)


HALF = {"float16": 2e-2}  # of the parameters, which have that type too
CASES = [
    OpCase(
        group_norm,
        [shape, weight, bias],
        {"num_groups": groups, "eps": 1e-3},
        slow_group_norm,
        torch=None if bias and not weight else in_torch,  # PyTorch 2.13 fails in the backward of a bias alone
        rtol=HALF,
    )
    for shape, groups in [
        ((5, 4), 2),
        ((3, 4, 7), 2),
        ((2, 4, 3, 5), 1),
        ((2, 4, 3, 5), 2),
        ((2, 4, 3, 5), 4),
        ((2, 4, 2, 3, 2), 2),
        ((1, 4, 1), 2),
    ]
    for weight, bias in (((4,), (4,)), ((4,), None), (None, (4,)), (None, None))
] + [
    OpCase(
        with_running,
        [shape, affine, affine],
        {"running": RUNNING, "use_input_statistics": own, "momentum": 0.0, "eps": 1e-3},
        slow_instance_norm,
        name=f"instance_norm-{shape}-{affine}-{own}".replace(" ", ""),
        rtol=HALF,
    )
    for shape in [(3, 4, 7), (2, 4, 3, 5), (2, 4, 2, 3, 2)]
    for affine in ((4,), None)
    for own in (True, False)
]


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_blocks_of_samples_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((7, 4, 3, 2)), rng.standard_normal(4), rng.standard_normal(4)]

    def all_results() -> list[Any]:
        tensors = [wrap(a, requires_grad=True) for a in arrays]
        y = group_norm(*tensors, num_groups=2, eps=1e-5)
        y.backward(np.cos(np.arange(y.data.size)).reshape(y.data.shape))
        return [y.data, *(t.grad.data for t in tensors)]

    whole = all_results()
    monkeypatch.setattr("flownn.kernels.blocks._BLOCK_BYTES", 3 * 24 * 8)
    for one, other in zip(whole, all_results(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def test_the_memory_layout_of_the_input_stays_also_that_of_the_gradient() -> None:
    plain = np.random.default_rng(0).standard_normal((2, 4, 3, 5))
    for x in (plain, np.moveaxis(np.ascontiguousarray(np.moveaxis(plain, 1, -1)), -1, 1)):
        y = group_norm(wrap(x, requires_grad=True), num_groups=2, eps=1e-5)
        assert y.grad_fn is not None
        assert y.grad_fn.vjp is not None
        assert y.data.strides == y.grad_fn.vjp(np.ones_like(plain))[0].strides == x.strides


def test_a_large_offset_costs_no_more_than_its_own_rounding() -> None:
    x = (np.random.default_rng(2).standard_normal((2, 8, 64, 64)) + 1000).astype(np.float32)
    y = group_norm(x, num_groups=2, eps=1e-5).data
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, slow_group_norm(wide, None, None, num_groups=2, eps=1e-5), atol=2e-4)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3, 3), (2, 4, 0)])
def test_empty_inputs_have_empty_results_and_zero_gradients(shape: Any) -> None:
    for op, attrs in (
        (group_norm, {"num_groups": 2}),
        (instance_norm, {"use_input_statistics": True, "momentum": 0.5}),
    ):
        if op is instance_norm and len(shape) == 2:
            continue  # no dims to normalise over
        x, weight, bias = (wrap(np.ones(s), requires_grad=True) for s in (shape, 4, 4))
        running = [np.full(4, 2.0), np.full(4, 4.0)] if op is instance_norm else []
        y = op(x, weight, bias, *running, eps=1e-5, **attrs)
        y.backward(np.ones(shape))
        assert y.data.shape == x.grad.data.shape == shape
        np.testing.assert_array_equal([weight.grad.data, bias.grad.data], np.zeros((2, 4)))
        for array, value in zip(running, (2, 4), strict=False):
            np.testing.assert_array_equal(array, np.full(4, value))


def test_running_statistics_move_towards_the_mean_over_samples() -> None:
    x = np.random.default_rng(3).standard_normal((3, 4, 2, 5)) * 3 + 1
    mean, var = (each.copy() for each in RUNNING)
    instance_norm(x, None, None, mean, var, use_input_statistics=True, momentum=0.3, eps=1e-5)
    np.testing.assert_allclose(mean, 0.7 * RUNNING[0] + 0.3 * x.mean(axis=(2, 3)).mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(var, 0.7 * RUNNING[1] + 0.3 * x.var(axis=(2, 3), ddof=1).mean(axis=0), atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(4)
    x, g = (rng.standard_normal((2, 4, 30, 30)) * 200).astype(kind), rng.standard_normal((2, 4, 30, 30)).astype(kind)
    weight = rng.standard_normal(4).astype(np.float32)
    half, wide = (wrap(x, requires_grad=True), wrap(x.astype(np.float32), requires_grad=True))
    with use_kernels("portable"):  # one kernel for both, which a provider's may differ from in the last bit
        y, expected = (group_norm(t, weight, num_groups=2, eps=1e-5) for t in (half, wide))
    assert y.data.dtype == kind
    np.testing.assert_array_equal(y.data, expected.data.astype(kind))
    y.backward(g)
    expected.backward(g.astype(np.float32))
    np.testing.assert_array_equal(half.grad.data, wide.grad.data.astype(kind))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"GroupNorm: expected input \(N, C, \.\.\.\) with 3 groups .*got \(2, 4, 5\)"):
        group_norm(np.ones((2, 4, 5)), num_groups=3, eps=1e-5)
    with pytest.raises(ShapeError, match=r"GroupNorm: expected more than 1 value per channel, got \(1, 4\)"):
        group_norm(np.ones((1, 4)), num_groups=4, eps=1e-5)
    with pytest.raises(ShapeError, match=r"GroupNorm: expected weight of shape \(4,\), got \(2,\)"):
        group_norm(np.ones((2, 4, 5)), np.ones(2), num_groups=2, eps=1e-5)
    with pytest.raises(DtypeError, match="GroupNorm: expected a floating point input, got int64"):
        group_norm(np.ones((2, 4, 5), np.int64), num_groups=2, eps=1e-5)
    own = {"use_input_statistics": True, "momentum": 0.1, "eps": 1e-5}
    for shape in ((2, 4, 1, 1), (2, 4)):
        with pytest.raises(ShapeError, match="InstanceNorm: expected more than 1 value per channel and sample, got"):
            instance_norm(np.ones(shape), **own)
    with pytest.raises(ShapeError, match=r"InstanceNorm: expected running_mean of shape \(4,\), got \(3,\)"):
        instance_norm(np.ones((2, 4, 5)), None, None, np.ones(3), np.ones(3), **own)
    with pytest.raises(ValueError, match="InstanceNorm: expected running statistics"):
        instance_norm(np.ones((2, 4, 5)), **own | {"use_input_statistics": False})
