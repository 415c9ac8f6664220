"""Padding against numpy.pad, and against PyTorch."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from flownn.autograd import wrap
from flownn.errors import ShapeError
from flownn.ops.pad import pad
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import QUESTIONS, OpCase, name_of

NUMPY_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
PADDINGS = [((1, 2),), ((0, 3),), ((0, 0),), ((2, 1), (1, 2)), ((0, 1), (2, 0), (1, 1))]


def in_numpy(x: Any, *, padding: Any, mode: str, value: float) -> Any:
    whole = [(0, 0)] * (x.ndim - len(padding)) + list(padding)
    options = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, whole, mode=NUMPY_MODES[mode], **options)  # type: ignore[call-overload]


CASES = [
    OpCase(pad, [(2, 3, 4, 5)], {"padding": padding, "mode": mode, "value": 1.5}, in_numpy)
    for mode in NUMPY_MODES
    for padding in PADDINGS
]


@pytest.mark.parametrize("question", QUESTIONS[:-1], ids=name_of)  # PyTorch is asked below, for many more rows
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_the_result_is_new_memory(mode: str) -> None:
    x = np.ones(3)
    assert not np.shares_memory(pad(x, padding=((0, 0),), mode=mode, value=0).data, x)


def test_negative_padding_crops(rng: np.random.Generator) -> None:
    x = np.arange(20.0).reshape(4, 5)
    y = pad(x, padding=((-1, 1), (2, -3)), mode="constant", value=7).data
    np.testing.assert_array_equal(y, [[7, 7, 5, 6], [7, 7, 10, 11], [7, 7, 15, 16], [7, 7, 7, 7]])
    check_vjp(lambda x: pad(x, padding=((-1, 1), (2, -3)), mode="constant", value=7), x, rng=rng)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_negative_padding_crops_what_was_extended(mode: str, rng: np.random.Generator) -> None:
    x = np.arange(20.0).reshape(4, 5)
    y = pad(x, padding=((-1, 1), (2, -3)), mode=mode).data
    np.testing.assert_array_equal(y, np.pad(x, [(0, 1), (2, 0)], mode=NUMPY_MODES[mode])[1:, :-3])  # type: ignore[call-overload]
    check_vjp(lambda x: pad(x, padding=((-1, 1), (2, -3)), mode=mode), x, rng=rng)


def test_memory_layout_and_dtype_are_kept() -> None:
    channels_last = np.zeros((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2)
    for mode in NUMPY_MODES:
        y = pad(channels_last, padding=((1, 1), (1, 1)), mode=mode, value=0).data
        assert y.dtype == np.float32
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert pad(np.arange(3), padding=((1, 1),), mode="constant", value=9).data.tolist() == [9, 0, 1, 2, 9]


def test_empty_batch() -> None:
    x = wrap(np.ones((0, 3, 4)), requires_grad=True)
    for mode in NUMPY_MODES:
        y = pad(x, padding=((1, 1),), mode=mode, value=0)
        assert y.data.shape == (0, 3, 6)
        y.backward(np.zeros((0, 3, 6)))
    assert x.grad.data.shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("padding", "mode", "message"),
    [
        (((4, 0),), "reflect", "expected padding of at most 3 elements on each side of dim 1"),
        (((0, 5),), "circular", "expected padding of at most 4 elements"),
        (((-1, -3),), "replicate", "something to be left of shape"),
        (((-2, -3),), "constant", "a crop within the input's shape"),
        (((0, 0),) * 3, "constant", "at least 3 dims"),
    ],
)
def test_too_much_is_named(padding: Any, mode: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        pad(np.ones((2, 4)), padding=padding, mode=mode, value=0)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="constant, reflect, replicate, circular, got 'mirror'"):
        pad(np.ones(3), padding=((1, 1),), mode="mirror")


@pytest.mark.torch
@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_agrees_with_pytorch(mode: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(2)
    pairs = [(0, 0), (1, 2), (3, 0), *([(-1, 2), (-2, -1)] if mode == "constant" else [])]
    for n, first, second in product((1, 2, 3), pairs, pairs):
        data = rng.standard_normal((2, 3, 5, 4, 6)[: 2 + n])
        padding = (first, second, (1, 1))[:n]
        x, t = wrap(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y = pad(x, padding=padding, mode=mode, value=0)
        expected = torch.nn.functional.pad(t, [p for pair in reversed(padding) for p in pair], mode)
        np.testing.assert_array_equal(y.data, expected.detach().numpy())
        g = rng.standard_normal(y.data.shape)
        y.backward(g)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), atol=1e-13)
