"""Products against NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.ops import matmul
from tests.helpers.op_cases import OpCase, asked


def affine(x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T + (0 if bias is None else bias)


LOOSE = {"float16": 1e-2, "float32": 1e-5}
CASES = [
    *(
        OpCase(matmul.matmul, shapes, expected=np.matmul, torch=lambda torch, x, y: torch.matmul(x, y), rtol=LOOSE)
        for shapes in (
            [(3, 4), (4, 5)], [(4,), (4,)], [(3, 4), (4,)], [(4,), (4, 5)], [(2, 1, 3, 4), (5, 4, 2)],
            [(4,), (2, 3, 4, 5)], [(2, 3, 5, 4), (4,)], [(0, 4), (4, 5)], [(3, 0), (0, 2)], [(2, 3, 4), (4, 5)],
        )
    ),
    OpCase(matmul.bmm, [(2, 3, 4), (2, 4, 5)], expected=np.matmul, rtol=LOOSE,
           torch=lambda torch, x, y: torch.bmm(x, y)),
    *(
        OpCase(matmul.linear, shapes, expected=affine, rtol=LOOSE,
               torch=lambda torch, *tensors: torch.nn.functional.linear(*tensors))
        for shapes in (
            [(3, 4), (5, 4), (5,)], [(2, 3, 4), (5, 4), (5,)], [(4,), (5, 4), (5,)], [(3, 4), (5, 4), None],
            [(3, 4), (5, 4)], [(0, 4), (5, 4), (5,)],
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_operators(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((3, 2))
    np.testing.assert_array_equal((flow.from_numpy(x) @ y).numpy(), x @ y)
    np.testing.assert_array_equal((x @ flow.from_numpy(y)).numpy(), x @ y)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: flow.zeros(2, 3) @ flow.zeros(2, 3), ShapeError, r"matmul: .* got \(2, 3\) and \(2, 3\)"),
    (lambda: flow.zeros(3, 1, 3) @ flow.zeros(2, 3, 1), ShapeError, "do not broadcast"),
    (lambda: flow.zeros(2, 3) @ flow.zeros(3, 2).double(), DtypeError, "matmul: .* float32 and float64"),
    (lambda: flow.bmm(flow.zeros(2, 3, 4), flow.zeros(3, 4, 5)), ShapeError, "bmm: expected"),
    (lambda: matmul.linear(flow.zeros(2, 3), flow.zeros(5, 4)), ShapeError, "linear: expected"),
    (lambda: matmul.linear(flow.zeros(2, 3), flow.zeros(5, 3), flow.zeros(3)), ShapeError, r"bias of shape \(5,\)"),
    (lambda: flow.tensor(1.0) @ flow.tensor(1.0), ShapeError, "matmul: expected"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
