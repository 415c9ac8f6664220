"""Sums, scales and shifts per channel, against plain float64 sums."""

from typing import Any

import numpy as np
import pytest

from flownn.errors import DtypeError, ShapeError
from flownn.kernels import blocks
from flownn.kernels.channels import channel_affine, channel_dot, channel_sum, check_parameters

SHAPES = [
    (5, 3),
    (2, 7, 3),
    (2, 4, 5, 3),
    (0, 3),
    (0, 4, 3),
    (2, 0, 3),
    (2, 0, 4, 3),
    (1, 256, 2),
    (2, 600, 2),
    (2, 2, 513, 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("keep", [0, 1])
def test_sums_are_those_of_float64(shape: Any, keep: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape))
    axes = tuple(range(keep, len(shape) - 1))
    np.testing.assert_allclose(channel_sum(np, x, keep=keep), x.sum(axis=axes), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(channel_dot(np, x, y, keep=keep), (x * y).sum(axis=axes), rtol=1e-12, atol=1e-12)


def test_a_long_float32_sequence_loses_no_digits() -> None:
    x = (np.random.default_rng(1).standard_normal((2, 50_000, 3)) + 1000).astype(np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(channel_sum(np, x), wide.sum(axis=(0, 1)), rtol=2e-7)
    np.testing.assert_allclose(channel_sum(np, x, keep=1), wide.sum(axis=1), rtol=2e-7)
    np.testing.assert_allclose(channel_dot(np, x, x), (wide**2).sum(axis=(0, 1)), rtol=2e-6)
    assert channel_sum(np, x).dtype == np.float64


@pytest.mark.parametrize("shape", [(5, 3), (2, 7, 3), (2, 4, 5, 3), (0, 4, 3), (2, 0, 4, 3)], ids=str)
@pytest.mark.parametrize("per_sample", [False, True])
def test_steps_per_channel_and_per_sample(shape: Any, per_sample: bool) -> None:
    rng = np.random.default_rng(2)
    x, shift = rng.standard_normal(shape), rng.standard_normal(3)
    scale = rng.standard_normal((shape[0], 3) if per_sample else 3)
    spread = scale.reshape(shape[0], *(1,) * (len(shape) - 2), 3) if per_sample else scale
    before = x.copy()
    steps = [("multiply", scale), ("add", shift)]
    np.testing.assert_array_equal(channel_affine(np, x, steps), x * spread + shift)
    np.testing.assert_array_equal(x, before)
    assert channel_affine(np, x, steps, out=x) is x
    np.testing.assert_array_equal(x, before * spread + shift)


def test_parameters_that_do_not_fit_are_named() -> None:
    float32, float16 = np.dtype(np.float32), np.dtype(np.float16)
    check_parameters("Norm", float16, (3,), weight=np.ones(3, np.float32), bias=np.ones(3, np.float16), other=None)
    check_parameters("Norm", None, (3,), weight=np.ones(3, np.int64))
    with pytest.raises(ShapeError, match=r"Norm: expected bias of shape \(3,\), got \(1,\)"):
        check_parameters("Norm", float32, (3,), weight=np.ones(3, np.float32), bias=np.ones(1, np.float32))
    with pytest.raises(DtypeError, match="Norm: expected weight of the input's dtype float32, got float64"):
        check_parameters("Norm", float32, (3,), weight=np.ones(3))


def test_cache_blocks_cover_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blocks.cache_blocks.portable(np, 7, 10) == [slice(0, 7)]
    assert blocks.cache_blocks.portable(np, 0, 10) == blocks.cache_blocks(np, 0, 10) == []
    for limit, lengths in ((1, [1] * 7), (30, [3, 3, 1]), (1000, [7])):
        monkeypatch.setattr(blocks, "_BLOCK_BYTES", limit)
        cut = blocks.cache_blocks(np, 7, 10)
        assert [len(range(7)[each]) for each in cut] == lengths
        assert [i for each in cut for i in range(7)[each]] == list(range(7))
    assert blocks.cache_blocks(np, 7, 0) == [slice(0, 7)]
