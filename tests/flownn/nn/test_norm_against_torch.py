"""Normalisation layers in PyTorch: text, names of the state, results, gradients, running statistics, refusals."""

import re
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn import functional as F

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.torch

MODULES = [
    ("InstanceNorm1d(3)", (2, 3, 7)),
    ("InstanceNorm1d(3, affine=True)", (3, 7)),
    ("InstanceNorm1d(3, track_running_stats=True)", (2, 3, 7)),
    ("InstanceNorm2d(3, 1e-3, 0.3, True, True)", (2, 3, 4, 5)),
    ("InstanceNorm2d(3, affine=True, track_running_stats=True, momentum=None)", (3, 4, 5)),
    ("InstanceNorm3d(3, affine=True)", (2, 3, 4, 2, 3)),
    ("InstanceNorm3d(3, track_running_stats=True)", (3, 4, 2, 3)),
    ("GroupNorm(2, 4)", (3, 4)),
    ("GroupNorm(2, 4, eps=1e-3)", (2, 4, 5)),
    ("GroupNorm(1, 4)", (2, 4, 3, 5)),
    ("GroupNorm(4, 4, affine=False)", (2, 4, 2, 3, 2)),
    ("LayerNorm(6)", (2, 5, 6)),
    ("LayerNorm((5, 6), eps=1e-3)", (2, 5, 6)),
    ("LayerNorm([5, 6], bias=False)", (5, 6)),
    ("LayerNorm(6, elementwise_affine=False)", (2, 6)),
    ("RMSNorm(6)", (2, 5, 6)),
    ("RMSNorm((5, 6), eps=1e-3)", (2, 5, 6)),
    ("RMSNorm(6, elementwise_affine=False)", (2, 6)),
    ("BatchNorm1d(3, momentum=None, track_running_stats=False)", (4, 3)),
    ("BatchNorm2d(3, affine=False, momentum=None)", (1, 3, 2, 2)),
]


def pair(text: str) -> tuple[Any, Any]:
    """The module here and there in float64, with the same random weights."""
    ours, theirs = eval(f"nn.{text}", {"nn": nn}), eval(f"nn.{text}", {"nn": torch.nn}).double()
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter[...] = torch.tensor(rng.standard_normal(tuple(parameter.shape)))
    ours.double().load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("text", "shape"), MODULES, ids=lambda value: str(value).replace(" ", ""))
def test_text_state_results_and_gradients(text: str, shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = pair(text)
    # PyTorch 2.13 added a keyword ``bias`` to batch, instance and group norm, and to their text.
    expected_text = repr(theirs) if text.startswith("LayerNorm") else re.sub(r", bias=\w+", "", repr(theirs))
    assert repr(ours) == expected_text
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    for mode in (True, training):  # twice, so that running statistics matter
        ours.train(mode)
        theirs.train(mode)
        data = rng.standard_normal(shape) * 2 + 1
        x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, expected = ours(x), theirs(t)
        np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
        g = rng.standard_normal(shape)
        y.backward(flow.tensor(g))
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-8, atol=1e-10)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-8, atol=1e-10)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(state[name].data, value.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("n", "shape"), [(1, (4, 3)), (1, (4, 3, 5)), (2, (4, 3, 2, 5)), (3, (2, 3, 4, 2, 3))])
@pytest.mark.parametrize("with_addend", [True, False])
def test_fused_batch_norm_is_norm_add_and_relu(n: int, shape: Any, with_addend: bool, training: bool) -> None:
    theirs = getattr(torch.nn, f"BatchNorm{n}d")(3).double()
    ours = getattr(nn, f"FusedBatchNorm{n}d")(3).double()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter[...] = torch.tensor(rng.standard_normal(3))
    ours.load_state_dict(theirs.state_dict())
    for mode in (True, training):
        ours.train(mode)
        theirs.train(mode)
        data = rng.standard_normal((2, *shape))
        x, addend = (flow.tensor(each, requires_grad=True) for each in data)
        t, other = (torch.tensor(each, requires_grad=True) for each in data)
        y = ours(x, addend) if with_addend else ours(x)
        expected = torch.relu(theirs(t) + other if with_addend else theirs(t))
        np.testing.assert_allclose(y.data, expected.detach().numpy(), atol=1e-12)
        g = rng.standard_normal(shape)
        y.backward(flow.tensor(g))
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), atol=1e-11)
        if with_addend:
            np.testing.assert_allclose(addend.grad.data, other.grad.numpy(), atol=1e-12)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), atol=1e-11)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(state[name].data, value.numpy(), rtol=1e-10, atol=1e-12)


