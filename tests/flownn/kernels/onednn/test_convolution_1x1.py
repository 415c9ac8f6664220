"""1x1 convolutions as products: strides, layouts of filters, and images that are added to."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels import providers
from flownn.kernels.convolution import correlate, correlate_adjoint, correlate_filters

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")
NONE = ((0, 0), (0, 0))


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def channels_last(x: Any) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def test_it_is_asked_for_every_adjoint_without_steps_and_every_gradient_of_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flownn.kernels.onednn import convolution, convolution_filters

    asked: list[str] = []
    for module, name in ((convolution, "map_pixels"), (convolution_filters, "write_filters")):
        monkeypatch.setattr(module, name, lambda *args, name=name, **_: asked.append(name) or args[0])
    x, w = draw(2, 16, 9, 8), draw(24, 16, 1, 1)
    adjoint, filters = (each.provider_body("onednn") for each in (correlate_adjoint, correlate_filters))
    adjoint(np, draw(2, 24, 9, 8), w, None, (9, 8), (1, 1), NONE, (1, 1), 1)
    filters(np, draw(2, 24, 9, 8), x, w.shape, (1, 1), NONE, (1, 1), 1)
    filters(np, draw(2, 24, 5, 3), x, w.shape, (2, 3), NONE, (1, 1), 1)
    assert asked == ["map_pixels", "write_filters", "write_filters"]
    adjoint(np, draw(2, 24, 5, 3), w, None, (9, 8), (2, 3), NONE, (1, 1), 1)  # most of that image is 0
    adjoint(np, draw(2, 24, 9, 8), draw(24, 8, 1, 1), None, (9, 8), (1, 1), NONE, (1, 1), 2)
    padded = ((1, 1), (1, 1))
    adjoint(np, draw(2, 24, 11, 10), w, None, (9, 8), (1, 1), padded, (1, 1), 1)
    assert len(asked) == 3


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("size", "stride"), [(2, (1, 1)), (5, (3, 2)), (40, (1, 1))])
def test_the_convolution_of_a_small_image_is_a_product_too(size: int, stride: tuple[int, int], bias: bool) -> None:
    x, w = draw(2, 32, size, size), draw(48, 32, 1, 1)
    added = draw(48) if bias else None
    expected = correlate.portable(np, x.astype(float), w.astype(float), added, stride, NONE, (1, 1), 1)
    result = correlate.provider_body("onednn")(np, x, w, added, stride, NONE, (1, 1), 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    assert np.moveaxis(result, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onto", ["", "plain", "last", "float64"])
def test_the_adjoint(onto: str, bias: bool) -> None:
    y, w = draw(2, 24, 9, 8), draw(24, 16, 1, 1)
    added = draw(16) if bias else None
    image = draw(2, 16, 9, 8)
    image = channels_last(image) if onto == "last" else image.astype("float64" if onto == "float64" else "float32")
    expected = correlate_adjoint.portable(
        np,
        y.astype(float),
        w.astype(float),
        added,
        (9, 8),
        (1, 1),
        NONE,
        (1, 1),
        1,
        image.astype(float) if onto else None,
    )
    body = correlate_adjoint.provider_body("onednn")
    result = body(np, y, w, added, (9, 8), (1, 1), NONE, (1, 1), 1, image if onto else None)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    assert (result is image) == bool(onto)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("layout", ["plain", "transposed", "inside"])
def test_the_gradient_of_filters_goes_where_it_is_wanted(layout: str, stride: tuple[int, int]) -> None:
    x = draw(2, 16, 9, 8)
    y = draw(2, 24, *(-(-size // step) for size, step in zip(x.shape[2:], stride, strict=True)))
    memory = np.full(3 * 24 * 16, 7, np.float32)
    out = {
        "plain": memory[: 24 * 16].reshape(24, 16, 1, 1),
        "transposed": memory[: 24 * 16].reshape(16, 24, 1, 1).swapaxes(0, 1),
        "inside": memory.reshape(24, 48, 1, 1)[:, 5:21],
    }[layout]
    expected = correlate_filters.portable(np, y.astype(float), x.astype(float), out.shape, stride, NONE, (1, 1), 1)
    result = correlate_filters.provider_body("onednn")(np, y, x, out.shape, stride, NONE, (1, 1), 1, out)
    assert result is out
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert np.count_nonzero(memory == 7) == memory.size - out.size
