"""The same modules in PyTorch: arguments, text, names of the state, results, gradients, weights there and back."""

import re
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="compares with PyTorch")

# (constructor in terms of nn, shape of the input)
MODULES = [
    ("Conv1d(4, 6, 3)", (2, 4, 9)),
    ("Conv1d(4, 6, 3, padding='same', dilation=2, padding_mode='reflect')", (2, 4, 9)),
    ("Conv2d(3, 8, 3, stride=2, padding=1, bias=False)", (2, 3, 7, 8)),
    ("Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)", (2, 4, 7, 8)),
    ("Conv2d(4, 8, 3, padding='same', groups=4)", (2, 4, 5, 6)),
    ("Conv2d(4, 8, (2, 3), padding='same', dilation=(3, 1))", (2, 4, 5, 6)),
    ("Conv2d(3, 8, 3, padding='valid')", (2, 3, 5, 6)),
    ("Conv2d(3, 4, 3, padding=(1, 2), padding_mode='circular')", (2, 3, 5, 6)),
    ("Conv2d(3, 4, 3, stride=2, padding=1, padding_mode='replicate')", (2, 3, 5, 6)),
    ("Conv2d(3, 4, 3, padding=2, padding_mode='reflect')", (2, 3, 5, 6)),
    ("Conv3d(2, 4, 3, padding=1, stride=(1, 2, 1))", (1, 2, 4, 5, 3)),
    ("BatchNorm1d(5)", (4, 5)),
    ("BatchNorm1d(5, affine=False)", (4, 5, 3)),
    ("BatchNorm2d(3, eps=1e-3, momentum=0.3)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, momentum=None)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, track_running_stats=False)", (4, 3, 5, 2)),
    ("BatchNorm3d(2)", (3, 2, 4, 2, 3)),
    ("ReLU()", (3, 4)),
    ("ReLU(inplace=True)", (3, 4)),
    ("MaxPool1d(3, 2)", (2, 3, 8)),
    ("MaxPool2d(3, stride=2, padding=1)", (2, 3, 7, 8)),
    ("MaxPool2d((2, 3), padding=(1, 0), dilation=(2, 1), ceil_mode=True)", (2, 3, 7, 8)),
    ("MaxPool3d(2)", (1, 2, 4, 5, 6)),
    ("AvgPool1d(3, 2, 1)", (2, 3, 8)),
    ("AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)", (2, 3, 7, 8)),
    ("AvgPool2d((2, 3), divisor_override=4)", (2, 3, 7, 8)),
    ("AvgPool3d(2, 1)", (1, 2, 4, 5, 6)),
    ("AdaptiveAvgPool1d(3)", (2, 3, 8)),
    ("AdaptiveAvgPool2d((None, 3))", (2, 3, 7, 8)),
    ("AdaptiveAvgPool2d(1)", (2, 3, 7, 8)),
    ("AdaptiveAvgPool3d((1, 2, 3))", (1, 2, 4, 5, 6)),
    ("Flatten()", (2, 3, 4, 5)),
    ("Flatten(0, 2)", (2, 3, 4, 5)),
    ("Linear(4, 3)", (2, 5, 4)),
    ("Linear(4, 3, bias=False)", (4,)),
    ("Dropout(0.25)", (3, 4)),
    ("Identity(54, key=1)", (3, 4)),
    ("Softmax(dim=1)", (3, 4)),
    ("LogSoftmax(dim=-1)", (2, 3, 4)),
    ("ZeroPad2d((1, 2, 0, 3))", (2, 3, 4, 5)),
    ("ZeroPad2d(-1)", (2, 3, 4, 5)),
    ("ConstantPad1d(2, 3.5)", (2, 3, 4)),
    ("ConstantPad2d((1, 0, 2, 1), 3.5)", (2, 3, 4, 5)),
    ("ConstantPad3d(1, 0)", (2, 3, 4, 5, 2)),
    ("ReflectionPad2d((1, 2, 0, 3))", (2, 3, 4, 5)),
    ("ReplicationPad2d((1, 2, 0, 3))", (3, 4, 5)),
    ("Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.Flatten()))", (2, 2, 5, 5)),
]


