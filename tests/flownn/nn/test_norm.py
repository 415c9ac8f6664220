"""What normalisation layers refuse, and that their statistics stay where they are."""

import copy
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, ShapeError
from flownn.nn.modules.norm import norm_add_relu
from flownn.nn.modules.sync_batchnorm import SyncBatchNorm
from tests.helpers.ranks import run_ranks

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


def rectified(norm: Any, relu: Any, data: Any, addend: Any, g: Any) -> dict[str, Any]:
    x, other = flow.tensor(data, requires_grad=True), flow.tensor(addend, requires_grad=True)
    y = norm_add_relu(norm, relu, x, other)
    assert y.grad_fn is not None
    y.backward(g)
    found = {"op": y.grad_fn.op, "y": y.data, "x": x.grad.data, "addend": other.grad.data}
    return found | {name: value.data for name, value in norm.named_buffers()}


class Doubled(nn.BatchNorm2d):
    def forward(self, input: Any) -> Any:
        return super().forward(input) * 2


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_before_an_addition_and_relu_is_one_op_with_the_same_result(training: bool) -> None:
    data, addend, g = np.random.default_rng(0).standard_normal((3, 4, 3, 5, 2))
    one, two = (nn.BatchNorm2d(3).double().train(training) for _ in range(2))
    heard: list[Any] = []
    two.register_forward_hook(lambda module, args, result: heard.append(result.shape))
    got, want = (rectified(norm, nn.ReLU(), data, addend, g) for norm in (one, two))
    assert (got.pop("op"), want.pop("op"), heard) == ("fused_batch_norm", "relu", [(4, 3, 5, 2)])
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


def test_what_somebody_has_replaced_is_called() -> None:
    data, addend, g = np.random.default_rng(1).standard_normal((3, 4, 3, 5, 2))
    plain = nn.BatchNorm2d(3).double()(flow.tensor(data)).data
    doubled = rectified(Doubled(3).double(), nn.ReLU(), data, addend, g)
    np.testing.assert_allclose(doubled["y"], np.maximum(2 * plain + addend, 0), atol=1e-12)
    clipped = rectified(nn.BatchNorm2d(3).double(), nn.ReLU6(), data, addend * 9, g)
    np.testing.assert_allclose(clipped["y"], np.clip(plain + addend * 9, 0, 6), atol=1e-12)
    broadcast = rectified(nn.BatchNorm2d(3).double(), nn.ReLU(), data, addend[:1], g)
    np.testing.assert_allclose(broadcast["y"], np.maximum(plain + addend[:1], 0), atol=1e-12)


def test_a_synchronised_batch_norm_before_relu_takes_the_statistics_of_all_ranks() -> None:
    data, addend, g = np.random.default_rng(2).standard_normal((3, 6, 3, 5, 2))
    whole = rectified(nn.BatchNorm2d(3).double(), nn.ReLU(), data, addend, g)

    def rank(comm: Any) -> dict[str, Any]:
        part = slice(0, 4) if comm.rank == 0 else slice(4, 6)
        norm = SyncBatchNorm(3, comm=comm).double()
        return rectified(norm, nn.ReLU(), data[part], addend[part], g[part])

    ranks = run_ranks(2, rank)
    assert {each["op"] for each in ranks} == {"fused_batch_norm"}
    for name in ("y", "x", "addend"):
        np.testing.assert_allclose(np.concatenate([each[name] for each in ranks]), whole[name], atol=1e-12)
    np.testing.assert_allclose(ranks[1]["running_var"], whole["running_var"], rtol=1e-12)
