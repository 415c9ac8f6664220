"""The op table: one row per op and situation, and the questions asked of every row.

A family's test file has its rows in ``CASES`` and asks of each row all that it can answer::

    @pytest.mark.parametrize(("case", "question"), asked(CASES))
    def test_op(case, question, rng):
        question(case, rng)

or crosses ``CASES`` with ``QUESTIONS``, where a row skips what it cannot answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.helpers.gradcheck import check_vjp, constant, gradients_of, is_float, leaves, outputs_of

Sampler = Callable[[np.random.Generator, tuple[int, ...]], Any]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Normally distributed, so of both signs and without ties."""
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Between 0.5 and 2."""
    return rng.uniform(0.5, 2, shape)


def inside(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Between -0.9 and 0.9."""
    return rng.uniform(-0.9, 0.9, shape)


def away_from_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Of both signs, at least 0.5 from 0."""
    return rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)


def integers(high: int, low: int = 0) -> Sampler:
    """Integers from ``low`` to ``high - 1``."""
    return lambda rng, shape: rng.integers(low, high, shape)


def bools(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """True and false alike."""
    return rng.random(shape) < 0.5


@dataclass(frozen=True)
class OpCase:
    """One op, with inputs of given shapes.

    Args:
        op: Takes tensors and ``attrs``; returns a tensor or a tuple of them.
        shapes: Shape of each array input, None for one that is absent.
        attrs: Keyword arguments of ``op``, and of ``expected``.
        expected: The same in plain, obvious NumPy: arrays and ``attrs`` in, array or tuple of arrays out.
        sample: Draws the inputs; one sampler, or one per input. Floats are converted to the dtype in question.
        torch: The same for PyTorch: the module, tensors and ``attrs`` in. None leaves PyTorch out.
        dtypes: Floating point types that the op takes.
        rtol: Relative to the largest expected value, per dtype; the defaults suit ops without long sums.
        differentiable: Whether there is a gradient to check.
        name: What the test is called; by default the op's name, shapes and attrs.
    """

    op: Callable[..., Any]
    shapes: Sequence[tuple[int, ...] | None]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    expected: Callable[..., Any] | None = None
    sample: Sampler | Sequence[Sampler] = normal
    torch: Callable[..., Any] | None = None
    dtypes: Sequence[str] = ("float16", "float32", "float64")
    rtol: Mapping[str, float] = field(default_factory=dict)
    differentiable: bool = True
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return self.name
        parts = ["x".join(map(str, shape)) or "0-dim" if shape is not None else "none" for shape in self.shapes]
        parts += [f"{name}={value}" for name, value in self.attrs.items()]
        return f"{getattr(self.op, '__name__', 'op').strip('_')}-{'-'.join(parts)}".replace(" ", "")

    def bound_op(self, *tensors: Any) -> Any:
        """The op with its attributes."""
        return self.op(*tensors, **self.attrs)

    def inputs(self, rng: np.random.Generator, dtype: Any = np.float64) -> list[Any]:
        """Fresh input arrays, the floating ones of this dtype."""
        samplers = [self.sample] * len(self.shapes) if callable(self.sample) else self.sample
        arrays = [
            None if shape is None else np.asarray(draw(rng, shape))
            for draw, shape in zip(samplers, self.shapes, strict=True)
        ]
        return [each.astype(dtype) if is_float(each) else each for each in arrays]

    def tolerance(self, dtype: str) -> float:
        """Allowed error, relative to the largest expected value."""
        return self.rtol.get(dtype, {"float16": 4e-3, "float32": 5e-6, "float64": 1e-12}[dtype])


def assert_close(got: Any, want: Any, rtol: float) -> None:
    """Equal shapes, and values within ``rtol`` of the largest finite one; inf and nan in the same places."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    finite = np.abs(want[np.isfinite(want)]).astype(np.float64)
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=rtol * scale)


def arrays_of(result: Any) -> list[Any]:
    """The arrays of an op's tensors."""
    return [each.data for each in outputs_of(result)]


def _expected(case: OpCase, arrays: list[Any]) -> list[Any]:
    assert case.expected is not None
    with np.errstate(all="ignore"):
        result = case.expected(*arrays, **case.attrs)
    return list(result) if isinstance(result, tuple) else [result]


def forward_is_as_expected(case: OpCase, rng: np.random.Generator) -> None:
    if case.expected is None:
        pytest.skip("no expected function in this row")
    arrays = case.inputs(rng)
    got = arrays_of(case.bound_op(*map(constant, arrays)))
    want = _expected(case, arrays)
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert isinstance(one, np.ndarray)
        assert_close(one, other, case.tolerance("float64"))