def pair(text: str) -> tuple[Any, Any]:
    """The module here and there in float64, with PyTorch's weights in both."""
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn}).double()
    ours.double().load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("text", "shape"), MODULES, ids=lambda value: str(value).replace(" ", ""))
def test_text_state_results_and_gradients(text: str, shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = pair(text)
    # PyTorch 2.13 added a keyword ``bias`` to batch norm, and to its text.
    assert repr(ours) == re.sub(r"(affine=\w+,) bias=\w+,", r"\1", repr(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.train(training)
    theirs.train(training)
    if "Dropout" in text and training:
        return  # other random numbers
    rng = np.random.default_rng(0)
    for _ in range(2):  # twice, so that running statistics matter
        data = rng.standard_normal(shape)
        x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, expected = ours(x + 0), theirs(t + 0)
        np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
        g = rng.standard_normal(y.data.shape)
        y.backward(flow.tensor(g))
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-8, atol=1e-10)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-8, atol=1e-10)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(state[name].data, value.numpy(), rtol=1e-10, atol=1e-12)
        assert str(state[name].data.dtype) == str(value.numpy().dtype)
    back = {name: torch.from_numpy(value.numpy()) for name, value in state.items()}
    theirs.load_state_dict(back, strict=True)


@pytest.mark.parametrize("text", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_class_losses(text: str, reduction: str) -> None:
    rng = np.random.default_rng(1)
    scores, target, weight = rng.standard_normal((3, 4, 2)), rng.integers(0, 4, (3, 2)), rng.random(4)
    target[0, 0] = 2
    ours = getattr(nn, text)(flow.tensor(weight), ignore_index=2, reduction=reduction)
    theirs = getattr(torch.nn, text)(torch.tensor(weight), ignore_index=2, reduction=reduction)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    result = ours(flow.tensor(scores), flow.tensor(target)).data
    np.testing.assert_allclose(result, theirs(torch.tensor(scores), torch.tensor(target)).numpy(), atol=1e-12)


def test_label_smoothing() -> None:
    scores, target = np.random.default_rng(2).standard_normal((3, 4)), np.array([0, 3, 1])
    ours = nn.CrossEntropyLoss(label_smoothing=0.2)(flow.tensor(scores), flow.tensor(target)).item()
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.2)(torch.tensor(scores), torch.tensor(target)).item()
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_repeated_modules_print_as_one_line() -> None:
    for library in (nn, torch.nn):
        layers = [library.Linear(2, 2), library.Linear(2, 2), library.ReLU(), library.Sequential(library.Flatten())]
        text = repr(library.ModuleDict({"list": library.ModuleList(layers), "empty": library.ModuleList()}))
        if library is nn:
            ours = text
    assert ours == text


def test_max_pool_indices() -> None:
    data = np.random.default_rng(3).standard_normal((2, 3, 6, 6))
    y, indices = nn.MaxPool2d(2, return_indices=True)(flow.tensor(data))
    expected, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.tensor(data))
    np.testing.assert_array_equal(y.data, expected.numpy())
    np.testing.assert_array_equal(indices.data, places.numpy())


@pytest.mark.parametrize("text", ["Conv2d(8, 16, 3)", "Conv1d(8, 16, 3, groups=4)", "Linear(40, 30)"])
def test_initial_values_are_drawn_from_the_same_interval(text: str) -> None:
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn})
    fan_in = theirs.weight[0].numel()
    for parameter in (ours.weight, ours.bias):
        values = parameter.data
        assert abs(values).max() <= 1 / np.sqrt(fan_in)
        if values.size > 100:
            assert abs(values).max() > 0.95 / np.sqrt(fan_in)
            assert values.std() == pytest.approx(1 / np.sqrt(3 * fan_in), rel=0.1)
