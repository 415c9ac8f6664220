"""What the bodies of convolution take and give; random configurations have a campaign of their own."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.kernels import providers
from flownn.kernels.convolution import correlate, correlate_adjoint, correlate_filters

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")
ONCE = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)


def draw(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


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


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("limit", [1, 100, 900, 8000])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 1), ((1, 1), (1, 1)), (1, 1)), ((3, 2), ((4, 7), (0, 1)), (2, 1))]
)
def test_gradients_of_filters_over_many_positions_are_added_in_blocks(
    channels: int, limit: int, stride: Any, padding: Any, dilation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flownn.kernels.onednn import convolution

    x, w = draw(5, channels, 20, 19), draw(8, channels, 3, 3)
    y = np.cos(correlate.portable(np, x, w, None, stride, padding, dilation, 1))
    whole = correlate_filters.portable(np, y, x, w.shape, stride, padding, dilation, 1)
    monkeypatch.setattr(convolution, "_MOST_POSITIONS", limit)
    blocks = correlate_filters.provider_body("onednn")(np, y, x, w.shape, stride, padding, dilation, 1)
    np.testing.assert_allclose(blocks, whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("provided", [True, False])
def test_the_gradient_of_filters_goes_where_it_shall(provided: bool) -> None:
    body = correlate_filters.provider_body("onednn") if provided else correlate_filters.portable
    x, y = draw(4, 16, 9, 9), draw(4, 32, 9, 9)
    expected = body(np, y, x, (32, 16, 3, 3), *ONCE)
    memory = np.full(expected.size + 32, np.nan, np.float32)
    out = memory[16:-16].reshape(expected.shape)
    assert body(np, y, x, out.shape, *ONCE, out) is out
    np.testing.assert_array_equal(out, expected)
    assert np.isnan(memory[:16]).all()
    assert np.isnan(memory[-16:]).all()


def test_the_gradient_of_the_first_layers_filters_keeps_its_digits() -> None:
    """A running sum over all positions is off by ten times what the portable kernel is."""
    x, y = draw(16, 3, 128, 128), draw(16, 16, 128, 128)
    mine, portable, wide = (
        body(np, y.astype(dtype), x.astype(dtype), (16, 3, 3, 3), *ONCE)
        for body, dtype in (
            (correlate_filters.provider_body("onednn"), np.float32),
            (correlate_filters.portable, np.float32),
            (correlate_filters.portable, np.float64),
        )
    )
    assert np.abs(mine - wide).max() <= 4 * np.abs(portable - wide).max()


def errors(entry: Any, *args: Any) -> tuple[float, float]:
    """The root mean squares of the body's errors and of the portable one's."""
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
    reference = entry.portable(np, *wide)
    bodies = entry.provider_body("onednn"), entry.portable
    mine, portable = (float(np.sqrt(np.square(body(np, *args) - reference).mean())) for body in bodies)
    return mine, portable


@pytest.mark.parametrize(("size", "stride"), [(7, 1), (14, 1), (56, 1), (112, 2)])
def test_gradients_of_depthwise_filters_keep_their_digits(size: int, stride: int) -> None:
    """A running sum over all positions is off by up to 20 times what the portable kernel is."""
    out = (size - 1) // stride + 1
    x, y = draw(4, 32, size, size), draw(4, 32, out, out)
    mine, portable = errors(correlate_filters, y, x, (32, 1, 3, 3), (stride,) * 2, *ONCE[1:3], 32)
    assert mine <= 4 * portable


def test_the_gradient_of_filters_that_see_zeros_alone_is_zero() -> None:
    """Also where it is computed in blocks, none of which has any of the image in it."""
    x, y = draw(1, 32, 1, 300), draw(1, 32, 5, 300)
    attributes = ((3, 1), ((8, 5), (0, 0)), (1, 1), 32)
    with flow.use_kernels("onednn"):
        mine = correlate_filters(np, y, x, (32, 1, 2, 1), *attributes)
    np.testing.assert_array_equal(mine, correlate_filters.portable(np, y, x, (32, 1, 2, 1), *attributes))
    np.testing.assert_array_equal(mine, 0)


@pytest.mark.parametrize(
    ("filters", "channels", "groups", "kernel", "size", "served"),
    [
        (96, 32, 32, 1, 9, False),  # three products by a vector in each group
        (96, 32, 32, 3, 9, True),
        (1, 48, 1, 3, 14, False),  # a product of a vector and a matrix
        (1, 48, 1, 3, 5, True),  # a short one
        (2, 48, 1, 3, 14, True),
    ],
)
def test_gradients_of_filters_that_the_definition_adds_up_better_are_declined(
    filters: int, channels: int, groups: int, kernel: int, size: int, served: bool
) -> None:
    x, y = draw(4, channels, size, size), draw(4, filters, size, size)
    attributes = ((1, 1), ((kernel // 2, kernel // 2),) * 2, (1, 1), groups)
    shape = (filters, channels // groups, kernel, kernel)
    body = correlate_filters.provider_body("onednn")
    assert (body(np, y, x, shape, *attributes) is not NotImplemented) == served


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


def test_filters_deeper_than_the_image_are_declined() -> None:
    """The library leaves some of these gradients unwritten, or adds them up wrongly."""
    for image, result, shape, attributes in (
        ((2, 2, 7, 14, 14), (2, 19, 6, 8, 12), (19, 2, 7, 4, 3), ((2, 2, 1), ((5, 5), (2, 2), (0, 0)), (1, 1, 1), 1)),
        ((3, 3, 3, 14, 14), (3, 16, 4, 6, 3), (16, 3, 7, 4, 3), ((1, 1, 5), ((5, 2), (1, 0), (1, 0)), (1, 3, 1), 1)),
    ):
        x, y = draw(*image), draw(*result)
        for _ in range(3):
            with flow.use_kernels("onednn"):
                mine = correlate_filters(np, y, x, shape, *attributes)
            np.testing.assert_array_equal(mine, correlate_filters.portable(np, y, x, shape, *attributes))


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
