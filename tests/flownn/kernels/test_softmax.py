"""Row sums of exponentials and softmax in blocks, against plain NumPy in float64."""

from typing import Any

import numpy as np
import pytest

from flownn.kernels import blocks
from flownn.kernels.softmax import _row_log_sums_cpu, row_log_sums, row_softmax_times, softmax_backward, softmax_forward


def exact_log_sums(rows: Any) -> Any:
    wide = rows.astype(np.float64)
    top = wide.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(all="ignore"):
        return np.log(np.exp(wide - top).sum(axis=1)) + top[:, 0]


@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 18])
def test_rows_far_below_the_others_of_their_block_are_exact(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((60, 30)) * 3 + np.linspace(-500, 500, 60)[:, None]).astype(np.float32)
    rows[7], rows[11, 3], rows[13, 2], rows[17, 5] = -np.inf, -np.inf, np.inf, np.nan
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(_row_log_sums_cpu(np, rows), exact_log_sums(rows), rtol=3e-7)
        np.testing.assert_allclose(row_log_sums.portable(np, rows), exact_log_sums(rows), rtol=3e-7)


def test_softmax_times_factors(rng: np.random.Generator) -> None:
    rows, factors = rng.standard_normal((5, 8)), rng.standard_normal(5)
    share = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    got = row_softmax_times(np, rows, row_log_sums(np, rows), factors)
    np.testing.assert_allclose(got, share * factors[:, None], rtol=1e-12)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_any_axis_and_layout(axis: int, log: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100)
    x, g = rng.standard_normal((2, 3, 4, 5, 6))
    share = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    expected = np.log(share) if log else share
    back = g - share * g.sum(axis=axis, keepdims=True) if log else share * (g - (share * g).sum(axis, keepdims=True))
    for order in [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)]:
        laid = [np.ascontiguousarray(each.transpose(order)).transpose(np.argsort(order)) for each in (x, g)]
        y = softmax_forward(np, laid[0], axis, log)
        np.testing.assert_allclose(y, expected, rtol=1e-11)
        assert y.strides == laid[0].strides
        np.testing.assert_allclose(softmax_backward(np, laid[1], y, axis, log), back, atol=1e-12)
        np.testing.assert_allclose(softmax_backward(np, g, y, axis, log), back, atol=1e-12)
