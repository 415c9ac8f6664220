"""The gradient of filters: where it is written, how it is added up, and what is declined."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.kernels import providers
from flownn.kernels.convolution import correlate, correlate_filters
from tests.flownn.kernels.onednn.convolutions import ONCE, draw, errors

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("limit", [1, 100, 900, 8000])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 1), ((1, 1), (1, 1)), (1, 1)), ((3, 2), ((4, 7), (0, 1)), (2, 1))]
)
def test_gradients_of_filters_over_many_positions_are_added_in_blocks(
    channels: int, limit: int, stride: Any, padding: Any, dilation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flownn.kernels.onednn import convolution_filters, primitives

    monkeypatch.setattr(primitives, "_cache", OrderedDict())  # which holds plans for the real limit
    x, w = draw(5, channels, 20, 19), draw(8, channels, 3, 3)
    y = np.cos(correlate.portable(np, x, w, None, stride, padding, dilation, 1))
    whole = correlate_filters.portable(np, y, x, w.shape, stride, padding, dilation, 1)
    monkeypatch.setattr(convolution_filters, "_MOST_POSITIONS", limit)
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
        (1, 48, 1, 3, 4, True),  # a short one
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


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [17, 24, 64])
def test_strided_windows_of_many_channels_are_read_from_the_librarys_own_layout(channels: int, groups: int) -> None:
    x, y = draw(3, groups * channels, 14, 13), draw(3, groups * 20, 7, 7)
    attributes = ((2, 2), ((1, 1), (1, 1)), (1, 1), groups)
    shape = (groups * 20, channels, 3, 3)
    out = np.full((groups * 20, 2 * channels, 3, 3), 7, np.float32)
    body = correlate_filters.provider_body("onednn")
    body(np, y, x, shape, *attributes, out[:, :channels])
    expected = correlate_filters.portable(np, y.astype(float), x.astype(float), shape, *attributes)
    np.testing.assert_allclose(out[:, :channels], expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(out[:, channels:], 7)
