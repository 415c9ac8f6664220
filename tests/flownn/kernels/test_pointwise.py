"""Functions of single elements in blocks: the same as at once, whatever the memory layout."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels import pointwise as module
from flownn.kernels.pointwise import (
    Pointwise,
    pointwise,
    pointwise_blocks,
    pointwise_gradient,
    pointwise_gradient_blocks,
)
from flownn.kernels.providers import use_kernels

CUBE = Pointwise("cube", lambda x: x * x * x, lambda g, x: 3 * g * x * x)
ROOT = Pointwise("root", np.sqrt, lambda g, y: g / (2 * y), saves_result=True)


def layouts(shape: tuple[int, ...], rng: np.random.Generator) -> list[Any]:
    """The same numbers dense in several orders, with gaps, backwards, and broadcast."""
    x = rng.uniform(0.5, 2, shape)
    wide = np.full([2 * n for n in shape], np.nan)
    gaps = wide[tuple(slice(None, None, 2) for _ in shape)]
    gaps[...] = x
    return [
        x,
        np.asfortranarray(x),
        np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        gaps,
        np.ascontiguousarray(x[::-1])[::-1],
        np.broadcast_to(x[:, :1], shape),
        np.broadcast_to(x[:1, :, :1, :1], shape),
    ]


@pytest.mark.parametrize("function", [CUBE, ROOT], ids=lambda f: f.name)
@pytest.mark.parametrize("block", [7, 1 << 15])
def test_blocks_give_what_the_whole_gives(
    function: Pointwise, block: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    shape = (2, 3, 4, 5)
    for x in layouts(shape, rng):
        np.testing.assert_array_equal(pointwise_blocks(np, x, function), pointwise.portable(np, x, function))
        for g in layouts(shape, rng):
            got = pointwise_gradient_blocks(np, g, x, function)
            np.testing.assert_array_equal(got, pointwise_gradient.portable(np, g, x, function))


@pytest.mark.parametrize("kernels", ["portable", "auto"])
@pytest.mark.parametrize("size", [3, 64])
def test_results_and_gradients_have_the_layout_of_the_input(size: int, kernels: str) -> None:
    shape = (2, size, size, 5)
    dense = np.ones((2, size, 5, size), np.float32)
    x = dense.transpose(0, 3, 1, 2)
    assert x.shape == shape
    with use_kernels(kernels):
        y = pointwise(np, x, CUBE)
        of_plain = pointwise_gradient(np, np.ones(shape, np.float32), x, CUBE)
    for array in (y, of_plain):
        assert array.strides == x.strides
        assert not np.shares_memory(array, x)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1)])
def test_empty_and_single_numbers(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 2.0, np.float32)
    y, back = pointwise_blocks(np, x, CUBE), pointwise_gradient_blocks(np, x, x, CUBE)
    assert y.shape == back.shape == shape
    assert y.dtype == back.dtype == np.float32
    np.testing.assert_array_equal(y, np.full(shape, 8.0))
    np.testing.assert_array_equal(back, np.full(shape, 24.0))


def test_half_precision_is_computed_in_float32() -> None:
    seen = []
    spy = Pointwise("spy", lambda x: seen.append(x.dtype) or x + 1, lambda g, x: seen.append(g.dtype) or g)
    x = np.ones(70000, np.float16)
    assert pointwise_blocks(np, x, spy).dtype == np.float16
    assert pointwise_gradient_blocks(np, x, x, spy).dtype == np.float16
    assert set(seen) == {np.dtype(np.float32)}
