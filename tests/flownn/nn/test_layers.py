"""What layers do beyond what PyTorch shows: errors, empty batches, randomness, in-place results."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import GradientError, ShapeError
from flownn.nn import functional as F

WRONG_ARGUMENTS = [
    ("Conv2d(3, 4, 3, groups=2)", "Conv2d: in_channels must be divisible by groups, got 3 and 2"),
    ("Conv2d(4, 3, 3, groups=2)", "Conv2d: out_channels must be divisible by groups, got 3 and 2"),
    ("Conv2d(0, 3, 3)", "expected positive in_channels"),
    ("Conv2d(3, 4, (3, 3, 3))", r"Conv2d.kernel_size: expected an int or 2 ints, got \(3, 3, 3\)"),
    ("Conv2d(3, 4, 3.5)", "Conv2d.kernel_size: expected an int or 2 ints, got 3.5"),
    ("Conv2d(3, 4, 3, stride=0)", "Conv2d.stride: expected at least 1, got 0"),
    ("Conv2d(3, 4, 3, padding=-1)", "Conv2d.padding: expected at least 0, got -1"),
    ("Conv2d(3, 4, 3, padding='same', stride=2)", r"Conv2d: padding='same' needs stride 1, got \(2, 2\)"),
    ("Conv2d(3, 4, 3, padding='full')", "Conv2d: expected padding as ints, 'valid' or 'same', got 'full'"),
    ("Conv2d(3, 4, 3, padding_mode='zero')", "expected padding_mode of zeros, reflect, replicate, circular"),
    ("BatchNorm2d(0)", "BatchNorm2d: expected a positive num_features"),
    ("Linear(-1, 1)", "Linear: expected in_features and out_features >= 0, got -1, 1"),
    ("MaxPool2d(0)", "MaxPool2d.kernel_size: expected at least 1"),
    ("AvgPool1d((1, 2))", "AvgPool1d.kernel_size: expected an int or 1 ints"),
    ("AdaptiveAvgPool2d((1, 2, 3))", "AdaptiveAvgPool2d.output_size: expected an int, None or 2 of them"),
    ("Dropout(1.5)", "Dropout: expected a probability p between 0 and 1, got 1.5"),
    ("CrossEntropyLoss(reduction='avg')", "CrossEntropyLoss: expected a reduction of none, mean, sum, got 'avg'"),
    ("CrossEntropyLoss(label_smoothing=2)", "label_smoothing between 0 and 1"),
    ("ZeroPad2d((1, 2))", "ZeroPad2d: expected padding as an int or 4 ints"),
    ("ReflectionPad2d(1.5)", "ReflectionPad2d.padding: expected an int or 4 ints"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_ARGUMENTS, ids=[text for text, _ in WRONG_ARGUMENTS])
def test_wrong_arguments_are_named_when_the_layer_is_made(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eval(f"nn.{text}", {"nn": nn})


WRONG_INPUTS = [
    ("Conv2d(3, 4, 3)", (4, 5, 5), r"Conv2d: expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(4, 5, 5\)"),
    ("Conv1d(3, 4, 3, padding=1, padding_mode='circular')", (2, 4, 5), r"Conv1d: expected input \(N, 3, W\)"),
    ("BatchNorm2d(3)", (2, 4, 5, 5), r"BatchNorm2d: expected input \(N, 3, H, W\), got shape \(2, 4, 5, 5\)"),
    ("BatchNorm1d(3)", (2, 3, 5, 5), r"BatchNorm1d: expected input \(N, 3\) or \(N, 3, L\)"),
    ("BatchNorm2d(3)", (1, 3, 1, 1), "more than 1 value per channel"),
    ("Linear(3, 4)", (2, 5), r"Linear: expected input \(..., 3\), got shape \(2, 5\)"),
    ("MaxPool2d(2)", (4, 4), r"MaxPool2d: expected input \(N, C, H, W\)"),
    ("ZeroPad2d(1)", (4, 4), r"ZeroPad2d: expected input \(N, C, H, W\) or \(C, H, W\)"),
    ("Softmax(dim=2)", (4, 4), "Softmax: expected a dim from -2 to 1, got 2"),
]


@pytest.mark.parametrize(("text", "shape", "message"), WRONG_INPUTS, ids=[text for text, *_ in WRONG_INPUTS])
def test_wrong_inputs_are_named(text: str, shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        eval(f"nn.{text}", {"nn": nn})(flow.ones(*shape))


class TestBatchNorm:
    def test_an_empty_batch_counts_but_leaves_mean_and_variance(self) -> None:
        norm = nn.BatchNorm2d(3)
        before = {name: value.data.copy() for name, value in norm.state_dict().items()}
        assert norm(flow.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
        before["num_batches_tracked"] += 1
        for name, value in norm.state_dict().items():
            np.testing.assert_array_equal(value.data, before[name])

    def test_evaluation_changes_nothing(self) -> None:
        norm = nn.BatchNorm2d(3).eval()
        norm(flow.randn(2, 3, 4, 4))
        assert norm.num_batches_tracked is not None
        assert norm.num_batches_tracked.data == 0

    def test_the_arrays_of_the_statistics_stay_the_same(self) -> None:
        norm = nn.BatchNorm2d(3)
        assert norm.running_mean is not None
        array = norm.running_mean.data
        norm(flow.randn(2, 3, 4, 4) + 5)
        assert norm.running_mean.data is array
        assert abs(array).min() > 0.1
        norm.reset_running_stats()
        np.testing.assert_array_equal(array, 0)


class TestInplace:
    def test_relu_writes_into_the_input(self) -> None:
        x = flow.tensor([-1.0, 2.0])
        memory = x.data
        assert nn.ReLU(inplace=True)(x) is x
        assert x.data is memory
        assert memory.tolist() == [0, 2]
        x = flow.tensor([-1.0, 2.0])
        assert F.relu(x, inplace=True) is x

    def test_a_leaf_that_requires_a_gradient_is_refused(self) -> None:
        with pytest.raises(GradientError, match="ReLU"):
            nn.ReLU(inplace=True)(flow.tensor([-1.0], requires_grad=True))

    def test_after_a_convolution_and_a_norm_the_gradients_are_those_of_the_plain_form(self) -> None:
        grads = []
        for inplace in (False, True):
            flow.manual_seed(3)
            net = nn.Sequential(
                nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace), nn.Conv2d(3, 2, 3), nn.ReLU(inplace)
            )
            net(flow.randn(2, 2, 7, 7)).sum().backward()
            grads.append([p.grad.data for p in net.parameters()])
        for one, other in zip(*grads, strict=True):
            np.testing.assert_array_equal(one, other)


class TestDropout:
    def test_same_seed_same_mask(self) -> None:
        x = flow.ones(4, 50)
        masks = [nn.Dropout(0.5, generator=flow.Generator(3))(x).data for _ in range(2)]
        np.testing.assert_array_equal(*masks)
        flow.manual_seed(5)
        first = nn.Dropout(0.5)(x).data
        second = nn.Dropout(0.5)(x).data
        assert (first != second).any()
        flow.manual_seed(5)
        np.testing.assert_array_equal(nn.Dropout(0.5)(x).data, first)

    def test_evaluation_and_p_0_return_the_input(self) -> None:
        x = flow.ones(3)
        assert nn.Dropout(0.5).eval()(x) is x
        assert nn.Dropout(0)(x) is x

    def test_inplace(self) -> None:
        x = flow.ones(100)
        y = nn.Dropout(0.5, inplace=True, generator=flow.Generator(1))(x)
        assert y is x
        assert set(x.data.tolist()) == {0.0, 2.0}

    def test_inplace_gradient(self) -> None:
        x = flow.ones(100, requires_grad=True)
        y = x * 3
        nn.Dropout(0.5, inplace=True, generator=flow.Generator(1))(y)
        y.sum().backward()
        np.testing.assert_array_equal(x.grad.data, y.data)


def test_softmax_without_dim_takes_the_one_of_the_reference() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    for data, axis in ((x[0, 0, 0], 0), (x[0, 0], 1), (x[0], 0), (x, 1)):
        sums = nn.Softmax()(flow.tensor(data)).data.sum(axis=axis)
        np.testing.assert_allclose(sums, np.ones_like(sums), rtol=1e-6)


def test_ignored_class_is_not_100_by_default() -> None:
    scores = flow.zeros(1, 200)
    assert nn.CrossEntropyLoss()(scores, flow.tensor([100])).item() == pytest.approx(np.log(200))


FUNCTIONS = [
    ("conv2d(x, w, b, 2, 1, 1, 1)", "Conv2d(2, 4, 3, 2, 1)", (2, 2, 6, 6)),
    ("conv1d(x, w, b, padding='same')", "Conv1d(2, 4, 3, padding='same')", (2, 2, 6)),
    ("conv3d(x, w, b)", "Conv3d(2, 4, 3)", (1, 2, 4, 4, 4)),
    ("linear(x, w, b)", "Linear(3, 2)", (2, 3)),
    ("max_pool1d(x, 2)", "MaxPool1d(2)", (1, 2, 6)),
    ("max_pool2d(x, 3, 2, 1)", "MaxPool2d(3, 2, 1)", (1, 2, 6, 6)),
    ("max_pool3d(x, 2, ceil_mode=True)", "MaxPool3d(2, ceil_mode=True)", (1, 2, 3, 3, 3)),
    ("avg_pool1d(x, 2)", "AvgPool1d(2)", (1, 2, 6)),
    ("avg_pool2d(x, 3, 2, 1, True, False, 2)", "AvgPool2d(3, 2, 1, True, False, 2)", (1, 2, 6, 6)),
    ("avg_pool3d(x, 2)", "AvgPool3d(2)", (1, 2, 4, 4, 4)),
    ("adaptive_avg_pool1d(x, 3)", "AdaptiveAvgPool1d(3)", (1, 2, 7)),
    ("adaptive_avg_pool2d(x, (3, None))", "AdaptiveAvgPool2d((3, None))", (1, 2, 7, 5)),
    ("adaptive_avg_pool3d(x, 2)", "AdaptiveAvgPool3d(2)", (1, 2, 4, 5, 6)),
    ("pad(x, (1, 2, 0, 3), 'reflect')", "ReflectionPad2d((1, 2, 0, 3))", (1, 2, 4, 5)),
    ("pad(x, (1, 2), value=3)", "ConstantPad1d((1, 2), 3)", (1, 2, 4)),
    ("relu(x)", "ReLU()", (3, 4)),
    ("softmax(x, 1)", "Softmax(1)", (3, 4)),
    ("log_softmax(x)", "LogSoftmax()", (3, 4)),
]


@pytest.mark.parametrize(("call", "layer", "shape"), FUNCTIONS, ids=[call for call, *_ in FUNCTIONS])
def test_functions_do_what_the_layers_do(call: str, layer: str, shape: Any) -> None:
    module = eval(f"nn.{layer}", {"nn": nn})
    x = flow.randn(*shape)
    names = {"F": F, "x": x, "w": getattr(module, "weight", None), "b": getattr(module, "bias", None)}
    np.testing.assert_array_equal(eval(f"F.{call}", names).data, module(x).data)


def test_functional_batch_norm_dropout_and_losses() -> None:
    x, norm = flow.randn(4, 3, 5), nn.BatchNorm1d(3)
    mean, var = flow.zeros(3), flow.ones(3)
    y = F.batch_norm(x, mean, var, norm.weight, norm.bias, training=True)
    np.testing.assert_array_equal(y.data, norm(x).data)
    assert norm.running_mean is not None
    np.testing.assert_array_equal(mean.data, norm.running_mean.data)
    scores, target = flow.randn(4, 3), flow.tensor([0, 1, 2, 0])
    assert F.cross_entropy(scores, target).item() == nn.CrossEntropyLoss()(scores, target).item()
    assert F.nll_loss(scores, target, reduction="sum").item() == nn.NLLLoss(reduction="sum")(scores, target).item()
    assert F.dropout(x, training=False) is x
    with pytest.raises(ValueError, match="probability p"):
        F.dropout(x, -1)
    with pytest.raises(ShapeError, match="conv2d: expected a weight with 4 dims"):
        F.conv2d(flow.ones(1, 1, 3, 3), flow.ones(1, 1, 3))
    with pytest.raises(ValueError, match="pad: expected pairs of ints"):
        F.pad(x, (1, 2, 3))
