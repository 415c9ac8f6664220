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
