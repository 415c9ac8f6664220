"""Convolution layers and their transposes in PyTorch: text, state, results, gradients, output sizes, errors."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn import functional as F
from tests.flownn.nn.test_against_torch import pair

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.torch

MODULES = [
    ("Conv1d(4, 6, 3)", (4, 9)),
    ("Conv1d(4, 6, 3, padding='same', padding_mode='circular')", (4, 9)),
    ("Conv2d(4, 6, 3, stride=2, padding=1, groups=2)", (4, 7, 8)),
    ("Conv2d(4, 6, 3, padding=1, padding_mode='reflect')", (4, 7, 8)),
    ("Conv3d(2, 4, 2, padding='valid')", (2, 4, 5, 3)),
    ("Conv2d(4, 6, 3)", (0, 4, 7, 8)),
    ("ConvTranspose1d(4, 6, 3)", (2, 4, 9)),
    ("ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False, 2)", (2, 4, 9)),
    ("ConvTranspose1d(4, 6, 5, stride=3, output_padding=2)", (4, 9)),
    ("ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1, bias=False)", (2, 3, 4, 5)),
    ("ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0), 2, dilation=(1, 2))", (2, 4, 4, 5)),
    ("ConvTranspose2d(4, 4, 4, stride=2, padding=1, groups=4)", (2, 4, 5, 6)),
    ("ConvTranspose2d(4, 3, 3, dilation=2, output_padding=1)", (4, 5, 6)),
    ("ConvTranspose2d(4, 3, 3)", (0, 4, 5, 6)),
    ("ConvTranspose3d(2, 4, 3, stride=(1, 2, 1), padding=(0, 1, 1))", (1, 2, 3, 4, 3)),
    ("ConvTranspose3d(2, 4, (2, 3, 1), output_padding=(0, 1, 0), stride=2)", (2, 3, 4, 3)),
]


@pytest.mark.parametrize(("text", "shape"), MODULES, ids=lambda value: str(value).replace(" ", ""))
def test_text_state_results_and_gradients(text: str, shape: tuple[int, ...]) -> None:
    ours, theirs = pair(text)
    assert repr(ours) == repr(theirs)
    assert {n: tuple(v.shape) for n, v in ours.state_dict().items()} == {
        n: tuple(v.shape) for n, v in theirs.state_dict().items()
    }
    for name in ("stride", "padding", "output_padding", "dilation", "kernel_size", "groups", "transposed"):
        assert getattr(ours, name) == getattr(theirs, name), name
    rng = np.random.default_rng(0)
    data = rng.standard_normal(shape)
    x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, expected = ours(x), theirs(t)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    g = rng.standard_normal(y.data.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-8, atol=1e-10)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [(9, 12), (10, 11), (2, 3, 10, 13), [9, 13], (10, 12)])
def test_output_size_chooses_between_the_sizes_that_the_stride_leaves_open(size: Any) -> None:
    ours, theirs = pair("ConvTranspose2d(2, 3, 3, stride=(2, 3), padding=(1, 2))")
    data = np.random.default_rng(1).standard_normal((2, 2, 5, 5))
    if len(size) == 2:
        size = [*size]
    y, expected = ours(flow.tensor(data), output_size=size), theirs(torch.tensor(data), output_size=size)
    assert tuple(y.shape[-2:]) == tuple(size[-2:])
    np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-12)
    one = ours(flow.tensor(data[0]), output_size=flow.Size(size[-2:]))
    np.testing.assert_allclose(one.data, y.data[0], atol=1e-12)


@pytest.mark.parametrize("size", [(8, 12), (11, 12), (9,), (1, 2, 3, 9, 12)])
def test_other_output_sizes_are_refused_as_in_pytorch(size: Any) -> None:
    ours, theirs = pair("ConvTranspose2d(2, 3, 3, stride=(2, 3), padding=(1, 2))")
    with pytest.raises(ValueError, match=r"output.size"):
        theirs(torch.zeros(1, 2, 5, 5, dtype=torch.float64), output_size=size)
    with pytest.raises(
        ValueError, match=r"ConvTranspose2d: expected an output_size of 2 sizes from \(9, 11\) to \(10, 13\)"
    ):
        ours(flow.zeros(1, 2, 5, 5, dtype=flow.float64), output_size=size)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_functions_take_pytorchs_arguments(n: int) -> None:
    rng = np.random.default_rng(n)
    x, w, b = (
        rng.standard_normal((2, 4, 5, 4, 3)[: n + 2]),
        rng.standard_normal((4, 3, 3, 2, 2)[: n + 2]),
        np.arange(6.0),
    )
    ours, theirs = (getattr(each, f"conv_transpose{n}d") for each in (F, torch.nn.functional))
    for arguments in [(), (2,), (2, 1, 1, 2), ((2,) * n, 0, 0, 2, 3)]:
        bias = b[: 3 * (arguments[3] if len(arguments) > 3 else 1)]
        y = ours(*map(flow.tensor, (x, w, bias)), *arguments).data
        np.testing.assert_allclose(y, theirs(*map(torch.tensor, (x, w, bias)), *arguments).numpy(), atol=1e-12)


@pytest.mark.parametrize("text", ["ConvTranspose2d(16, 8, 3)", "ConvTranspose1d(32, 64, 3, groups=4)"])
def test_initial_values_are_drawn_from_the_same_interval(text: str) -> None:
    flow.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn})
    bound = 1 / np.sqrt(theirs.weight[0].numel())
    assert 0.95 * bound < abs(ours.weight.data).max() <= bound
    assert abs(ours.bias.data).max() <= bound
    assert ours.weight.data.std() == pytest.approx(theirs.weight.std().item(), rel=0.1)
