"""Every op of the families below takes bfloat16, gives bfloat16 back, and is as accurate as that allows."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flownn as flow
from tests.flownn.ops import (
    test_einsum,
    test_elementwise,
    test_index,
    test_layout,
    test_matmul,
    test_products,
    test_rearrange,
    test_reduce,
    test_scan,
    test_scatter,
    test_shape,
    test_sort,
    test_special,
    test_statistics,
)
from tests.helpers.gradcheck import constant, is_float
from tests.helpers.op_cases import OpCase, arrays_of

FAMILIES = [
    test_einsum, test_elementwise, test_index, test_layout, test_matmul, test_products, test_rearrange, test_reduce,
    test_scan, test_scatter, test_shape, test_sort, test_special, test_statistics,
]  # fmt: skip
CASES = [
    case
    for family in FAMILIES
    for case in family.CASES
    if "float16" in case.dtypes and any(map(is_float, case.inputs(np.random.default_rng(0))))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bfloat16(case: OpCase, rng: np.random.Generator) -> None:
    exact = [
        each.astype(ml_dtypes.bfloat16).astype(np.float64) if is_float(each) else each for each in case.inputs(rng)
    ]
    want = arrays_of(case.bound_op(*map(constant, exact)))
    given: list[Any] = [each.astype(ml_dtypes.bfloat16) if is_float(each) else each for each in exact]
    tensors = [
        None if each is None else flow.from_numpy(each).requires_grad_(case.differentiable and is_float(reference))
        for each, reference in zip(given, exact, strict=True)
    ]
    result = case.bound_op(*tensors)
    outputs = [result] if isinstance(result, flow.Tensor) else list(result)
    for one, other in zip(outputs, want, strict=True):
        if not is_float(other):
            continue
        assert one.dtype is flow.bfloat16
        finite = np.isfinite(other)
        scale = float(np.abs(other[finite]).max()) if finite.any() else 0.0
        got = one.detach().double().numpy()
        np.testing.assert_allclose(got[finite], other[finite], rtol=0.03, atol=0.03 * scale)
    if case.differentiable:
        roots = [each for each in outputs if each.requires_grad]
        flow.autograd.backward(roots, [flow.ones_like(each) for each in roots])
        assert all(each.grad.dtype is flow.bfloat16 for each in tensors if each is not None and each.requires_grad)


def test_the_table_is_not_empty() -> None:
    assert len(CASES) > 300
