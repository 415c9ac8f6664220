"""Memory layouts travel through a network: one conversion, of its input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flownn as flow
import flownn.nn.functional as F
from flownn import kernels
from flownn.autograd import wrap
from flownn.kernels.providers import use_kernels
from flownn.models.resnet import BasicBlock, Bottleneck, ResNet

SHAPE = (4, 8, 6, 6)
PER_CHANNEL = flow.ones(1, 8, 1, 1)

OPS: dict[str, Callable[[Any], Any]] = {
    "add a number": lambda x: x + 1,
    "subtract from a number": lambda x: 1 - x,
    "add per channel": lambda x: x + PER_CHANNEL,
    "multiply per channel": lambda x: x * PER_CHANNEL,
    "divide per channel": lambda x: x / PER_CHANNEL,
    "a short cut": lambda x: x.relu() + x,
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid() + x,
    "maximum": lambda x: flow.maximum(x, x * 0.5),
    "power": lambda x: x**2,
    "sqrt": lambda x: x.sqrt(),
    "exp": lambda x: x.exp(),
    "abs": lambda x: x.abs(),
    "clamp": lambda x: x.clamp(0.2, 0.8),
    "where": lambda x: flow.where(x > 0.5, x, x * 2),
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.0),
    "clone": lambda x: x.clone(),
    "to another type": lambda x: x.to(flow.float64),
    "cat of channels": lambda x: flow.cat([x, x], 1),
    "cat of samples": lambda x: flow.cat([x, x], 0),
    "dropout": lambda x: F.dropout(x, 0.5),
    "dropout2d": lambda x: F.dropout2d(x, 0.5),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, True),
    "reflect": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, smaller": lambda x: F.interpolate(x, size=(3, 4), mode="bilinear"),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 3)),
    "adaptive_avg_pool2d, uneven": lambda x: F.adaptive_avg_pool2d(x, (4, 5)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "softmax of channels": lambda x: F.softmax(x, 1),
    "log_softmax of channels": lambda x: F.log_softmax(x, 1),
    "softmax of a row": lambda x: F.softmax(x, -1),
    "glu": lambda x: F.glu(x, 1),
    "prelu": lambda x: F.prelu(x, flow.full((8,), 0.1)),
    "binary cross entropy": lambda x: F.binary_cross_entropy_with_logits(x, x.detach(), reduction="none"),
}
ACTIVATIONS = [
    *["relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "hardswish"],
    *["hardsigmoid", "relu6", "hardshrink", "softshrink", "logsigmoid", "sigmoid", "tanh"],
]
OPS |= {name: getattr(F, name) for name in ACTIVATIONS}


def is_channels_last(array: Any) -> bool:
    return bool(array.transpose(0, 2, 3, 1).flags.c_contiguous)


def channels_last(array: Any) -> Any:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", OPS)
def test_results_and_gradients_keep_the_layout(name: str, rng: np.random.Generator) -> None:
    gradients = []
    x = wrap(channels_last(rng.uniform(0.1, 0.9, SHAPE).astype(np.float32)), requires_grad=True).clone()
    x.register_hook(lambda g: gradients.append(g.data))
    y = OPS[name](x)
    assert is_channels_last(y.data)
    y.backward(channels_last(rng.standard_normal(y.data.shape).astype(y.data.dtype)))
    (gradient,) = gradients
    assert is_channels_last(gradient)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("chosen", ["portable", "auto"])
def test_a_resnet_converts_its_input_and_nothing_else(block: Any, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all images and their gradients that kernels get, the network's own input alone is not channels-last."""
    samples = 5  # no weight has so many filters, so what has as many is an image
    x = flow.randn(samples, 3, 64, 64)
    others: list[tuple[str, tuple[int, ...]]] = []
    conversions: list[str] = []
    call = kernels.Kernel.__call__

    def watched(self: kernels.Kernel, xp: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.name.startswith(("correlate", "max_pool", "avg_pool", "batch_norm", "pointwise")):
            return call(self, xp, *args, **kwargs)
        for image in args:
            # What has one pixel, or the same number everywhere (the gradient of a mean), has no layout to convert.
            if not isinstance(image, np.ndarray) or image.ndim != 4 or image.shape[0] != samples:
                continue
            if is_channels_last(image) or 0 in image.strides:
                continue
            if np.shares_memory(image, x.data):
                conversions.append(self.name)
            else:
                others.append((self.name, image.shape))
        return call(self, xp, *args, **kwargs)

    monkeypatch.setattr(kernels.Kernel, "__call__", watched)
    with use_kernels(chosen):
        model = ResNet(block, (1, 2), num_classes=10, widths=(16, 32))
        loss = F.cross_entropy(model(x), flow.arange(samples))
        assert conversions == ["correlate"]
        loss.backward()
    assert others == []
    # The gradient of the first filters reads the input once more, as it came.
    assert conversions in (["correlate"], ["correlate", "correlate_filters"])
