"""Weight normalisation against loops over slices, and against PyTorch."""

from typing import Any

import numpy as np
import pytest

from flownn.ops.weight_norm import weight_norm
from tests.helpers.op_cases import OpCase, asked


def slow_weight_norm(v: Any, g: Any, *, axis: int | None) -> Any:
    if axis is None:
        return g * v / np.sqrt(sum(float(value) ** 2 for value in v.ravel()))
    y = np.empty(v.shape)
    for i in range(v.shape[axis]):
        at = (*(slice(None),) * axis, i)
        part = v[at]
        y[at] = g.ravel()[i] * part / np.sqrt(sum(float(value) ** 2 for value in part.ravel()))
    return y


def torch_weight_norm(torch: Any, v: Any, g: Any, *, axis: int | None) -> Any:
    return torch._weight_norm(v, g, -1 if axis is None else axis)


CASES = [
    OpCase(weight_norm, shapes=[v, g], attrs={"axis": axis}, expected=slow_weight_norm,
           torch=torch_weight_norm if len(v) > 1 else None)  # there the gradient of v is 0, in PyTorch almost
    for v, g, axis in [
        ((5, 4), (5, 1), 0), ((5, 4), (1, 4), 1), ((5, 4), (), None), ((3, 2, 4, 2), (3, 1, 1, 1), 0),
        ((3, 2, 4), (1, 2, 1), 1), ((3, 2, 4), (1, 1, 4), 2), ((6,), (6,), 0),
    ]
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_weight_norm(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)
