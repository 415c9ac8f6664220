"""Dropout: which elements, how often, and the same again from the same seed."""

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError
from flownn.ops.noise import dropout
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
