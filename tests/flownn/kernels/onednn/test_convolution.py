"""What the bodies of convolution take and give; random configurations have a campaign of their own."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.kernels import providers
from flownn.kernels.convolution import correlate, correlate_adjoint, correlate_filters
from tests.flownn.kernels.onednn.convolutions import ONCE, draw, errors

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")


def is_channels_last(x: Any) -> bool:
    return bool(np.moveaxis(x, 1, -1).flags.c_contiguous)


def test_images_come_out_channels_last_and_filters_plain() -> None:
    x, w, y = draw(2, 16, 9, 8), draw(24, 16, 3, 3), draw(2, 24, 9, 8)
    assert is_channels_last(correlate.provider_body("onednn")(np, x, w, None, *ONCE))
    assert is_channels_last(correlate_adjoint.provider_body("onednn")(np, y, w, None, (9, 8), *ONCE))
    assert correlate_filters.provider_body("onednn")(np, y, x, w.shape, *ONCE).flags.c_contiguous


@pytest.mark.parametrize("what", ["float64", "float16", "cropped", "empty batch", "no channels"])
def test_what_it_declines(what: str) -> None:
    x, w, y = draw(2, 16, 9, 8), draw(24, 16, 3, 3), draw(2, 24, 9, 8)
    attributes: Any = ONCE
    if what.startswith("float"):
        x, w, y = (a.astype(what) for a in (x, w, y))
    elif what == "cropped":
        attributes = ((1, 1), ((1, -1), (1, 1)), (1, 1), 1)
    elif what == "empty batch":
        x, y = x[:0], y[:0]
    else:
        x, w = x[:, :0], w[:, :0]
    before = [a.copy() for a in (x, w, y)]
    assert correlate.provider_body("onednn")(np, x, w, None, *attributes) is NotImplemented
    assert correlate_adjoint.provider_body("onednn")(np, y, w, None, (9, 8), *attributes) is NotImplemented
    assert correlate_filters.provider_body("onednn")(np, y, x, w.shape, *attributes) is NotImplemented
    for a, b in zip((x, w, y), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_layer_with_its_gradients_is_the_same_with_and_without() -> None:
    results = []
    for choice in ("portable", "onednn"):
        with flow.use_kernels(choice):
            flow.manual_seed(0)
            layer = flow.nn.Sequential(
                flow.nn.Conv2d(3, 16, 3, padding=1, stride=2), flow.nn.ConvTranspose2d(16, 4, 4, stride=2, padding=1)
            )
            x = flow.tensor(draw(4, 3, 16, 16), requires_grad=True)
            (layer(x) ** 2).sum().backward()
            results.append([x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for portable, mine in zip(*results, strict=True):
        assert np.abs(portable - mine).max() <= 2e-5 * np.abs(portable).max()


def test_filters_may_change_between_calls() -> None:
    """Nothing about their values is kept."""
    x, w = draw(2, 16, 9, 8), draw(24, 16, 3, 3)
    body = correlate.provider_body("onednn")
    once = body(np, x, w, None, *ONCE)
    w *= 2
    np.testing.assert_array_equal(body(np, x, w, None, *ONCE), 2 * once)


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "stride"),
    [(256, 256, 3, 1), (512, 512, 3, 1), (256, 512, 3, 2), (2048, 512, 1, 1), (128, 128, 3, 1)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_sums_over_many_channels_keep_their_digits(
    channels: int, filters: int, kernel: int, stride: int, bias: bool
) -> None:
    """The layers of ResNets: within 4 times the error of the portable kernel, both ways."""
    size, pad = 8, kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    attributes = ((stride,) * 2, ((pad, pad),) * 2, (1, 1), 1)
    x, w, y = draw(2, channels, size, size), draw(filters, channels, kernel, kernel), draw(2, filters, out, out)
    rows = [draw(filters), draw(channels)] if bias else [None, None]
    for entry, args in ((correlate, (x, w, rows[0])), (correlate_adjoint, (y, w, rows[1], (size, size)))):
        mine = entry.provider_body("onednn")(np, *args, *attributes)
        portable = entry.portable(np, *args, *attributes)
        wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        reference = entry.portable(np, *wide, *attributes)
        assert np.abs(mine - reference).max() <= 4 * np.abs(portable - reference).max(), entry


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "groups"),
    [
        (64, 1, 3, 1),  # the definition multiplies by a vector
        (100, 1, 3, 1),
        (180, 9, 7, 3),  # many products, in groups
        (130, 8, 5, 1),  # or of a number of channels that cannot be cut
    ],
)
def test_sums_that_cannot_be_cut_are_declined_and_others_keep_their_digits(
    channels: int, filters: int, kernel: int, groups: int
) -> None:
    pad = kernel // 2
    attributes = ((1, 1), ((pad, pad),) * 2, (1, 1), groups)
    x, w = draw(2, channels, 20, 20), draw(filters, channels // groups, kernel, kernel)
    body = correlate.provider_body("onednn")
    if channels % 64:
        assert body(np, x, w, None, *attributes) is NotImplemented
    else:
        mine, portable = errors(correlate, x, w, None, *attributes)
        assert mine <= 2 * portable


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2)])
def test_the_adjoint_of_few_channels_and_many_windows_keeps_its_digits(kernel: int, stride: int) -> None:
    """The definition adds up windows, each of 64 products."""
    pad = kernel // 2
    y, w = draw(2, 64, 20, 20), draw(64, 3, kernel, kernel)
    size = 20 * stride
    mine, portable = errors(correlate_adjoint, y, w, None, (size, size), (stride,) * 2, ((pad, pad),) * 2, (1, 1), 1)
    assert mine <= 4 * portable


@pytest.mark.parametrize("attributes", [
    {"kernel": 1}, {"kernel": 3}, {"kernel": 3, "stride": 2}, {"kernel": 1, "stride": 2}, {"kernel": 3, "groups": 4},
    {"kernel": 3, "filters": 256}, {"kernel": 3, "bias": True}, {"kernel": 3, "plain": True},
], ids=str)  # fmt: skip
def test_the_adjoint_is_added_to_what_there_is(attributes: dict[str, Any]) -> None:
    kernel, stride, groups = attributes["kernel"], attributes.get("stride", 1), attributes.get("groups", 1)
    filters = attributes.get("filters", 32)
    w = draw(filters, 48 // groups, kernel, kernel)
    bias = draw(48) if "bias" in attributes else None
    before = draw(2, 48, 9, 8) if "plain" in attributes else np.moveaxis(draw(2, 9, 8, 48), -1, 1)
    y = draw(2, filters, 9 if stride == 1 else 5, 8 if stride == 1 else 4)
    around = ((stride, stride), ((kernel // 2, kernel // 2),) * 2, (1, 1), groups)
    alone = correlate_adjoint.portable(np, *(each.astype(np.float64) for each in (y, w)), bias, (9, 8), *around)
    for body in (correlate_adjoint.provider_body("onednn"), correlate_adjoint.portable):
        onto = before.copy("K")
        assert body(np, y, w, bias, (9, 8), *around, onto=onto) is onto
        np.testing.assert_allclose(onto, before + alone, rtol=0, atol=5e-6 * np.abs(alone).max())
