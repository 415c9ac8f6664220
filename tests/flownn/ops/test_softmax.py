"""Softmax and log-softmax against their formulas, and against PyTorch."""

from typing import Any

import numpy as np
import pytest

from flownn.ops.softmax import log_softmax, softmax
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of


def slow_softmax(x: Any, *, axis: int) -> Any:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


CASES = [
    row
    for shape, axis in [((5,), 0), ((3, 4, 2), 0), ((3, 4, 2), 1), ((3, 4, 2), 2), ((0, 3), 1)]
    for row in (
        OpCase(softmax, [shape], {"axis": axis}, slow_softmax, torch=lambda torch, x, axis: torch.softmax(x, axis)),
        OpCase(
            log_softmax,
            [shape],
            {"axis": axis},
            lambda x, axis: np.log(slow_softmax(x, axis=axis)),
            torch=lambda torch, x, axis: torch.log_softmax(x, axis),
        ),
    )
]


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_array_equal(softmax(np.array([1e4, 0.0, -1e4]), axis=0).data, [1, 0, 0])
    np.testing.assert_array_equal(log_softmax(np.array([1e4, 0.0, -np.inf]), axis=0).data, [0, -1e4, -np.inf])
    assert softmax(np.array(3.0), axis=0).data == 1


def test_half_precision_keeps_its_dtype_and_sums_in_float32() -> None:
    x = (np.random.default_rng(4).standard_normal((7, 500))).astype(np.float16)
    y = softmax(x, axis=1).data
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.astype(np.float64).sum(axis=1), 1, atol=2e-3)
