"""Selection by bits, and limits by arrays full of a number, against NumPy's where, maximum and minimum."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels.select import _at_least_cpu, _at_most_cpu, _choose_cpu, _masked_cpu

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_selection_is_that_of_where(dtype: Any, rng: np.random.Generator) -> None:
    for shape in [(), (7,), (0,), (3, 4, 5), (70001,)]:
        pair = [rng.standard_normal(shape) * 3 for _ in range(2)]
        if dtype != np.int32 and shape:
            pair = [np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), each) for each in pair]
        yes, no = (np.asarray(each).astype(dtype) for each in pair)
        mask = np.asarray(rng.random(shape) < 0.5)
        np.testing.assert_array_equal(_choose_cpu(np, mask, yes, no), np.where(mask, yes, no))
        chosen = _masked_cpu(np, mask, yes)
        np.testing.assert_array_equal(chosen, np.where(mask, yes, dtype(0)))
        assert chosen.dtype == dtype
        assert not np.signbit(chosen[~mask]).any()


def test_selection_from_views(rng: np.random.Generator) -> None:
    yes, no = rng.standard_normal((2, 6, 8)).astype(np.float32)[:, ::2, ::-1]
    shared = np.broadcast_to(no[:1], no.shape)
    mask = rng.random((3, 16))[:, ::2] < 0.5
    np.testing.assert_array_equal(_choose_cpu(np, mask, yes, shared), np.where(mask, yes, shared))
    np.testing.assert_array_equal(_masked_cpu(np, mask, yes.T.copy().T), np.where(mask, yes, 0))


@pytest.mark.parametrize("size", [1, 1000, 1 << 16, (1 << 16) + 1])
@pytest.mark.parametrize("limit", [0, -3.0, 6])
def test_limits(size: int, limit: float, rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64, np.int64):
        x = (rng.standard_normal(size) * 5).astype(dtype)
        if dtype != np.int64:
            x[: len(SPECIAL)] = SPECIAL[:size]
        np.testing.assert_array_equal(_at_least_cpu(np, x, limit), np.maximum(x, limit))
        np.testing.assert_array_equal(_at_most_cpu(np, x, limit), np.minimum(x, limit))
