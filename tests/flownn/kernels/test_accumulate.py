"""Sums at places that are named several times, against a loop."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels.accumulate import along_axis, sum_at

KEYS: dict[str, Any] = {
    "flat": np.array([0, 2, 2, -1]), "rows twice": np.array([[0, 0], [3, 0]]), "empty": np.zeros(0, int),
    "pair": (np.array([0, 2, 0]), np.array([1, 0, 1])), "column": (slice(None), np.array([0, 0, 2])),
    "tail": (np.array([1, 1]), slice(None)), "mixed": (1, np.array([2, 2])), "part": (np.array([1, 1]), slice(0, 2)),
    "mask": (np.array([True, False, True, True]), np.array([0, 0, 0])), "small": np.array([1, 1], np.int8),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4, 3, 0)])
def test_every_value_arrives(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    key = KEYS[name]
    values = rng.standard_normal(np.zeros(shape)[key].shape)
    want = np.zeros(shape)
    places = np.arange(want.size).reshape(shape)[key]
    for place, value in zip(places.reshape(-1), values.reshape(-1), strict=True):
        want.reshape(-1)[place] += value
    kept = values.copy()
    np.testing.assert_allclose(sum_at(np, shape, key, values), want, atol=1e-15)
    np.testing.assert_array_equal(values, kept)


def test_vectors_and_strided_values(rng: np.random.Generator) -> None:
    values = rng.standard_normal((3, 6))[:, ::2].T
    want = np.zeros((2, 3))
    for row, value in zip([1, 0, 1], values, strict=True):
        want[row] += value
    np.testing.assert_allclose(sum_at(np, (2, 3), np.array([1, 0, 1]), values), want)
    assert sum_at(np, (3,), np.array([1, 1, 0]), np.array([1, 2, 4])).tolist() == [4, 3, 0]


def test_along_an_axis() -> None:
    index = np.array([[0, 1, 1]])
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(x[along_axis(np, index, 0)], np.take_along_axis(x, index, 0))
    assert along_axis(np, np.array(0), 0) == ()
