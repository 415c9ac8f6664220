"""Pooling against loops over windows, and against PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.inplace import replace
from flownn.ops.activation import relu
from flownn.ops.pool import adaptive_avg_pool, avg_pool, max_pool, max_pool_with_indices
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of


def windows_of(size: int, k: int, s: int, p: int, d: int, ceil: bool) -> list[list[int]]:
    """Positions (also outside the input) of each window along one dim."""
    windows: list[list[int]] = []
    start = -p
    while start + d * (k - 1) < size + p or (ceil and start + d * (k - 1) - s < size + p - 1 and start < size):
        windows.append([start + i * d for i in range(k)])
        start += s
    return windows


def slow_pool(x: Any, reduce: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """``reduce(values inside the input, positions inside the padded input)`` for every window."""
    lines = [windows_of(*args, ceil) for args in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)]
    y = np.zeros((*x.shape[:2], *map(len, lines)))
    for at in np.ndindex(*y.shape):
        chosen = [line[i] for line, i in zip(lines, at[2:], strict=True)]
        positions = list(product(*chosen))
        inside = [p for p in positions if all(0 <= q < n for q, n in zip(p, x.shape[2:], strict=True))]
        padded = [p for p in positions if all(-e <= q < n + e for q, n, e in zip(p, x.shape[2:], padding, strict=True))]
        y[at] = reduce([x[(*at[:2], *p)] for p in inside], len(padded))
    return y


SHAPES = {1: (2, 3, 7), 2: (2, 3, 7, 5), 3: (1, 2, 5, 4, 6)}
SETTINGS = [
    # n, kernel, stride, padding, dilation, ceil
    (1, (3,), (2,), (1,), (1,), False),
    (1, (3,), (2,), (1,), (2,), True),
    (2, (2, 2), (2, 2), (0, 0), (1, 1), False),
    (2, (2, 2), (2, 2), (0, 0), (1, 1), True),
    (2, (3, 2), (2, 3), (1, 1), (1, 2), True),
    (2, (3, 3), (1, 1), (1, 1), (1, 1), False),
    (3, (2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 1), True),
]


def attributes(setting: Any, *, dilated: bool = True) -> dict[str, Any]:
    _, kernel, stride, padding, dilation, ceil = setting
    attrs = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
    return attrs | ({"dilation": dilation} if dilated else {})


def slow_max(x: Any, *, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    return slow_pool(x, lambda values, _: max(values), kernel_size, stride, padding, dilation, ceil_mode)


def slow_avg(
    x: Any,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
) -> Any:
    def mean(values: Any, padded: int) -> Any:
        return sum(values) / (divisor_override or (padded if count_include_pad else len(values)))

    return slow_pool(x, mean, kernel_size, stride, padding, (1,) * len(stride), ceil_mode)


def slow_adaptive_avg(x: Any, *, output_size: Any) -> Any:
    for axis, out in enumerate(output_size, start=2):
        if out is not None:
            size = x.shape[axis]
            windows = [range(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
            x = np.stack([x.take(window, axis=axis).mean(axis=axis) for window in windows], axis=axis)
    return x


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """No two equal, so that a small step changes no maximum; exact in float16."""
    return rng.permutation(int(np.prod(shape))).reshape(shape) / 8


CASES = [
    *(OpCase(max_pool, [SHAPES[each[0]]], attributes(each), slow_max, distinct) for each in SETTINGS),
    *(
        OpCase(
            avg_pool,
            [SHAPES[each[0]]],
            attributes(each, dilated=False) | {"count_include_pad": include, "divisor_override": divisor},
            slow_avg,
        )
        for each in SETTINGS
        if set(each[4]) == {1}
        for include, divisor in ((True, 0), (False, 0), (True, 5))
    ),
    *(
        OpCase(adaptive_avg_pool, [SHAPES[len(out)]], {"output_size": out}, slow_adaptive_avg)
        for out in [(1,), (3,), (9,), (1, 1), (4, None), (7, 5), (3, 2), (1, 1, 1), (2, 3, 7)]
    ),
]


@pytest.mark.parametrize("question", QUESTIONS[:-1], ids=name_of)  # PyTorch is asked below, for many more rows
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_indices_say_where_each_maximum_was(setting: Any, rng: np.random.Generator) -> None:
    x = distinct(rng, SHAPES[setting[0]])
    y, indices = max_pool_with_indices(x, **attributes(setting))
    np.testing.assert_array_equal(y.data, slow_max(x, **attributes(setting)))
    assert indices.data.dtype == np.int64
    found = np.take_along_axis(x.reshape(*x.shape[:2], -1), indices.data.reshape(*x.shape[:2], -1), axis=2)
    np.testing.assert_array_equal(found.reshape(y.data.shape), y.data)
    check_vjp(lambda x: max_pool_with_indices(x, **attributes(setting))[0], x, rng=rng)


def test_equal_elements_give_the_gradient_to_the_first() -> None:
    x = wrap(np.array([[[1.0, 3.0, 3.0, 3.0]]]), requires_grad=True)
    attrs = {"kernel_size": (2,), "stride": (1,), "padding": (0,), "dilation": (1,), "ceil_mode": False}
    max_pool(x, **attrs).backward(np.ones((1, 1, 3)))
    np.testing.assert_array_equal(x.grad.data, [[[0, 2, 1, 0]]])


def test_lowest_value_and_nan_are_found_inside_the_input() -> None:
    attrs = {"kernel_size": (2,), "stride": (2,), "padding": (1,), "dilation": (1,), "ceil_mode": False}
    x = wrap(np.array([[[-np.inf, np.nan, 1.0]]]), requires_grad=True)
    y, indices = max_pool_with_indices(x, **attrs)
    np.testing.assert_array_equal(y.data, [[[-np.inf, np.nan]]])
    np.testing.assert_array_equal(indices.data, [[[0, 1]]])
    y.backward(np.array([[[2.0, 3.0]]]))
    np.testing.assert_array_equal(x.grad.data, [[[2, 3, 0]]])


def test_the_last_of_several_nan_counts_as_in_pytorch() -> None:
    attrs = {"kernel_size": (3,), "stride": (3,), "padding": (0,), "dilation": (1,), "ceil_mode": False}
    x = wrap(np.array([[[np.nan, 1.0, np.nan, 5.0, 5.0, 1.0]]]), requires_grad=True)
    y, indices = max_pool_with_indices(x, **attrs)
    np.testing.assert_array_equal(y.data, [[[np.nan, 5.0]]])
    np.testing.assert_array_equal(indices.data, [[[2, 3]]])
    y.backward(np.array([[[2.0, 3.0]]]))
    np.testing.assert_array_equal(x.grad.data, [[[0, 0, 2, 3, 0, 0]]])


def test_the_result_of_max_pool_may_be_overwritten() -> None:
    data = np.random.default_rng(4).standard_normal((1, 2, 4, 4))
    attrs = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
    grads = []
    for in_place in (False, True):
        x = wrap(data.copy(), requires_grad=True)
        y = max_pool(x, **attrs)
        if in_place:
            replace(y, "relu_", relu)
        else:
            y = relu(y)
        y.backward(np.ones(y.data.shape))
        grads.append(x.grad.data)
    np.testing.assert_array_equal(*grads)


def test_integers_can_be_max_pooled_but_not_averaged() -> None:
    x = np.arange(12).reshape(1, 1, 12)
    attrs = {"kernel_size": (3,), "stride": (3,), "padding": (1,), "ceil_mode": False}
    np.testing.assert_array_equal(max_pool(x, **attrs, dilation=(1,)).data, [[[1, 4, 7, 10]]])
    with pytest.raises(DtypeError, match="AvgPool1d: expected a floating point input, got int64"):
        avg_pool(x, **attrs, count_include_pad=True, divisor_override=0)


@pytest.mark.parametrize("case", CASES[:1] + CASES[-3:], ids=str)
def test_one_sample_is_a_batch_of_one(case: OpCase, rng: np.random.Generator) -> None:
    x = distinct(rng, case.shapes[0])
    np.testing.assert_array_equal(case.bound_op(x[0]).data, case.bound_op(x).data[0])
    check_vjp(case.bound_op, x[0], rng=rng)


def test_nan_stays_in_its_windows() -> None:
    x = np.array([[[np.nan, 1.0, 2.0, 3.0, 4.0]]])
    np.testing.assert_array_equal(adaptive_avg_pool(x, output_size=(3,)).data, [[[np.nan, 2, 3.5]]])


def test_empty_batch() -> None:
    x = wrap(np.ones((0, 3, 6)), requires_grad=True)
    attrs = {"kernel_size": (3,), "stride": (1,), "padding": (1,), "ceil_mode": False}
    ys = [
        max_pool(x, **attrs, dilation=(1,)),
        avg_pool(x, **attrs, count_include_pad=True, divisor_override=0),
        adaptive_avg_pool(x, output_size=(6,)),
        adaptive_avg_pool(x, output_size=(1,)),
    ]
    assert [y.data.shape for y in ys] == [(0, 3, 6)] * 3 + [(0, 3, 1)]
    for y in ys:
        y.backward(np.zeros(y.data.shape))
    assert x.grad.data.shape == (0, 3, 6)


def test_wrong_shapes_are_named() -> None:
    attrs = {"kernel_size": (3, 3), "stride": (1, 1), "dilation": (1, 1), "ceil_mode": False}
    with pytest.raises(
        ShapeError, match=r"MaxPool2d: expected input \(N, C, H, W\) or \(C, H, W\), got shape \(4, 5\)"
    ):
        max_pool(np.ones((4, 5)), padding=(0, 0), **attrs)
    with pytest.raises(ShapeError, match=r"padding of at most half the kernel, got padding \(2, 0\)"):
        max_pool(np.ones((1, 3, 4, 5)), padding=(2, 0), **attrs)
    with pytest.raises(ShapeError, match=r"holds the window, got spatial shape \(4, 2\)"):
        max_pool(np.ones((1, 3, 4, 2)), padding=(0, 0), **attrs)
    with pytest.raises(ShapeError, match="AdaptiveAvgPool2d: expected input"):
        adaptive_avg_pool(np.ones((1, 3, 4, 0)), output_size=(1, 1))


@pytest.mark.torch
@pytest.mark.parametrize("n", [1, 2, 3])
def test_agrees_with_pytorch(n: int) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    f = torch.nn.functional
    max_of = [f.max_pool1d, f.max_pool2d, f.max_pool3d][n - 1]
    avg_of = [f.avg_pool1d, f.avg_pool2d, f.avg_pool3d][n - 1]
    adaptive_of = [f.adaptive_avg_pool1d, f.adaptive_avg_pool2d, f.adaptive_avg_pool3d][n - 1]
    rng = np.random.default_rng(n)
    data = rng.standard_normal((2, 3, 7, 8, 6)[: 2 + n]).round(1)  # rounded: equal elements occur

    def compare(ours: Any, theirs: Any) -> None:
        x, t = wrap(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, expected = ours(x), theirs(t)
        np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-13)
        g = rng.standard_normal(y.data.shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), atol=1e-13)

    compared = 0
    for k, s, p, d, ceil in product((2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True)):
        if d * (k - 1) >= min(data.shape[2:]) + 2 * p:
            continue
        attrs = {"kernel_size": (k,) * n, "stride": (s,) * n, "padding": (p,) * n, "ceil_mode": ceil}
        compare(lambda x: max_pool(x, **attrs, dilation=(d,) * n), lambda t: max_of(t, k, s, p, d, ceil))  # noqa: B023
        indices = max_pool_with_indices(data, **attrs, dilation=(d,) * n)[1].data
        expected = max_of(torch.tensor(data), k, s, p, d, ceil, return_indices=True)[1]
        np.testing.assert_array_equal(indices, expected.numpy())
        compared += 1
        if d == 1:
            for include, divisor in product((True, False), (0, 5) if n > 1 else (0,)):
                more = {"count_include_pad": include, "divisor_override": divisor}
                last = () if n == 1 else (divisor or None,)
                compare(lambda x: avg_pool(x, **attrs, **more), lambda t: avg_of(t, k, s, p, ceil, include, *last))  # noqa: B023
    assert compared >= 40
    for out in (1, 2, 3, 5, 9):
        compare(lambda x: adaptive_avg_pool(x, output_size=(out,) * n), lambda t: adaptive_of(t, out))  # noqa: B023
