"""Transposed convolution against loops that spell the definition out, its adjoint, and PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.conv import conv, conv_transpose
from tests.flownn.ops.test_conv import attributes
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of


def slow_conv_transpose(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Add each input element times its filter, one product at a time, to a large result; then cut the padding off."""
    n = weight.ndim - 2
    if x.ndim == n + 1:
        return slow_conv_transpose(x[None], weight, bias, stride, padding, dilation, groups)[0]
    kernel, per_group_in, per_group_out = weight.shape[2:], weight.shape[0] // groups, weight.shape[1]
    reach = [(x.shape[2 + i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 for i in range(n)]
    extra = [max(0, -before) + max(0, -after) for before, after in padding]
    full = np.zeros((x.shape[0], per_group_out * groups, *np.add(reach, extra)))
    for sample, channel, place in product(range(x.shape[0]), range(x.shape[1]), np.ndindex(*x.shape[2:])):
        for filter_, offset in product(range(per_group_out), np.ndindex(*kernel)):
            at = tuple(p * s + o * d for p, s, o, d in zip(place, stride, offset, dilation, strict=True))
            at = tuple(a + max(0, -before) for a, (before, _) in zip(at, padding, strict=True))
            value = x[(sample, channel, *place)] * weight[(channel, filter_, *offset)]
            full[(sample, channel // per_group_in * per_group_out + filter_, *at)] += value
    kept = tuple(slice(max(before, 0), full.shape[2 + i] - max(after, 0)) for i, (before, after) in enumerate(padding))
    y = full[(slice(None), slice(None), *kept)]
    return y if bias is None else y + bias.reshape(-1, *(1,) * n)


def in_torch(torch: Any, x: Any, weight: Any, bias: Any, *, padding: Any, **attrs: Any) -> Any:
    before = [b for b, _ in padding]
    extra = [b - a for b, a in padding]
    if (
        min(before) < 0
        or min(extra) < 0
        or any(e >= max(s, d) for e, s, d in zip(extra, attrs["stride"], attrs["dilation"], strict=True))
    ):
        pytest.skip("PyTorch has no such padding")
    function = getattr(torch.nn.functional, f"conv_transpose{weight.ndim - 2}d")
    return function(x, weight, bias, padding=before, output_padding=extra, **attrs)


CASES = [
    OpCase(conv_transpose, [x, weight, bias], attrs, slow_conv_transpose, torch=in_torch)
    for x, weight, bias, attrs in [
        ((2, 3, 7), (3, 4, 3), (4,), attributes(1, padding=1)),
        ((2, 4, 5), (4, 3, 2), None, attributes(1, stride=2, dilation=3, groups=2)),
        ((2, 3, 4, 3), (3, 4, 3, 3), (4,), attributes(2)),
        ((2, 3, 4, 3), (3, 4, 1, 1), (4,), attributes(2, stride=2)),
        ((2, 3, 4, 3), (3, 4, 4, 4), (4,), attributes(2, stride=2, padding=1)),
        ((2, 3, 4, 3), (3, 4, 3, 2), None, attributes(2, stride=3, padding=(1, -1))),  # output_padding 2
        ((2, 3, 4, 3), (3, 4, 2, 3), None, attributes(2, padding=(1, 0), dilation=2)),  # above stride, below dilation
        ((2, 9, 4, 3), (9, 2, 3, 3), (2,), attributes(2, padding=1)),  # many channels: windows are added
        ((2, 4, 6, 7), (4, 4, 2, 2), None, attributes(2, padding=3)),  # more padding than the kernel reaches
        ((2, 4, 3, 4), (4, 1, 3, 3), (4,), attributes(2, stride=2, padding=1, groups=4)),
        ((1, 2, 1, 1), (2, 3, 1, 1), (3,), attributes(2, stride=30, padding=(10, -19))),  # only zeros are left
        ((1, 4, 3), (4, 1, 3), (2,), attributes(1, padding=(-2, 1), groups=2)),
        ((2, 8, 3, 4), (8, 1, 4, 4), (8,), attributes(2, stride=2, padding=1, groups=8)),  # depthwise
        ((2, 8, 3, 4), (8, 1, 3, 2), None, attributes(2, padding=(1, 0), groups=8)),
        ((2, 16, 4), (16, 2, 3), (32,), attributes(1, stride=2, padding=(-1, 0), dilation=2, groups=16)),
        ((2, 8, 2, 2, 3), (8, 1, 2, 1, 3), (8,), attributes(3, stride=2, groups=8)),
        ((1, 2, 3, 2, 3), (2, 3, 2, 3, 1), (3,), attributes(3, padding=(1, 0))),
        ((1, 2, 2, 3, 2), (2, 1, 2, 2, 3), None, attributes(3, stride=2, padding=1, groups=2)),
        ((0, 3, 4, 3), (3, 4, 3, 3), (4,), attributes(2, padding=1)),
        ((3, 4, 3), (3, 4, 3, 3), (4,), attributes(2, stride=2)),  # without N
    ]
]


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_is_the_adjoint_of_the_convolution(stride: int, groups: int, rng: np.random.Generator) -> None:
    for padding, dilation, out_channels in product((0, 1), (1, 2), (2, 6)):
        attrs = attributes(2, stride, padding, dilation, groups)
        small = rng.standard_normal((2, out_channels, 3, 4))
        weight = rng.standard_normal((out_channels, 4 // groups, 3, 2))
        large = conv_transpose(small, weight, **attrs).data
        x = rng.standard_normal(large.shape)
        np.testing.assert_allclose((conv(x, weight, **attrs).data * small).sum(), (x * large).sum(), rtol=1e-11)


def test_blocks_of_samples_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((5, 4, 3, 3)), rng.standard_normal((4, 3, 3, 3))

    def all_results() -> list[Any]:
        tensors = [wrap(a, requires_grad=True) for a in (x, weight)]
        y = conv_transpose(*tensors, **attributes(2, stride=2, padding=(1, 0), groups=2))
        y.backward(np.cos(np.arange(y.data.size)).reshape(y.data.shape))
        return [y.data, *(t.grad.data for t in tensors)]

    whole = all_results()
    monkeypatch.setattr("flownn.kernels.convolution._BLOCK_BYTES", 1)
    for one, other in zip(whole, all_results(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    x, weight = (rng.standard_normal(s).astype(kind) for s in ((2, 32, 6, 6), (32, 5, 3, 3)))
    y = conv_transpose(x, weight, **attributes(2, stride=2)).data
    assert y.dtype == kind
    wide = conv_transpose(x.astype(np.float32), weight.astype(np.float32), **attributes(2, stride=2)).data
    np.testing.assert_array_equal(y, wide.astype(kind))


@pytest.mark.parametrize(
    ("x_shape", "attrs", "message"),
    [
        (
            (2, 3, 5),
            attributes(2),
            r"ConvTranspose2d: expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(2, 3, 5",
        ),
        ((2, 4, 5, 5), attributes(2, groups=2), r"expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(2, 4"),
        ((2, 3, 5, 5), attributes(2, groups=2), "expected a number of filters that 2 groups divide, got 3"),
        ((2, 3, 5, 1), attributes(2, padding=2), r"gives a result, got spatial shape \(5, 1\), which gives \(3, -1\)"),
        ((2, 3, 0, 4), attributes(2), r"gives a result, got spatial shape \(0, 4\)"),
    ],
)
def test_wrong_shapes_are_named(x_shape: Any, attrs: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        conv_transpose(np.ones(x_shape), np.ones((3, 4, 3, 3)), **attrs)
    with pytest.raises(ShapeError, match=r"ConvTranspose2d: expected bias of shape \(4,\), got \(3,\)"):
        conv_transpose(np.ones((1, 3, 5, 5)), np.ones((3, 4, 3, 3)), np.ones(3), **attributes(2))


def test_different_dtypes_are_refused() -> None:
    with pytest.raises(DtypeError, match="ConvTranspose2d: expected input of the weight's dtype float64, got float32"):
        conv_transpose(np.ones((1, 3, 5, 5), np.float32), np.ones((3, 4, 3, 3)), **attributes(2))
    with pytest.raises(DtypeError, match="ConvTranspose2d: expected a floating point input, got int64"):
        conv_transpose(np.ones((1, 3, 5, 5), np.int64), np.ones((3, 4, 3, 3), np.int64), **attributes(2))
