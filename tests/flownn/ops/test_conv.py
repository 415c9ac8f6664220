"""Convolution against loops that spell the definition out, and against PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.ops.conv import conv, conv_transpose
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of


def slow_conv(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """One multiply and one add at a time."""
    n = weight.ndim - 2
    if x.ndim == n + 1:
        return slow_conv(x[None], weight, bias, stride, padding, dilation, groups)[0]
    crop = tuple(slice(max(-before, 0), x.shape[2 + i] - max(-after, 0)) for i, (before, after) in enumerate(padding))
    x = np.pad(x[(slice(None), slice(None), *crop)], [(0, 0), (0, 0), *np.maximum(padding, 0)])
    kernel = weight.shape[2:]
    out = [(x.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(n)]
    y = np.zeros((x.shape[0], weight.shape[0], *out))
    per_group_in, per_group_out = weight.shape[1], weight.shape[0] // groups
    for sample, filter_, place in product(range(y.shape[0]), range(y.shape[1]), np.ndindex(*out)):
        total = 0.0 if bias is None else bias[filter_]
        first = filter_ // per_group_out * per_group_in
        for channel, offset in product(range(per_group_in), np.ndindex(*kernel)):
            at = tuple(p * s + o * d for p, s, o, d in zip(place, stride, offset, dilation, strict=True))
            total += x[(sample, first + channel, *at)] * weight[(filter_, channel, *offset)]
        y[(sample, filter_, *place)] = total
    return y


def attributes(n: int, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1) -> dict[str, Any]:
    pairs = (padding if isinstance(padding, tuple) else (padding, padding),) * n
    return {"stride": (stride,) * n, "padding": pairs, "dilation": (dilation,) * n, "groups": groups}


def in_torch(torch: Any, x: Any, weight: Any, bias: Any, *, padding: Any, **attrs: Any) -> Any:
    padded = torch.nn.functional.pad(x, [zeros for pair in reversed(padding) for zeros in pair])
    return getattr(torch.nn.functional, f"conv{weight.ndim - 2}d")(padded, weight, bias, **attrs)


CASES = [
    OpCase(conv, [x, weight, bias], attrs, slow_conv, torch=in_torch)
    for x, weight, bias, attrs in [
        ((2, 3, 7), (4, 3, 3), (4,), attributes(1, padding=1)),
        ((2, 4, 9), (6, 2, 2), None, attributes(1, stride=2, dilation=3, groups=2)),
        ((2, 3, 5, 6), (4, 3, 3, 3), (4,), attributes(2)),
        ((2, 3, 5, 6), (4, 3, 1, 1), None, attributes(2)),
        ((2, 3, 5, 6), (4, 3, 1, 1), (4,), attributes(2, stride=2)),
        ((2, 3, 5, 6), (9, 3, 3, 2), None, attributes(2, padding=(0, 1))),  # many filters: windows are added
        ((2, 3, 5, 6), (4, 3, 3, 3), None, attributes(2, padding=3)),  # more padding than the kernel reaches
        ((2, 4, 7, 5), (4, 1, 3, 3), (4,), attributes(2, stride=2, padding=1, groups=4)),
        ((1, 4, 7, 8), (4, 2, 2, 3), None, attributes(2, padding=(2, 1), dilation=2, groups=2)),
        ((1, 2, 4, 5, 3), (3, 2, 2, 3, 1), (3,), attributes(3, padding=1)),
        ((1, 2, 5, 4, 6), (2, 1, 2, 2, 3), None, attributes(3, stride=2, padding=1, groups=2)),
        ((2, 8, 5, 6), (8, 1, 3, 3), (8,), attributes(2, padding=1, groups=8)),  # depthwise
        ((2, 8, 7, 6), (8, 1, 3, 2), None, attributes(2, stride=2, padding=(1, 0), dilation=2, groups=8)),
        ((2, 16, 3, 4), (32, 1, 2, 3), (32,), attributes(2, padding=(0, 1), groups=16)),
        ((2, 16, 9), (32, 1, 3), None, attributes(1, stride=3, padding=(2, -1), groups=16)),
        ((1, 8, 3, 4, 3), (8, 1, 2, 1, 3), (8,), attributes(3, padding=1, groups=8)),
        ((0, 8, 5, 6), (8, 1, 3, 3), (8,), attributes(2, padding=1, groups=8)),
        ((0, 3, 5, 6), (4, 3, 3, 3), (4,), attributes(2, padding=1)),
        ((3, 5, 6), (4, 3, 3, 3), (4,), attributes(2, padding=1)),  # without N
        ((2, 7), (4, 1, 3), None, attributes(1, stride=2, groups=2)),
        ((2, 3, 9), (4, 3, 2), None, attributes(1, stride=2, padding=(-2, 1))),  # a negative number crops
        ((2, 3, 5, 6), (9, 3, 1, 2), None, attributes(2, padding=(1, -1))),
    ]
]


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("groups", [2, 16])
def test_blocks_of_samples_do_not_change_the_result(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((7, 16, 6, 6)), rng.standard_normal((32, 16 // groups, 3, 3))
    attrs = attributes(2, stride=2, padding=1, groups=groups)

    def all_results() -> list[Any]:
        tensors = [wrap(a, requires_grad=True) for a in (x, weight)]
        y = conv(*tensors, **attrs)
        y.backward(np.cos(np.arange(y.data.size)).reshape(y.data.shape))
        return [y.data, *(t.grad.data for t in tensors)]

    whole = all_results()
    monkeypatch.setattr("flownn.kernels.convolution._BLOCK_BYTES", 1)
    for one, other in zip(whole, all_results(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


def test_an_empty_batch_gives_an_empty_result_and_zero_gradients() -> None:
    x, weight, bias = (wrap(np.ones(s), requires_grad=True) for s in ((0, 3, 5, 6), (4, 3, 3, 3), (4,)))
    y = conv(x, weight, bias, **attributes(2, padding=1))
    assert y.data.shape == (0, 4, 5, 6)
    y.backward(np.zeros(y.data.shape))
    assert x.grad.data.shape == (0, 3, 5, 6)
    for parameter in (weight, bias):
        np.testing.assert_array_equal(parameter.grad.data, np.zeros(parameter.data.shape))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    x, weight = (rng.standard_normal(s).astype(kind) for s in ((2, 32, 6, 6), (5, 32, 3, 3)))
    y = conv(x, weight, **attributes(2)).data
    assert y.dtype == kind
    wide = conv(x.astype(np.float32), weight.astype(np.float32), **attributes(2)).data
    np.testing.assert_array_equal(y, wide.astype(kind))


@pytest.mark.parametrize(
    ("x_shape", "attrs", "message"),
    [
        ((2, 3, 5), attributes(2), r"Conv2d: expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(2, 3, 5\)"),
        (
            (2, 4, 5, 5),
            attributes(2),
            r"Conv2d: expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(2, 4, 5, 5\)",
        ),
        ((2, 3, 5, 2), attributes(2), r"Conv2d: expected an input that holds the kernel, got spatial shape \(5, 2\)"),
    ],
)
def test_wrong_shapes_are_named(x_shape: Any, attrs: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        conv(np.ones(x_shape), np.ones((4, 3, 3, 3)), **attrs)


def test_different_dtypes_are_refused() -> None:
    with pytest.raises(DtypeError, match="Conv2d: expected input of the weight's dtype float64, got float32"):
        conv(np.ones((1, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3)), **attributes(2))
    with pytest.raises(DtypeError, match="Conv2d: expected a floating point input, got int64"):
        conv(np.ones((1, 3, 5, 5), np.int64), np.ones((4, 3, 3, 3), np.int64), **attributes(2))


class Sink:
    """Takes a quarter of a gradient."""

    factor = 0.25

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.buffer = np.full(shape, np.nan, dtype)

    def ready(self, run: Any, multiplied: bool) -> None:
        if not multiplied:
            self.buffer *= self.factor


@pytest.mark.parametrize("kernels", ["auto", "portable"])
@pytest.mark.parametrize("function", [conv, conv_transpose])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("size", "groups"), [(3, 1), (24, 1), (24, 4)])  # less than filters, more
def test_filters_gradient_in_memory_that_waits_for_it(
    kernels: str, function: Any, dtype: Any, size: int, groups: int
) -> None:
    """To the last bit, whether the gradient or what it is computed from is multiplied by the factor."""
    rng = np.random.default_rng(size)
    x = rng.standard_normal((2, 16, size, size)).astype(dtype)
    weight = rng.standard_normal((16, 16 // groups, 3, 3)).astype(dtype)
    with flow.use_kernels(kernels):
        plain, waiting = (wrap(weight.copy(), requires_grad=True) for _ in range(2))
        waiting.grad_sink = sink = Sink(weight.shape, dtype)
        for w in (plain, waiting):
            y = function(wrap(x), w, **attributes(2, stride=2, padding=1, groups=groups))
            y.backward(np.cos(np.arange(y.data.size)).reshape(y.data.shape).astype(dtype))
    assert waiting.grad.data is sink.buffer
    np.testing.assert_array_equal(sink.buffer, plain.grad.data * dtype(0.25))


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
def test_agrees_with_pytorch(n: int) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    function = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][n - 1]
    rng = np.random.default_rng(n)
    for stride, padding, dilation, groups in product((1, 2, 3), (0, 1, 4), (1, 2), (1, 2, 4)):
        x = rng.standard_normal((2, 4, 7, 8, 5)[: 2 + n])
        weight = rng.standard_normal((8, 4 // groups, 3, 2, 1)[: 2 + n])
        arrays = (x, weight, rng.standard_normal(8))
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        ours = [wrap(a, requires_grad=True) for a in arrays]
        expected = function(*theirs, stride=stride, padding=padding, dilation=dilation, groups=groups)
        y = conv(*ours, **attributes(n, stride, padding, dilation, groups))
        np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-12)
        g = rng.standard_normal(y.data.shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.grad.data, other.grad.numpy(), atol=1e-11)
