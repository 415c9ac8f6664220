"""Rows added one at a time, and the body of every device beside the portable one."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels.rows import add_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", ["int32", "int64", "uint8"])
@pytest.mark.parametrize(("n", "columns", "count"), [(50, 3, 7), (1, 4, 2), (0, 3, 5), (6, 1, 100), (5, 0, 3)])
def test_every_body_adds_one_row_after_the_other(n: int, columns: int, count: int, index: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    rows, places = rng.standard_normal((n, columns)).astype(dtype), rng.integers(0, count, n).astype(index)
    want = np.zeros((count, columns), dtype)
    for row, place in zip(rows, places, strict=True):
        want[place] += row
    for body in (add_rows.portable, add_rows.body("cpu")):
        for given in (rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2]):
            got = body(np, given, places, count)
            assert got.dtype == dtype
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert add_rows.body("cpu") is not add_rows.portable
