"""Upsample, PixelShuffle and relatives beside PyTorch's."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import ShapeError
from flownn.nn import functional as F
from flownn.nn.modules.pixelshuffle import PixelShufflev2

LAYERS = [
    ("Upsample(5)", (2, 3, 4)),
    ("Upsample(scale_factor=2)", (2, 3, 4, 3)),
    ("Upsample((5, 2, 4))", (1, 2, 3, 4, 2)),
    ("Upsample(scale_factor=1.7, mode='nearest-exact')", (2, 3, 5)),
    ("Upsample(scale_factor=(2.5,), mode='linear')", (2, 3, 4)),
    ("Upsample(scale_factor=1.7, mode='linear', align_corners=True)", (2, 3, 4)),
    ("Upsample((5, 3), mode='bilinear')", (2, 3, 4, 3)),
    ("Upsample(scale_factor=(1.7, 2.5), mode='bilinear', align_corners=False)", (2, 3, 4, 3)),
    ("Upsample(scale_factor=(1.7, 2.5), mode='bilinear', recompute_scale_factor=True)", (2, 3, 4, 3)),
    ("Upsample(scale_factor=2.5, mode='bicubic')", (2, 3, 4, 3)),
    ("Upsample(size=9, mode='bicubic', align_corners=True)", (2, 3, 4, 3)),
    ("Upsample(scale_factor=1.5, mode='trilinear')", (1, 2, 3, 4, 2)),
    ("Upsample(scale_factor=0.5, mode='area')", (1, 2, 3, 4)),
    ("UpsamplingNearest2d((5, 3))", (2, 3, 4, 3)),
    ("UpsamplingNearest2d(scale_factor=2)", (2, 3, 4, 3)),
    ("UpsamplingBilinear2d(7)", (2, 3, 4, 3)),
    ("UpsamplingBilinear2d(scale_factor=(2, 3))", (2, 3, 4, 3)),
    ("PixelShuffle(2)", (2, 8, 3, 4)),
    ("PixelUnshuffle(2)", (2, 3, 6, 4)),
]


@pytest.mark.torch
@pytest.mark.parametrize(("text", "shape"), LAYERS, ids=lambda value: str(value).replace(" ", ""))
def test_text_results_and_gradients(text: str, shape: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn})
    if "PixelShuffle" not in text:  # which prints both of its factors
        assert repr(ours) == repr(theirs)
    data = np.random.default_rng(0).standard_normal(shape)
    x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, want = ours(x), theirs(t)
    np.testing.assert_allclose(y.data, want.detach().numpy(), rtol=1e-12, atol=1e-13)
    g = np.random.default_rng(1).standard_normal(y.data.shape)
    y.backward(flow.tensor(g))
    want.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_pixel_shuffle_is_an_alias_with_two_factors() -> None:
    assert nn.PixelShuffle is PixelShufflev2
    layer = nn.PixelShuffle(h_upscale_factor=3, w_upscale_factor=4)
    assert repr(layer) == "PixelShufflev2(w_upscale_factor=4, h_upscale_factor=3)"
    x = flow.randn(1, 24, 2, 2)
    assert layer(x).shape == (1, 2, 6, 8)
    np.testing.assert_array_equal(layer(x).data, F.pixel_shuffle(x, (3, 4)).data)
    np.testing.assert_array_equal(F.pixel_unshuffle(layer(x), (3, 4)).data, x.data)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nn.Upsample(), ValueError, "Upsample: expected either size or scale_factor, got None and None"),
    (lambda: nn.UpsamplingNearest2d(2, 2), ValueError, "UpsamplingNearest2d: expected either size or scale_factor"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: expected a mode of .*bicubic, got 'cubic'"),
    (lambda: nn.Upsample(2, align_corners=True), ValueError, "Upsample: align_corners is for the linear and cubic"),
    (lambda: nn.UpsamplingBilinear2d(2)(flow.ones(1, 1, 3)), ShapeError, r"expected input \(N, C, H, W\)"),
    (lambda: nn.PixelShuffle(), ValueError, "PixelShuffle: expected upscale_factor, or else both"),
    (lambda: nn.PixelShuffle(2, 2, 2), ValueError, "PixelShuffle: expected upscale_factor, or else both"),
    (lambda: nn.PixelShuffle(h_upscale_factor=2), ValueError, "or else both .* got None, 2 and None"),
    (lambda: nn.PixelShuffle(0), ValueError, "PixelShuffle.upscale_factor: expected at least 1, got 0"),
    (lambda: nn.PixelUnshuffle(0), ValueError, "PixelUnshuffle.downscale_factor: expected at least 1, got 0"),
    (lambda: nn.PixelShuffle(2)(flow.ones(3, 2, 2)), ShapeError, r"expected input \(..., C\*2\*2, H, W\), got shape"),
])  # fmt: skip
def test_what_is_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
