"""Initial values: their distribution, their seed, and that nothing is recorded."""

import numpy as np
import pytest

import flownn as flow
from flownn.nn import init


def test_constants_and_memory() -> None:
    tensor = flow.nn.Parameter(flow.randn(3, 4))
    memory = tensor.data
    for fill, value in ((init.zeros_, 0), (init.ones_, 1), (lambda t: init.constant_(t, 2.5), 2.5)):
        assert fill(tensor) is tensor
        assert tensor.data is memory
        assert tensor.grad_fn is None
        np.testing.assert_array_equal(memory, value)


@pytest.mark.parametrize(
    ("name", "arguments", "mean", "std"),
    [
        ("uniform_", {"a": -1.0, "b": 3.0}, 1, 4 / np.sqrt(12)),
        ("normal_", {"mean": 2.0, "std": 0.5}, 2, 0.5),
        ("kaiming_uniform_", {}, 0, np.sqrt(2 / 450)),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, 0, np.sqrt(2 / 900)),
        ("kaiming_normal_", {"a": 1.0}, 0, np.sqrt(1 / 450)),
        ("xavier_uniform_", {"gain": 2.0}, 0, 2 * np.sqrt(2 / 1350)),
        ("xavier_normal_", {}, 0, np.sqrt(2 / 1350)),
    ],
)
def test_mean_deviation_and_seed(name: str, arguments: dict[str, float], mean: float, std: float) -> None:
    tensors = [flow.empty(100, 50, 3, 3) for _ in range(3)]
    for tensor, seed in zip(tensors, (1, 1, 2), strict=True):
        getattr(init, name)(tensor, **arguments, generator=flow.Generator(seed))
    values = tensors[0].data
    assert values.mean() == pytest.approx(mean, abs=5 * std / np.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.02)
    np.testing.assert_array_equal(values, tensors[1].data)
    assert (values != tensors[2].data).mean() > 0.99


def test_default_generator_is_used_without_one() -> None:
    flow.manual_seed(11)
    first = init.normal_(flow.empty(5)).data
    flow.manual_seed(11)
    np.testing.assert_array_equal(init.normal_(flow.empty(5)).data, first)


def test_half_precision() -> None:
    for dtype in (flow.float16, flow.bfloat16):
        values = init.uniform_(flow.empty(1000, dtype=dtype), -1, 1).data
        assert values.dtype == dtype.dtype
        assert abs(values.astype(np.float64)).max() <= 1


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="at least 2 dims"):
        init.kaiming_uniform_(flow.empty(3))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan_avg'"):
        init.kaiming_normal_(flow.empty(3, 3), mode="fan_avg")
    with pytest.raises(ValueError, match="got 'gelu'"):
        init.calculate_gain("gelu")


@pytest.mark.torch
def test_gains_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))