def each_dtype_is_kept_and_accurate(case: OpCase, rng: np.random.Generator) -> None:
    floats = [is_float(each) for each in case.inputs(rng)]
    if not any(floats):
        pytest.skip("no floating point input")
    for dtype in case.dtypes:
        arrays = case.inputs(rng, dtype)
        exact = [each.astype(np.float64) if is_float(each) else each for each in arrays]
        want = arrays_of(case.bound_op(*map(constant, exact)))
        got = arrays_of(case.bound_op(*leaves(arrays)))
        for one, other in zip(got, want, strict=True):
            assert one.dtype == (np.dtype(dtype) if is_float(other) else other.dtype)
            assert_close(one, other, case.tolerance(dtype))
        if case.differentiable:
            seeds = [np.ones(each.shape, dtype) for each in want if is_float(each)]
            for gradient, array in zip(gradients_of(case.bound_op, arrays, seeds), arrays, strict=True):
                assert gradient is None or gradient.dtype == array.dtype


def vjp_matches_a_central_difference(case: OpCase, rng: np.random.Generator) -> None:
    if not case.differentiable:
        got = outputs_of(case.bound_op(*leaves(case.inputs(rng))))
        assert not any(each.requires_grad for each in got)
        return
    check_vjp(case.bound_op, *case.inputs(rng), rng=rng)


def _spread_out(array: Any) -> Any:
    """The same values at a stride of two along each dim, in reverse order of dims."""
    if array is None or array.ndim == 0:
        return array
    wide = np.zeros(tuple(2 * size for size in reversed(array.shape)), array.dtype).T
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def memory_layout_does_not_matter(case: OpCase, rng: np.random.Generator) -> None:
    arrays = case.inputs(rng)
    spread = [_spread_out(each) for each in arrays]
    want = arrays_of(case.bound_op(*map(constant, arrays)))
    got = arrays_of(case.bound_op(*map(constant, spread)))
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, case.tolerance("float64"))
    if case.differentiable:
        seeds = [rng.standard_normal(each.shape) for each in want if is_float(each)]
        plain = gradients_of(case.bound_op, arrays, seeds)
        for one, other in zip(
            gradients_of(case.bound_op, spread, [_spread_out(each) for each in seeds]), plain, strict=True
        ):
            assert (one is None) == (other is None)
            if one is not None:
                assert_close(one, other, case.tolerance("float64"))


def inputs_stay_as_they_are(case: OpCase, rng: np.random.Generator) -> None:
    arrays = case.inputs(rng)
    for array in arrays:
        if array is not None:
            array.flags.writeable = False  # writing raises
    results = arrays_of(case.bound_op(*leaves(arrays)))
    if not case.differentiable:
        return
    seeds = [rng.standard_normal(each.shape) for each in results if is_float(each)]
    for seed in seeds:
        seed.flags.writeable = False
    first = gradients_of(case.bound_op, arrays, seeds)  # nor may the vjp write to the gradient it gets
    second = gradients_of(case.bound_op, arrays, seeds)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def agrees_with_torch(case: OpCase, rng: np.random.Generator) -> None:
    if case.torch is None:
        pytest.skip("no PyTorch function in this row")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays = case.inputs(rng)
    theirs = [
        None if each is None else torch.tensor(each, requires_grad=is_float(each) and case.differentiable)
        for each in arrays
    ]
    result = case.torch(torch, *theirs, **case.attrs)
    want = [result] if isinstance(result, torch.Tensor) else list(result)
    got = arrays_of(case.bound_op(*map(constant, arrays)))
    for one, other in zip(got, want, strict=True):
        assert_close(one, other.detach().numpy(), 10 * case.tolerance("float64"))
    if not case.differentiable:
        return
    floats = [each for each in want if each.is_floating_point()]
    seeds = [rng.standard_normal(tuple(each.shape)) for each in floats]
    torch.autograd.backward(floats, [torch.tensor(each) for each in seeds])
    for one, tensor in zip(gradients_of(case.bound_op, arrays, seeds), theirs, strict=True):
        if tensor is not None and tensor.requires_grad:
            assert_close(one, tensor.grad.numpy(), 100 * case.tolerance("float64"))


QUESTIONS = (
    forward_is_as_expected,
    each_dtype_is_kept_and_accurate,
    vjp_matches_a_central_difference,
    memory_layout_does_not_matter,
    inputs_stay_as_they_are,
    pytest.param(agrees_with_torch, marks=pytest.mark.torch),
)


def asked(cases: Sequence[OpCase]) -> list[Any]:
    """Each row with each question that it has the means to answer."""
    pairs = []
    for case in cases:
        lacking = {
            forward_is_as_expected: case.expected is None,
            each_dtype_is_kept_and_accurate: not any(map(is_float, case.inputs(np.random.default_rng(0)))),
            agrees_with_torch: case.torch is None,
        }
        for each in QUESTIONS:
            question, marks = (each.values[0], each.marks) if hasattr(each, "marks") else (each, ())
            if not lacking.get(question, False):
                pairs.append(pytest.param(case, question, marks=marks, id=f"{case}-{name_of(question)}"))
    return pairs


def name_of(question: Any) -> str:
    """What a question is called in the name of a test."""
    return str(question.__name__)
