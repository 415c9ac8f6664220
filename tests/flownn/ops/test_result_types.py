"""Which type an op gives for which types, and its values there, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flownn as flow

KINDS = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
ALONE = (
    "abs neg sign exp exp2 expm1 log log1p log2 log10 sqrt rsqrt square reciprocal sin cos tan asin acos atan sinh "
    "cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma sinc sigmoid logit floor ceil round trunc frac "
    "nan_to_num deg2rad rad2deg isnan isinf isfinite isposinf isneginf signbit logical_not bitwise_not sum mean prod "
    "var std amax amin argmax argmin median nanmedian sort argsort count_nonzero nansum nanmean norm unique diag clone "
    "max min msort diff ravel"
).split()
ALONG = "logsumexp cumsum cumprod cummax cummin logcumsumexp topk kthvalue mode".split()
PAIRS = (
    "add sub mul div floor_divide remainder fmod pow atan2 hypot copysign xlogy logaddexp logaddexp2 maximum minimum "
    "fmax fmin eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor "
    "bitwise_left_shift bitwise_right_shift gcd lcm heaviside isclose float_power"
).split()


def outcome(module: Any, name: str, *args: Any) -> Any:
    """What the function gives, the first if several; None where it refuses."""
    try:
        result = getattr(module, name)(*args)
    except Exception:  # whatever PyTorch raises; ours are tested where they are raised
        return None
    return result[0] if isinstance(result, tuple) else result


def same(ours: Any, theirs: Any, kinds: str) -> None:
    assert ours is not None, kinds
    assert f"torch.{ours.dtype.name}" == str(theirs.dtype), kinds
    tolerance = 2e-2 if "16" in kinds.replace("int16", "") else 1e-5
    np.testing.assert_allclose(
        ours.double().numpy(), theirs.double().numpy(), rtol=tolerance, atol=1e-6, err_msg=kinds, equal_nan=True
    )


@pytest.mark.torch
@pytest.mark.parametrize("name", ALONE + ALONG)
def test_one_operand(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    further = (1, 0) if name in ("topk", "kthvalue") else (0,) if name in ALONG else ()
    for kind in KINDS:
        theirs = outcome(torch, name, torch.tensor([1, 0, 2], dtype=getattr(torch, kind)), *further)
        if theirs is not None:
            same(outcome(flow, name, flow.tensor([1, 0, 2], dtype=kind), *further), theirs, kind)


@pytest.mark.torch
@pytest.mark.parametrize("name", PAIRS)
def test_two_operands(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for kind in KINDS:
        ours, theirs = flow.tensor([1, 3, 2], dtype=kind), torch.tensor([1, 3, 2], dtype=getattr(torch, kind))
        others: list[tuple[str, Any, Any]] = [("int", 2, 2), ("float", 2.0, 2.0), ("bool", True, True)]
        for other in KINDS:
            for values in ([2, 1, 2], 2):
                others.append((
                    f"{other} {values}",
                    flow.tensor(values, dtype=other),
                    torch.tensor(values, dtype=getattr(torch, other)),
                ))  # fmt: skip
        for label, our_other, their_other in others:
            want = outcome(torch, name, theirs, their_other)
            if want is not None and (name, kind, label) != ("pow", "bool", "bool"):  # of two bools it refuses others
                same(outcome(flow, name, ours, our_other), want, f"{kind} {label}")


def test_bools_have_no_arithmetic_but_sums_and_products() -> None:
    x = flow.tensor([True, False])
    for call in (lambda: x - x, lambda: x // x, lambda: x % x, lambda: x**x, lambda: flow.fmod(x, x), lambda: -x):
        with pytest.raises(flow.DtypeError, match="bool has no such operation"):
            call()
    assert ((x + x).tolist(), (x * x).tolist(), x.square().dtype) == ([True, False], [True, False], flow.int64)


NOTHING: Any = [
    lambda m, x: x.sum(0), lambda m, x: x.mean(), lambda m, x: x.prod(0), lambda m, x: x.max(0),
    lambda m, x: x.amax(-1), lambda m, x: x.argmax(0), lambda m, x: x.all(), lambda m, x: x.any(0),
    lambda m, x: x.norm(),
    lambda m, x: x.std(0), lambda m, x: m.logsumexp(x, 0), lambda m, x: x.cumsum(0), lambda m, x: x.cumprod(-1),
    lambda m, x: x.cummax(0), lambda m, x: m.logcumsumexp(x, 0), lambda m, x: x.sort(0), lambda m, x: x.topk(0, 0),
    lambda m, x: x.median(),
    lambda m, x: x.median(0), lambda m, x: x.kthvalue(1, 0), lambda m, x: x.mode(0), lambda m, x: x.unique(),
    lambda m, x: x.flip([0]), lambda m, x: x.roll(1, 0), lambda m, x: x.tile(2), lambda m, x: x.repeat_interleave(2, 0),
    lambda m, x: x.reshape(0), lambda m, x: x.chunk(2), lambda m, x: m.tensor_split(x, 2), lambda m, x: x.unbind(0),
    lambda m, x: x[x > 0], lambda m, x: x[m.tensor([], dtype=m.int64)], lambda m, x: x.nonzero(), lambda m, x: x.diag(),
    lambda m, x: x.softmax(0), lambda m, x: x.log_softmax(-1), lambda m, x: x.nanmean(), lambda m, x: m.diag_embed(x),
    lambda m, x: m.einsum("...i->...", x), lambda m, x: x.diff(), lambda m, x: x.unfold(0, 0, 1),
    lambda m, x: m.linalg.vector_norm(x, m.inf, 0), lambda m, x: x.index_add(0, m.tensor([], dtype=m.int64), x[:0]),
    lambda m, x: x.quantile(0.5), lambda m, x: x.aminmax(), lambda m, x: m.var_mean(x, 0),
    lambda m, x: m.hstack([x, x]),
    lambda m, x: m.bucketize(x, m.tensor([1.0])), lambda m, x: m.histc(x, 3, 0, 1), lambda m, x: m.kron(x, x),
    lambda m, x: x @ x.T, lambda m, x: m.linalg.det(x), lambda m, x: m.linalg.svdvals(x), lambda m, x: m.cdist(x, x),
    lambda m, x: x.count_nonzero(), lambda m, x: m.searchsorted(x.flatten(), m.tensor([1.0])), lambda m, x: x.tril(),
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("call", NOTHING)
def test_tensors_without_elements(call: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    try:
        want = call(torch, torch.zeros(shape))
    except (RuntimeError, IndexError):
        with pytest.raises((flow.FlowError, IndexError, ValueError)):
            call(flow, flow.zeros(shape))
        return
    got = call(flow, flow.zeros(shape))
    ours, theirs = ([each] if hasattr(each, "dtype") else list(each) for each in (got, want))
    assert [(each.dtype.name, tuple(each.shape)) for each in ours] == [
        (str(each.dtype).removeprefix("torch."), tuple(each.shape)) for each in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
