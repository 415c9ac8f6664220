"""Layers of unpooling, adaptive max pooling and dropout of channels, beside PyTorch's."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn import functional as F

SHAPES: dict[int, tuple[int, ...]] = {1: (2, 3, 9), 2: (2, 3, 8, 9), 3: (1, 2, 6, 5, 7)}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_pool_and_back(n: int, rng: np.random.Generator) -> None:
    """Twice pooled and put back is the pooled tensor again, in sizes that only ``output_size`` can tell."""
    x = flow.tensor(rng.uniform(1, 2, SHAPES[n]))
    pool = getattr(nn, f"MaxPool{n}d")(2, return_indices=True)
    y, indices = pool(x)
    unpool = getattr(nn, f"MaxUnpool{n}d")(2)
    for output_size in (x.shape, x.shape[2:]):
        back = unpool(y, indices, output_size=output_size)
        assert back.shape == x.shape
        kept = back.data != 0
        np.testing.assert_array_equal(back.data[kept], x.data[kept])
        assert kept.sum() == y.numel()
        np.testing.assert_array_equal(pool(back)[0].data, y.data)


def test_functional_and_unbatched(rng: np.random.Generator) -> None:
    x = flow.tensor(rng.standard_normal((1, 3, 6, 6)))
    y, indices = F.adaptive_max_pool2d(x, (3, 2), return_indices=True)
    single = F.adaptive_max_pool2d(x[0], (3, 2))
    np.testing.assert_array_equal(single.data, y.data[0])
    back = F.max_unpool2d(y, indices, (2, 3))
    np.testing.assert_array_equal(F.max_unpool2d(y[0], indices[0], (2, 3)).data, back.data[0])


def test_unpool_arguments() -> None:
    x, indices = flow.zeros(1, 1, 2, 2), flow.zeros(1, 1, 2, 2, dtype=flow.int64)
    with pytest.raises(ValueError, match=r"less than the stride \(2, 2\) from \(4, 4\), got \(6, 4\)"):
        nn.MaxUnpool2d(2)(x, indices, output_size=(6, 4))
    with pytest.raises(ValueError, match="expected an output_size of 2 spatial sizes or of all"):
        nn.MaxUnpool2d(2)(x, indices, output_size=(4,))
    with pytest.raises(flow.ShapeError, match=r"MaxUnpool2d: expected input \(N, C, H, W\) or \(C, H, W\)"):
        nn.MaxUnpool2d(2)(x[0, 0], indices[0, 0])
    with pytest.raises(ValueError, match=r"MaxUnpool2d\.kernel_size: expected at least 1"):
        nn.MaxUnpool2d(0)
    with pytest.raises(ValueError, match=r"AdaptiveMaxPool3d\.output_size"):
        nn.AdaptiveMaxPool3d((1, 2))


MODULES = [
    "MaxUnpool1d(3)", "MaxUnpool2d((2, 3), padding=1)", "MaxUnpool3d(2, stride=(1, 2, 3))", "AdaptiveMaxPool1d(3)",
    "AdaptiveMaxPool2d((None, 2))", "AdaptiveMaxPool3d(2, return_indices=True)", "Dropout1d()",
    "Dropout2d(0.25, inplace=True)", "Dropout3d(0.1)", "AlphaDropout(0.3)",
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("text", MODULES)
def test_text_as_in_pytorch(text: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    assert repr(eval(f"nn.{text}", {"nn": nn})) == repr(eval(f"nn.{text}", {"nn": torch.nn}))


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
def test_network_as_in_pytorch(n: int, rng: np.random.Generator) -> None:
    """Pooling, unpooling and adaptive pooling one after the other, results and gradients."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    data = rng.standard_normal(SHAPES[n])

    def network(nn: Any, x: Any) -> Any:
        y, indices = getattr(nn, f"MaxPool{n}d")(3, stride=2, padding=1, return_indices=True)(x)
        back = getattr(nn, f"MaxUnpool{n}d")(3, stride=2, padding=1)(y * y, indices, output_size=tuple(x.shape))
        return getattr(nn, f"AdaptiveMaxPool{n}d")(3)(back)

    x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, expected = network(nn, x), network(torch.nn, t)
    np.testing.assert_array_equal(y.data, expected.detach().numpy())
    g = rng.standard_normal(y.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "shape", "channels"),
    [
        ("Dropout1d(0.5)", (4, 6, 5), 24), ("Dropout1d(0.5)", (24, 5), 24), ("Dropout2d(0.5)", (4, 6, 5, 2), 24),
        ("Dropout2d(0.5)", (4, 6, 5), 24), ("Dropout3d(0.5)", (4, 6, 5, 2, 2), 24),
        ("Dropout3d(0.5)", (24, 5, 2, 2), 24),
    ],
)  # fmt: skip
def test_channel_dropout(text: str, shape: tuple[int, ...], channels: int) -> None:
    layer = eval(f"nn.{text}", {"nn": nn})
    x = flow.ones(*shape)
    flow.manual_seed(3)
    y = layer(x)
    rows = y.data.reshape(channels, -1)
    assert (rows == rows[:, :1]).all()
    assert set(np.unique(rows)) == {0, 2}
    flow.manual_seed(3)
    np.testing.assert_array_equal(layer(x).data, y.data)
    assert (layer(x).data != y.data).any()
    assert layer.eval()(x) is x
    layer.train().inplace = True
    assert layer(x) is x
    assert set(np.unique(x.data)) == {0, 2}


def test_alpha_dropout_repeats_under_a_seed_and_passes_in_evaluation() -> None:
    layer = nn.AlphaDropout(0.5, generator=flow.Generator(7))
    x = flow.randn(50)
    first = layer(x).data
    np.testing.assert_array_equal(nn.AlphaDropout(0.5, generator=flow.Generator(7))(x).data, first)
    assert (layer(x).data != first).any()
    assert layer.eval()(x) is x
    assert F.alpha_dropout(x) is x  # training=False by default, as in PyTorch


def test_dropout_arguments() -> None:
    with pytest.raises(ValueError, match=r"Dropout2d: expected a probability p between 0 and 1, got 1\.5"):
        nn.Dropout2d(1.5)
    with pytest.raises(ValueError, match=r"alpha_dropout: expected a probability p between 0 and 1, got -1"):
        F.alpha_dropout(flow.ones(2), -1)
    for text, wrong in [("Dropout1d", (3,)), ("Dropout2d", (3, 4)), ("Dropout3d", (2, 3, 4))]:
        with pytest.raises(flow.ShapeError, match=f"dropout{text[-2]}d: expected"):
            getattr(nn, text)()(flow.ones(*wrong))
