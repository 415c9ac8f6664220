"""Rows that oneDNN alone would normalise less exactly than the definition; random ones have a campaign of their own."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels import providers
from flownn.kernels.layer_norm import normalize_rows

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def run(body: Any, x: Any, g: Any, vectors: Any, dtype: Any = np.float32) -> list[Any]:
    y, backward = body(np, x.astype(dtype), *vectors.astype(dtype), 1e-5, True)
    return [y, *backward(g.astype(dtype) if dtype != g.dtype else g)]


def errors(x: Any, g: Any) -> list[tuple[float, float]]:
    """The largest errors of the body and of the portable one, for each result."""
    vectors = draw(2, x.shape[1])
    body, portable = normalize_rows.provider_body("onednn"), normalize_rows.portable
    mine, own, reference = (
        run(each, x, g, vectors, dtype)
        for each, dtype in ((body, np.float32), (portable, np.float32), (portable, np.float64))
    )
    return [
        (float(np.abs(a - c).max()), float(np.abs(b - c).max())) for a, b, c in zip(mine, own, reference, strict=True)
    ]


@pytest.mark.parametrize("width", [9, 37, 768])
@pytest.mark.parametrize("offset", [-5, 300, 100_000])
def test_rows_far_from_zero_keep_their_digits(width: int, offset: float) -> None:
    x = draw(50, width) + np.float32(offset)
    before = x.copy()
    for mine, own in errors(x, draw(50, width)):
        assert mine <= 4 * own
    np.testing.assert_array_equal(x, before)


def test_a_row_of_equal_numbers_beside_others() -> None:
    x = draw(50, 64)
    x[7] = 0.1
    (y, *_) = run(normalize_rows.provider_body("onednn"), x, draw(50, 64), np.stack([np.ones(64), np.zeros(64)]))
    assert np.abs(y[7]).max() < 1e-4
    (expected, *_) = run(normalize_rows.portable, x, x, np.stack([np.ones(64), np.zeros(64)]), np.float64)
    assert np.abs(y - expected).max() < 1e-4


@pytest.mark.parametrize("layout", ["one for all rows", "by columns"])
def test_gradients_that_numpy_adds_up_in_pairs(layout: str) -> None:
    """A running sum of 400 equal numbers is off by twenty times as much."""
    g = np.broadcast_to(draw(1, 300), (400, 300)) if layout == "one for all rows" else np.asfortranarray(draw(400, 300))
    *_, (mine, own) = errors(draw(400, 300), g)
    assert mine <= 4 * own


@pytest.mark.filterwarnings("error")
def test_infinite_and_huge_numbers_spoil_their_row_alone() -> None:
    x = draw(50, 64) + 100
    x[3, 5], x[4, 6], x[5] = np.inf, np.nan, 1e20
    (y, *_) = run(normalize_rows.provider_body("onednn"), x, draw(50, 64), np.stack([np.ones(64), np.zeros(64)]))
    assert np.isnan(y[3:5]).any(axis=1).all()
    assert np.isfinite(np.delete(y, [3, 4], axis=0)).all()
