"""Windows by index arithmetic, and the adjoint by its defining equation."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.kernels.windows import add_windows, output_size, windows

SETTINGS = [
    # spatial, kernel, stride, dilation
    ((7,), (3,), (1,), (1,)),
    ((9,), (3,), (2,), (2,)),
    ((5, 6), (2, 3), (1, 2), (1, 1)),
    ((7, 6), (3, 2), (2, 1), (2, 3)),
    ((4, 5, 6), (2, 2, 3), (1, 2, 3), (2, 1, 1)),
]


@pytest.mark.parametrize(("spatial", "kernel", "stride", "dilation"), SETTINGS, ids=str)
def test_each_element_is_the_one_the_formula_says(spatial: Any, kernel: Any, stride: Any, dilation: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, *spatial, 3))
    view = windows(np, x, kernel, stride, dilation)
    out = tuple(map(output_size, spatial, kernel, stride, dilation))
    assert view.shape == (2, *out, *kernel, 3)
    assert np.shares_memory(view, x)
    for place, offset in product(np.ndindex(*out), np.ndindex(*kernel)):
        at = tuple(p * s + o * d for p, s, o, d in zip(place, stride, offset, dilation, strict=True))
        np.testing.assert_array_equal(view[(slice(None), *place, *offset)], x[(slice(None), *at)])


@pytest.mark.parametrize(("spatial", "kernel", "stride", "dilation"), SETTINGS, ids=str)
def test_add_windows_is_the_adjoint(spatial: Any, kernel: Any, stride: Any, dilation: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, *spatial, 3))
    view = windows(np, x, kernel, stride, dilation)
    weights = rng.standard_normal(view.shape)
    back = add_windows(np, weights, x.shape, stride, dilation)
    np.testing.assert_allclose((view * weights).sum(), (x * back).sum(), rtol=1e-12)


def test_a_channels_first_array_may_be_given_as_a_view() -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 5, 6))
    seen = np.moveaxis(x, 1, -1)
    expected = windows(np, np.ascontiguousarray(seen), (2, 2), (1, 1), (1, 1))
    np.testing.assert_array_equal(windows(np, seen, (2, 2), (1, 1), (1, 1)), expected)