REFUSED = [
    ("GroupNorm(3, 4)", None),
    ("GroupNorm(2, 4)", (2, 6, 3)),
    ("GroupNorm(4, 4)", (1, 4)),
    ("GroupNorm(4, 4)", (4,)),
    ("LayerNorm(4)", (2, 5)),
    ("RMSNorm((2, 4))", (4,)),
    ("InstanceNorm1d(4)", (2, 4, 1)),
    ("InstanceNorm1d(4)", (4,)),
    ("InstanceNorm1d(4)", (2, 4, 3, 3)),
    ("InstanceNorm2d(4, affine=True)", (2, 5, 3, 3)),
    ("InstanceNorm2d(4, track_running_stats=True)", (2, 5, 3, 3)),
    ("BatchNorm1d(3)", (3,)),
    ("BatchNorm1d(3)", (1, 3)),
    ("BatchNorm2d(3)", (3, 2, 2)),
]


@pytest.mark.filterwarnings("ignore:input.s size at dim=1 does not match:UserWarning")
@pytest.mark.parametrize(("text", "shape"), REFUSED, ids=lambda value: str(value).replace(" ", ""))
def test_what_pytorch_refuses_is_refused(text: str, shape: Any) -> None:
    for library, zeros, error in ((torch.nn, torch.zeros, (ValueError, RuntimeError)), (nn, flow.zeros, ValueError)):
        with pytest.raises(error):
            eval(f"nn.{text}", {"nn": library})(zeros(*shape or (1,)))


def test_the_number_of_channels_only_warns_where_it_makes_no_difference() -> None:
    data = np.random.default_rng(2).standard_normal((2, 5, 3, 3))
    with pytest.warns(UserWarning, match="InstanceNorm2d: num_features is 4, the input has 5 channels"):
        y = nn.InstanceNorm2d(4)(flow.tensor(data))
    with pytest.warns(UserWarning, match="does not match num_features"):
        expected = torch.nn.InstanceNorm2d(4)(torch.tensor(data))
    np.testing.assert_allclose(y.data, expected.numpy(), atol=1e-12)


def test_functions_take_pytorchs_arguments() -> None:
    rng = np.random.default_rng(3)
    x, w, b = rng.standard_normal((2, 4, 3, 5)), rng.standard_normal(4), rng.standard_normal(4)
    rows = rng.standard_normal((2, 3, 5))
    calls = [
        ("group_norm", (x, 2, w, b, 1e-3)),
        ("group_norm", (x, 4)),
        ("layer_norm", (x, (3, 5), *rows, 1e-3)),
        ("layer_norm", (x, (5,))),
        ("rms_norm", (x, (3, 5), rows[0], 1e-3)),
        ("rms_norm", (x, (5,))),
        ("instance_norm", (x,)),
        ("instance_norm", (x, b, w**2, w, b, False, 0.3, 1e-3)),
        ("batch_norm", (x, b, w**2, w, b, False, 0.3, 1e-3)),
    ]
    for name, arguments in calls:
        mine, other = (
            [convert(each) if isinstance(each, np.ndarray) else each for each in arguments]
            for convert in (flow.tensor, torch.tensor)
        )
        expected = getattr(torch.nn.functional, name)(*other).numpy()
        np.testing.assert_allclose(getattr(F, name)(*mine).data, expected, atol=1e-12, err_msg=name)
    mine, other = (([convert(each.copy()) for each in (x, b, w**2)]) for convert in (flow.tensor, torch.tensor))
    F.instance_norm(*mine, momentum=0.3)
    torch.nn.functional.instance_norm(*other, momentum=0.3)
    for one, two in zip(mine, other, strict=True):
        np.testing.assert_allclose(one.data, two.numpy(), atol=1e-13)
    norm = nn.FusedBatchNorm2d(4).double()
    mean, var = flow.zeros(4, dtype=flow.float64), flow.ones(4, dtype=flow.float64)
    y = F.fused_batch_norm(flow.tensor(x), flow.tensor(x), mean, var, norm.weight, norm.bias, True)
    np.testing.assert_array_equal(y.data, norm(flow.tensor(x), flow.tensor(x)).data)
    assert norm.running_mean is not None
    np.testing.assert_array_equal(mean.data, norm.running_mean.data)
