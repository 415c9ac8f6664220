"""Products into memory of any layout, beside NumPy's in float64."""

import itertools
from typing import Any

import numpy as np
import pytest

from flownn.kernels import providers

if not providers.can_load("onednn"):
    pytest.skip(f"onednn: {providers.status('onednn')}", allow_module_level=True)

from flownn.kernels.onednn.gemm import multiply

LAYOUTS = ("rows", "columns", "wide rows", "wide columns", "gaps", "backwards")


def laid(x: Any, layout: str) -> Any:
    """The same values, in memory with numbers around them where there is room."""
    if layout == "rows":
        return x.copy()
    if layout == "columns":
        return x.T.copy().T
    if layout == "backwards":
        return x[::-1].copy()[::-1]
    rows, columns = x.shape
    step = 2 if layout == "gaps" else 1
    memory = np.full((step * rows + 1, step * columns + 3), 7, np.float32)
    view = (memory.T.copy().T if layout == "wide columns" else memory)[: step * rows : step, : step * columns : step]
    view[...] = x
    return view


@pytest.mark.parametrize(
    "shape", [(5, 7, 9), (64, 33, 48), (1, 20, 30), (30, 20, 1), (4, 1, 6), (1, 1, 1), (300, 700, 2)]
)
def test_every_layout_of_operands_and_result(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(sum(shape))
    x, y, before = (rng.standard_normal(size).astype(np.float32) for size in ((m, k), (k, n), (m, n)))
    exact = x.astype(np.float64) @ y
    for of_x, of_y, of_out in itertools.product(LAYOUTS, repeat=3):
        for add in (False, True):
            out = laid(before, of_out)
            around = None if out.base is None or not out.base.size > 2 * out.size else out.base.copy()
            multiply(laid(x, of_x), laid(y, of_y), out, add=add)
            np.testing.assert_allclose(out, exact + before if add else exact, rtol=0, atol=2e-6 * np.abs(exact).max())
            if around is not None:
                out[...] = before
                np.testing.assert_array_equal(out.base, around)


def test_what_was_in_the_result_does_not_count() -> None:
    out = np.full((3, 5), np.nan, np.float32)
    multiply(np.ones((3, 2), np.float32), np.ones((2, 5), np.float32), out)
    np.testing.assert_array_equal(out, np.full((3, 5), 2))


def test_nan_and_infinity_go_where_they_belong() -> None:
    x = np.zeros((40, 50), np.float32)
    x[3, 4], x[7, 8] = np.nan, np.inf
    out = np.empty((40, 60), np.float32)
    multiply(x, np.ones((50, 60), np.float32), out)
    assert np.isnan(out[3]).all()
    assert np.isposinf(out[7]).all()
    assert not np.delete(out, [3, 7], axis=0).any()
