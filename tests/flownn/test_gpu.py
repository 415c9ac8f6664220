"""The whole op table on a GPU: CuPy gives what NumPy gives, forward and backward. ``make test-gpu`` runs this file."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import autograd, backend
from tests.helpers.gradcheck import is_float, leaves, outputs_of
from tests.helpers.op_cases import OpCase, assert_close

pytestmark = [pytest.mark.gpu]
HERE = Path(__file__).resolve().parent
Convert = Callable[[Any], Any]


def all_cases() -> list[OpCase]:
    """The rows of every file of op tests."""
    modules = [f"tests.flownn.ops.{path.stem}" for path in sorted((HERE / "ops").glob("test_*.py"))]
    return [case for name in modules for case in getattr(importlib.import_module(name), "CASES", [])]


def moved(value: Any, convert: Convert) -> Any:
    """An input or attribute with its array converted."""
    if isinstance(value, flow.Tensor):
        return autograd.wrap(convert(value.data))
    return convert(value) if isinstance(value, np.ndarray) else value


def results(case: OpCase, arrays: list[Any], seeds: list[Any] | None, convert: Convert, back: Convert) -> list[Any]:
    """Outputs, then gradients of the inputs, as NumPy arrays; computed on what ``convert`` makes of the inputs."""
    tensors = leaves([moved(each, convert) for each in arrays])
    outputs = outputs_of(case.op(*tensors, **{name: moved(value, convert) for name, value in case.attrs.items()}))
    if case.differentiable:
        roots = [each for each in outputs if each.requires_grad]
        given = seeds if seeds is not None else [np.ones(each.shape) for each in roots]
        autograd.backward(roots, [convert(seed) for seed in given[: len(roots)]])
    found = [each.data for each in outputs]
    found += [each.grad.data for each in tensors if each is not None and each.grad is not None]
    assert all(type(each) is type(found[0]) for each in found), "a result changed the device"
    return [back(each) for each in found]


@pytest.mark.skipif(not flow.cuda.is_available(), reason="no GPU that CuPy can use")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cupy_equals_numpy(dtype: str) -> None:
    cupy = backend.require_cupy()
    failures = []
    cases = all_cases()
    for number, case in enumerate(cases):
        arrays = case.inputs(np.random.default_rng(number), dtype)
        try:
            want = results(case, arrays, None, lambda array: array, np.asarray)
            got = results(case, arrays, None, cupy.asarray, cupy.asnumpy)
            assert len(got) == len(want)
            for one, other in zip(got, want, strict=True):
                assert one.dtype == other.dtype
                assert_close(one, other, (10 if is_float(other) else 0) * case.tolerance(dtype))
        except Exception as error:  # every failing row is listed, not only the first
            failures.append(f"{case}: {type(error).__name__}: {error}")
    assert not failures, f"{len(failures)} of {len(cases)} rows:\n" + "\n".join(failures)


def test_the_table_is_found_and_runs_on_arrays_that_were_moved() -> None:
    cases = all_cases()
    assert len(cases) > 300
    case = cases[0]
    arrays = case.inputs(np.random.default_rng(0), "float32")
    plain = results(case, arrays, None, lambda array: array, np.asarray)
    copied = results(case, arrays, None, np.copy, np.asarray)
    for one, other in zip(plain, copied, strict=True):
        np.testing.assert_array_equal(one, other)
