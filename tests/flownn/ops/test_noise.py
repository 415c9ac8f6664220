"""Dropout: which elements or channels, how often, what stays of the distribution, and the same again from a seed."""

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError
from flownn.ops.noise import alpha_dropout, dropout
from flownn.random import Generator


def test_drops_the_share_asked_for_and_keeps_the_mean() -> None:
    x = np.ones((200, 500))
    y = dropout(x, p=0.3, generator=Generator(0)).data
    kept = y != 0
    np.testing.assert_array_equal(y[kept], 1 / 0.7)
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.21 / x.size)


def test_gradient_passes_where_the_value_passed() -> None:
    data = np.random.default_rng(0).standard_normal((4, 50)) + 5
    x = wrap(data, requires_grad=True)
    y = dropout(x, p=0.4, generator=Generator(1))
    g = np.random.default_rng(1).standard_normal(data.shape)
    y.backward(g)
    np.testing.assert_allclose(x.grad.data, g * (y.data / data), rtol=1e-12)


def test_equal_seeds_draw_equally_in_any_layout_and_dtype() -> None:
    x = np.random.default_rng(2).standard_normal((3, 4, 5)) + 9
    masks = [
        dropout(values, p=0.5, generator=Generator(7)).data != 0
        for values in (x, x.transpose(2, 0, 1).copy().transpose(1, 2, 0), x.astype(np.float16))
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    other = dropout(x, p=0.5, generator=Generator(8)).data != 0
    assert (other != masks[0]).any()


def test_all_dropped_and_empty() -> None:
    assert not dropout(np.ones(10), p=1.0, generator=Generator(0)).data.any()
    assert dropout(np.ones((0, 3)), p=0.5, generator=Generator(0)).data.shape == (0, 3)


def test_integers_are_refused() -> None:
    with pytest.raises(DtypeError, match="Dropout: expected a floating point input, got int64"):
        dropout(np.ones(3, np.int64), p=0.5, generator=Generator(0))


def test_channels_are_dropped_whole() -> None:
    x = np.ones((100, 50, 3, 2))
    y = dropout(x, p=0.3, generator=Generator(0), drawn_dims=2).data.reshape(100, 50, 6)
    assert (y == y[..., :1]).all()
    assert set(np.unique(y)) == {0, 1 / 0.7}
    share = (y[..., 0] != 0).mean()
    # Normal approximation of a binomial share: wrong in one of 1.7 million seeds (5 sigma), and this seed is fixed.
    assert abs(share - 0.7) < 5 * np.sqrt(0.21 / 5000)


def test_gradient_of_dropped_channels(rng: np.random.Generator) -> None:
    x = wrap(rng.standard_normal((3, 4, 5)), requires_grad=True)
    y = dropout(x, p=0.5, generator=Generator(3), drawn_dims=2)
    g = rng.standard_normal((3, 4, 5))
    y.backward(g)
    np.testing.assert_allclose(x.grad.data, g * (y.data / x.data), rtol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(p: float, rng: np.random.Generator) -> None:
    n = 200_000
    x = rng.standard_normal(n)
    y = alpha_dropout(x, p=p, generator=Generator(5)).data
    values, counts = np.unique(y, return_counts=True)
    dropped = values[counts.argmax()]
    # Bounds of 5 standard errors, each missed by one of 1.7 million seeds; the standard error of the variance comes
    # from the sample's own fourth moment.
    assert abs(y.mean()) < 5 * y.std() / np.sqrt(n)
    centred = (y - y.mean()) ** 2
    assert abs(y.var() - 1) < 5 * centred.std() / np.sqrt(n)
    assert abs((y == dropped).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_alpha_dropout_by_its_formula(rng: np.random.Generator) -> None:
    p, x = 0.4, rng.standard_normal((4, 5))
    keep = Generator(2).uniform((4, 5), np.dtype(np.float32)) >= p
    alpha = -1.0507009873554805 * 1.6732632423543772
    a = 1 / np.sqrt((1 - p) * (1 + p * alpha**2))
    tensor = wrap(x, requires_grad=True)
    y = alpha_dropout(tensor, p=p, generator=Generator(2))
    np.testing.assert_allclose(y.data, a * np.where(keep, x, alpha) - a * alpha * p, rtol=1e-12)
    y.backward(np.full((4, 5), 3.0))
    np.testing.assert_allclose(tensor.grad.data, 3 * a * keep, rtol=1e-12)
    assert not alpha_dropout(x, p=1.0, generator=Generator(0)).data.any()
    half = alpha_dropout(x.astype(np.float16), p=p, generator=Generator(2)).data
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, y.data, atol=4e-3)
