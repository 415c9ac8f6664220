"""Pooling kernels against loops over windows: ties, nan, infinities, and blocks of any size."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.kernels import pooling
from flownn.kernels.pooling import (
    PoolWindow,
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
    winner_positions,
)
from flownn.kernels.providers import use_kernels

WINDOWS = [
    (PoolWindow((3, 2), (2, 3), (1, 1), (1, 1)), (2, 3, 7, 8), (4, 3)),
    (PoolWindow((3, 3), (1, 1), (1, 0), (2, 1)), (1, 4, 6, 5), (4, 3)),
    (PoolWindow((2, 2), (2, 2), (0, 0), (1, 1)), (3, 1, 5, 5), (3, 3)),  # the last hang over, as with ceil_mode
    (PoolWindow((5,), (3,), (2,), (1,)), (2, 17, 31), (11,)),
    (PoolWindow((2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 1)), (1, 2, 5, 4, 6), (3, 4, 2)),
]


def positions(window: PoolWindow, place: tuple[int, ...], spatial: tuple[int, ...]) -> list[tuple[int, Any]]:
    """Number in the window and place in the input of what the window at ``place`` covers inside the input."""
    found = []
    for number, offset in enumerate(product(*map(range, window.kernel_size))):
        at = tuple(
            p * s + o * d - pad
            for p, o, s, pad, d in zip(place, offset, window.stride, window.padding, window.dilation, strict=True)
        )
        if all(0 <= a < n for a, n in zip(at, spatial, strict=True)):
            found.append((number, at))
    return found


def slow_winners(x: Any, window: PoolWindow, out: tuple[int, ...]) -> Any:
    """The first of the largest elements of each window, of nan the last."""
    winners = np.zeros((*x.shape[:2], *out), int)
    for n, c in np.ndindex(*x.shape[:2]):
        for place in np.ndindex(*out):
            best: Any = None
            for number, at in positions(window, place, x.shape[2:]):
                value = x[(n, c, *at)]
                if best is None or value > best or value != value:
                    best, winners[(n, c, *place)] = value, number
    return winners


def inputs(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal(shape).astype(np.float32)
    some = rng.random(shape)
    return {
        "different": x,
        "ties": np.round(x),
        "equal": np.zeros_like(x),
        "nan": np.where(some < 0.2, np.nan, x),
        "infinities": np.where(some < 0.4, -np.inf, np.where(some > 0.9, np.inf, x)),
        "nothing": np.full_like(x, -np.inf),
        "lowest": np.full_like(x, np.finfo(np.float32).min),
    }


@pytest.mark.parametrize("kernels", ["portable", "auto", "onednn"])
@pytest.mark.parametrize(("window", "shape", "out"), WINDOWS)
@pytest.mark.parametrize("block_bytes", [1, 512 << 10])
def test_the_maximum_and_its_gradient(
    window: PoolWindow,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    block_bytes: int,
    kernels: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pooling, "_BLOCK_BYTES", block_bytes)
    with _chosen(kernels):
        for name, x in inputs(shape, rng).items():
            expected = slow_winners(x, window, out)
            y, winners = max_pool_forward(np, x, window, out, True)
            assert winners.dtype == np.uint8
            np.testing.assert_array_equal(winners, expected, err_msg=name)
            flat = x.reshape(*shape[:2], -1)
            at = winner_positions(np, winners, window, shape[2:]).reshape(*shape[:2], -1)
            np.testing.assert_array_equal(y.reshape(at.shape), np.take_along_axis(flat, at, 2), err_msg=name)
            np.testing.assert_array_equal(max_pool_forward(np, x, window, out, False)[0], y, err_msg=name)
            g = rng.standard_normal(y.shape).astype(np.float32)
            back = np.zeros_like(flat)
            for n, c in np.ndindex(*shape[:2]):
                np.add.at(back[n, c], at[n, c], g[n, c].reshape(-1))
            got = max_pool_backward(np, g, winners, window, shape)
            np.testing.assert_allclose(got, back.reshape(shape), atol=1e-5, err_msg=name)


def _chosen(kernels: str) -> Any:
    from flownn.errors import DeviceError

    try:
        return use_kernels(kernels)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kernels", ["portable", "onednn"])
@pytest.mark.parametrize(("window", "shape", "out"), [case for case in WINDOWS if set(case[0].dilation) == {1}])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_the_mean_and_its_gradient(
    window: PoolWindow,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    count_include_pad: bool,
    kernels: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pooling, "_BLOCK_BYTES", 100)
    x, g = (rng.standard_normal(s).astype(np.float32) for s in (shape, (*shape[:2], *out)))
    y, back = np.zeros(g.shape), np.zeros(shape)
    for place in np.ndindex(*out):
        inside = positions(window, place, shape[2:])
        ends = [min(p * s - q + k, n + q) - (p * s - q) for p, s, q, k, n in _dims(place, window, shape)]
        count = int(np.prod(ends)) if count_include_pad else len(inside)
        for _, at in inside:
            y[(..., *place)] += x[(..., *at)] / count
            back[(..., *at)] += g[(..., *place)] / count
    with _chosen(kernels):
        got = avg_pool_forward(np, x, window, out, count_include_pad, 0)
        np.testing.assert_allclose(got, y, atol=1e-6)
        got = avg_pool_backward(np, g, window, shape, count_include_pad, 0)
        np.testing.assert_allclose(got, back, atol=1e-6)


def _dims(place: Any, window: PoolWindow, shape: Any) -> Any:
    return zip(place, window.stride, window.padding, window.kernel_size, shape[2:], strict=True)


def test_large_windows_are_numbered_in_more_than_a_byte() -> None:
    window, x = PoolWindow((20, 20), (1, 1), (0, 0), (1, 1)), np.zeros((1, 1, 20, 20), np.float32)
    x[0, 0, 19, 18] = 1
    y, winners = max_pool_forward(np, x, window, (1, 1), True)
    assert (y.item(), winners.item(), winners.dtype) == (1, 19 * 20 + 18, np.uint32)
    assert max_pool_backward(np, np.ones_like(y), winners, window, x.shape)[0, 0, 19, 18] == 1
