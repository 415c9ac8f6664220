"""What normalisation layers refuse, and that their statistics stay where they are."""

import copy

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, ShapeError

WRONG_ARGUMENTS = [
    ("GroupNorm(3, 4)", "GroupNorm: expected num_channels divisible by num_groups, both positive, got 4 and 3"),
    ("GroupNorm(0, 4)", "GroupNorm: expected num_channels divisible by num_groups, both positive, got 4 and 0"),
    ("LayerNorm(())", r"LayerNorm: expected normalized_shape as a size or several, got \(\)"),
    ("LayerNorm((2, 0.5))", r"LayerNorm: expected normalized_shape as a size or several, got \(2, 0.5\)"),
    ("RMSNorm(-1)", "RMSNorm: expected normalized_shape as a size or several, got -1"),
    ("InstanceNorm2d(0)", "InstanceNorm2d: expected a positive num_features, got 0"),
    ("FusedBatchNorm1d(0)", "FusedBatchNorm1d: expected a positive num_features, got 0"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_ARGUMENTS, ids=[text for text, _ in WRONG_ARGUMENTS])
def test_wrong_arguments_are_named_when_the_layer_is_made(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eval(f"nn.{text}", {"nn": nn})


WRONG_INPUTS = [
    ("GroupNorm(2, 4)", (2, 6, 3), r"GroupNorm: expected input \(N, 4, ...\), got shape \(2, 6, 3\)"),
    ("LayerNorm((3, 4))", (2, 4), r"LayerNorm: expected input \(..., 3, 4\), got shape \(2, 4\)"),
    ("RMSNorm(3)", (2, 4), r"RMSNorm: expected input \(..., 3\), got shape \(2, 4\)"),
    (
        "InstanceNorm1d(3, affine=True)",
        (2, 4, 5),
        r"InstanceNorm1d: expected input \(N, 3, L\) or \(3, L\), got shape \(2",
    ),
    ("InstanceNorm2d(3)", (3, 5), r"InstanceNorm2d: expected input \(N, 3, H, W\) or \(3, H, W\), got shape \(3, 5\)"),
    ("FusedBatchNorm2d(3)", (2, 4, 5, 5), r"FusedBatchNorm2d: expected input \(N, 3, H, W\), got shape \(2, 4, 5, 5\)"),
    ("FusedBatchNorm1d(3)", (1, 3), "more than 1 value per channel"),
]


@pytest.mark.parametrize(("text", "shape", "message"), WRONG_INPUTS, ids=[text for text, *_ in WRONG_INPUTS])
def test_wrong_inputs_are_named(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        eval(f"nn.{text}", {"nn": nn})(flow.ones(*shape))


def test_another_dtype_than_the_parameters_is_refused_but_for_16_bit_beside_float32() -> None:
    for layer, shape in ((nn.BatchNorm1d(4), (3, 4)), (nn.GroupNorm(2, 4), (3, 4)), (nn.LayerNorm(4), (3, 4))):
        assert layer(flow.ones(*shape, dtype=flow.float16)).dtype == flow.float16
        assert layer(flow.ones(*shape, dtype=flow.bfloat16)).dtype == flow.bfloat16
        with pytest.raises(DtypeError, match="expected weight of the input's dtype float64, got float32"):
            layer(flow.ones(*shape, dtype=flow.float64))


def test_instance_norm_counts_no_batches_and_moves_its_statistics_in_place() -> None:
    norm = nn.InstanceNorm1d(3, track_running_stats=True)
    assert norm.running_mean is not None
    assert norm.num_batches_tracked is not None
    array = norm.running_mean.data
    norm(flow.randn(2, 3, 4) + 5)
    assert norm.running_mean.data is array
    assert abs(array).min() > 0.1
    assert norm.num_batches_tracked.data == 0  # as in PyTorch
    before = array.copy()
    norm.eval()(flow.randn(2, 3, 1))
    np.testing.assert_array_equal(array, before)


def test_a_copy_has_statistics_of_its_own() -> None:
    norm = nn.FusedBatchNorm1d(3)
    other = copy.deepcopy(norm)
    norm(flow.randn(4, 3) + 5)
    assert other.running_mean is not None
    np.testing.assert_array_equal(other.running_mean.data, np.zeros(3))
