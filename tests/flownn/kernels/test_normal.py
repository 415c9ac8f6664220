"""The normal distribution function in float32, against SciPy's in float64."""

import numpy as np
from scipy.special import ndtr

from flownn.kernels.normal import normal_distribution


def test_float32_is_close_everywhere() -> None:
    x = np.concatenate([np.linspace(-13, 13, 1_000_001), [0.0, 1e-30, -1e-30, 1e-3]]).astype(np.float32)
    below, bell = normal_distribution(np, x)
    exact = ndtr(x.astype(np.float64))
    assert below.dtype == bell.dtype == np.float32
    assert np.abs(below - exact).max() < 3e-7
    assert (np.abs(below - exact) / exact)[x > -5].max() < 1.2e-6
    assert ((below >= 0) & (below <= 1)).all()
    np.testing.assert_allclose(bell, np.exp(-(x.astype(np.float64) ** 2) / 2), rtol=1e-5, atol=1e-30)


def test_beyond_all_numbers() -> None:
    below, _ = normal_distribution(np, np.array([np.inf, -np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(below, [1, 0, np.nan])


def test_other_types_are_computed_by_the_definition() -> None:
    x = np.linspace(-8, 8, 1001)
    np.testing.assert_allclose(normal_distribution(np, x)[0], ndtr(x), atol=2e-16)
