"""What oneDNN's normalisation must not do although the library does it, and what is kept for the backward."""

from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.kernels import providers
from flownn.kernels.batch_norm import channel_moments, normalize_channels
from flownn.ops.norm import fused_batch_norm
from flownn.overwritten import _saved_arrays

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")

SHAPE = (4, 16, 9, 8)


def image(seed: int, shape: tuple[int, ...] = SHAPE) -> Any:
    memory = np.random.default_rng(seed).standard_normal((shape[0], *shape[2:], shape[1]), np.float32)
    return np.moveaxis(memory, -1, 1)


def vectors(channels: int) -> tuple[Any, Any, Any]:
    return np.zeros(channels), np.ones(channels), np.full(channels, 0.1)


def both(*args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
    bodies = normalize_channels.provider_body("onednn"), normalize_channels.portable
    return [body(np, *args, **kwargs) for body in bodies]


@pytest.mark.parametrize("with_addend", [False, True])
def test_relu_keeps_nan_and_its_gradient_goes_on_there(with_addend: bool) -> None:
    x, addend, g = image(0), image(1) if with_addend else None, image(2)
    (x if addend is None else addend)[1, 2, 3, 4] = np.nan
    x[0, 0, 0, :3] = np.inf, -np.inf, 0
    (y, backward), (expected, portable) = both(x, *vectors(16), addend, relu=True)
    assert np.isnan(y[1, 2, 3, 4])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    got, want = (each(g).x(None, None) for each in (backward, portable))
    assert got[1, 2, 3, 4] == g[1, 2, 3, 4]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_moments_that_are_not_finite_are_left_to_the_portable_body() -> None:
    x = image(3)
    x[0, 5, 1, 1] = np.nan
    mean, squares = channel_moments(np, x)
    scale = 1 / np.sqrt(squares + 1)
    assert np.isnan(mean[5])
    body = normalize_channels.provider_body("onednn")
    assert body(np, x, mean, scale, relu=True, from_x=True) is NotImplemented
    with providers.use_kernels("onednn"):
        y = fused_batch_norm(x, use_batch_statistics=True, momentum=0.1, eps=1e-5).data
    assert np.isnan(y[:, 5]).all()
    assert np.isfinite(np.delete(y, 5, axis=1)).all()


@pytest.mark.parametrize("offset", [30.0, 1000.0])
def test_moments_far_from_zero_are_as_exact_as_the_portable_ones(offset: float) -> None:
    few = image(4, (2, 32, 4, 4)) + np.float32(offset)
    many = image(5, (16, 32, 32, 32)) + np.float32(offset)
    for x in (few, many):
        wide = x.astype(np.float64)
        with providers.use_kernels("onednn"):
            mean, squares = channel_moments(np, x)
        exact = channel_moments.portable(np, wide)
        portable = channel_moments.portable(np, x)
        for got, want, own in zip((mean, squares), exact, portable, strict=True):
            error, allowed = (np.abs(each - want).max() / np.abs(want).max() for each in (got, own))
            assert error <= max(4 * allowed, 1e-7)


def test_the_sums_of_a_large_batch_are_added_in_short_runs() -> None:
    x, g = image(6, (16, 16, 112, 112)), image(7, (16, 16, 112, 112)) + np.float32(1)
    (_, backward), (_, portable) = both(x, *vectors(16), relu=False, from_x=True)
    got, own = backward(g), portable(g)
    exact = g.sum(axis=(0, 2, 3), dtype=np.float64)
    error, allowed = (np.abs(each.sum - exact).max() for each in (got, own))
    assert error <= max(4 * allowed, 2e-7 * exact.max())
    running = np.add.accumulate(g.transpose(0, 2, 3, 1).reshape(-1, 16), axis=0)[-1]  # what one float32 sum loses
    assert error < np.abs(running - exact).max() / 10


def test_one_bit_per_number_says_where_the_result_was_positive() -> None:
    x = image(8)
    with providers.use_kernels("onednn"):
        y = fused_batch_norm(wrap(x, requires_grad=True), use_batch_statistics=True, momentum=0.1, eps=1e-5)
    assert y.grad_fn is not None
    saved = [each for each in _saved_arrays(y.grad_fn.vjp) if each is not x]
    assert sum(each.nbytes for each in saved if each.dtype == np.uint8) == x.size // 8
    assert not any(each.shape == x.shape for each in saved)


@pytest.mark.parametrize("with_addend", [False, True])
def test_channels_last_comes_out_channels_last_and_plain_stays_plain(with_addend: bool) -> None:
    for x in (image(9), np.ascontiguousarray(image(9))):
        addend = x if with_addend else None
        with providers.use_kernels("onednn"):
            y, backward = normalize_channels(np, x, *vectors(16), addend, relu=True, from_x=True)
            gradients = backward(x.copy(order="K"))
            grad_x = gradients.x(np.zeros(16), np.zeros(16))
        assert y.strides == grad_x.strides == x.strides
        assert gradients.addend is None if addend is None else gradients.addend.strides == x.strides


@pytest.mark.parametrize("shape", [(4, 64, 56, 56), (3, 24, 57, 64)])
def test_every_block_of_the_backward_finds_its_own_bits(shape: tuple[int, ...]) -> None:
    x, g = image(8, shape), image(9, shape)
    (y, backward), (expected, portable) = both(x, *vectors(shape[1]), relu=True, from_x=True)
    np.testing.assert_array_equal(y > 0, expected > 0)
    got, want = (each(g).x(None, None) for each in (backward, portable))
    np.testing.assert_array_equal(got != 0, want != 0)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("body", ["onednn", "portable"])
@pytest.mark.parametrize("from_x", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_addend", [False, True])
def test_a_backward_that_may_have_the_memory_of_its_gradient_takes_it_and_gives_the_same(
    with_addend: bool, relu: bool, from_x: bool, body: str
) -> None:
    run = normalize_channels.portable if body == "portable" else normalize_channels.provider_body(body)
    x, addend = image(11, (3, 24, 17, 16)), image(12, (3, 24, 17, 16)) if with_addend else None
    subtracted = np.linspace(-0.1, 0.1, 24), np.linspace(0.2, -0.2, 24)
    given = image(13, x.shape)
    results = []
    for mine in (False, True):
        g = given.copy(order="K")
        _, backward = run(np, x, *vectors(24), addend, relu=relu, from_x=from_x)
        gradients = backward(g, mine)
        results.append((gradients.x(*subtracted), gradients.addend, gradients.sum, gradients.dot))
        assert mine or g.tobytes() == given.tobytes()
    for got, want in zip(results[1], results[0], strict=True):
        np.testing.assert_array_equal(got, want)
    last = results[1][1] if with_addend else results[1][0]
    assert np.shares_memory(last, g)


@pytest.mark.parametrize("body", ["onednn", "portable"])
@pytest.mark.parametrize("who", ["nobody", "the caller", "a view", "a later backward"])
def test_the_gradient_of_the_input_takes_its_memory_after_the_last_backward_if_nobody_else_holds_it(
    who: str, body: str
) -> None:
    run = normalize_channels.portable if body == "portable" else normalize_channels.provider_body(body)
    x, addend, g = image(14, (3, 24, 17, 16)), image(15, (3, 24, 17, 16)), image(16, (3, 24, 17, 16))
    before = x.copy(order="K")
    address = x.ctypes.data
    subtracted = np.linspace(-0.1, 0.1, 24), np.linspace(0.2, -0.2, 24)
    _, backward = run(np, before.copy(order="K"), *vectors(24), addend, relu=True, from_x=True)
    expected = backward(g).x(*subtracted)
    _, backward = run(np, x, *vectors(24), addend, relu=True, from_x=True)
    held = {"the caller": x, "a view": x[:1]}.get(who)
    del x
    got = backward(g, False, who != "a later backward").x(*subtracted)
    np.testing.assert_array_equal(got, expected)
    assert (got.ctypes.data == address) == (who == "nobody")
    if held is not None:
        np.testing.assert_array_equal(held, before[: len(held)])


def test_relu_of_any_finite_or_infinite_sum_is_the_maximum_with_zero() -> None:
    x = image(10)
    x[0, 0, 0, :8] = [3e38, -3e38, 1e-45, -1e-45, -0.0, 104, -104, 89]
    addend = np.zeros_like(x)
    addend[0, 1, 0, :2] = np.inf, -np.inf
    zeros, ones = np.zeros(16), np.ones(16)
    for other in (addend, None):
        (y, _), (expected, _) = both(x, zeros, ones, zeros, other, relu=True)
        np.testing.assert_array_equal(y, expected)
        assert not np.signbit(y).any()
