"""Activation layers and their functions beside PyTorch's; what `inplace` does; errors and deprecated names."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, GradientError, ShapeError
from flownn.nn import functional as F

# constructor in terms of nn, the same function in terms of F, x and the module's weight w
LAYERS = [
    ("ReLU()", "relu(x)"),
    ("ReLU6()", "relu6(x)"),
    ("LeakyReLU()", "leaky_relu(x)"),
    ("LeakyReLU(0.2)", "leaky_relu(x, 0.2)"),
    ("PReLU()", "prelu(x, w)"),
    ("PReLU(4, 0.1)", "prelu(x, w)"),
    ("ELU(0.5)", "elu(x, 0.5)"),
    ("CELU(0.5)", "celu(x, 0.5)"),
    ("SELU()", "selu(x)"),
    ("Sigmoid()", "sigmoid(x)"),
    ("LogSigmoid()", "logsigmoid(x)"),
    ("Tanh()", "tanh(x)"),
    ("Softsign()", "softsign(x)"),
    ("Softplus()", "softplus(x)"),
    ("Softplus(2, 1)", "softplus(x, 2, 1)"),
    ("SiLU()", "silu(x)"),
    ("Mish()", "mish(x)"),
    ("GELU()", "gelu(x)"),
    ("GELU('tanh')", "gelu(x, 'tanh')"),
    ("GLU()", "glu(x)"),
    ("GLU(dim=1)", "glu(x, 1)"),
    ("Hardtanh()", "hardtanh(x)"),
    ("Hardtanh(-0.5, 2)", "hardtanh(x, -0.5, 2)"),
    ("Threshold(0.1, 20)", "threshold(x, 0.1, 20)"),
    ("Hardsigmoid()", "hardsigmoid(x)"),
    ("Hardswish()", "hardswish(x)"),
    ("Hardshrink()", "hardshrink(x)"),
    ("Hardshrink(0.2)", "hardshrink(x, 0.2)"),
    ("Softshrink(0.2)", "softshrink(x, 0.2)"),
    ("Softmax(1)", "softmax(x, 1)"),
    ("Softmin(dim=1)", "softmin(x, 1)"),
    ("LogSoftmax(-1)", "log_softmax(x, -1)"),
]
INPLACE = [
    ("ReLU(True)", "relu(x, True)"),
    ("ReLU6(True)", "relu6(x, True)"),
    ("LeakyReLU(0.2, True)", "leaky_relu(x, 0.2, True)"),
    ("ELU(0.5, True)", "elu(x, 0.5, True)"),
    ("CELU(0.5, inplace=True)", "celu(x, 0.5, True)"),
    ("SELU(True)", "selu(x, True)"),
    ("SiLU(True)", "silu(x, True)"),
    ("Mish(True)", "mish(x, True)"),
    ("Hardtanh(-2., 0.5, True)", "hardtanh(x, -2., 0.5, True)"),
    ("Threshold(0.1, 20, True)", "threshold(x, 0.1, 20, True)"),
    ("Hardsigmoid(True)", "hardsigmoid(x, True)"),
    ("Hardswish(True)", "hardswish(x, True)"),
]
OURS_ONLY = [  # PyTorch has no such argument
    ("Softsign(True)", "softsign(x, True)"),
    ("Hardshrink(0.2, True)", "hardshrink(x, 0.2, True)"),
    ("Softshrink(0.2, True)", "softshrink(x, 0.2, True)"),
]
SHAPE = (3, 4, 6)


def evaluated(text: str, **names: Any) -> Any:
    return eval(text, names)


@pytest.mark.torch
@pytest.mark.parametrize("text", [text for text, _ in LAYERS + INPLACE])
def test_text_state_results_and_gradients(text: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = evaluated(f"nn.{text}", nn=nn).double(), evaluated(f"nn.{text}", nn=torch.nn).double()
    ours.load_state_dict(theirs.state_dict())
    says_inplace = text not in ("Hardsigmoid(True)", "Hardswish(True)")  # theirs do not say it
    assert repr(ours) == (repr(theirs) if says_inplace else repr(theirs).replace("()", "(inplace=True)"))
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    data = np.random.default_rng(0).standard_normal(SHAPE) * 2
    x, t = flow.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, expected = ours(x + 0), theirs(t + 0)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    g = np.random.default_rng(1).standard_normal(y.data.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    rtol = 1e-7 if "Hardsigmoid" in text else 1e-10  # PyTorch's is of float32
    for one, other in [(x, t), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(("text", "call"), LAYERS, ids=lambda text: text)
def test_functions_do_what_the_layers_do(text: str, call: str) -> None:
    layer = evaluated(f"nn.{text}", nn=nn)
    x = flow.randn(*SHAPE)
    before = x.data.copy()
    y = evaluated(f"F.{call}", F=F, x=x, w=getattr(layer, "weight", None))
    np.testing.assert_array_equal(y.data, layer(x).data)
    np.testing.assert_array_equal(x.data, before)


@pytest.mark.parametrize(("text", "call"), INPLACE + OURS_ONLY, ids=lambda text: text)
def test_inplace_writes_into_the_input_and_keeps_the_gradient(text: str, call: str) -> None:
    layer = evaluated(f"nn.{text}", nn=nn)
    assert "inplace=True" in repr(layer)
    plain = evaluated(f"nn.{text}", nn=nn)
    plain.inplace = False
    data = np.random.default_rng(0).standard_normal(SHAPE) * 2
    leaf = flow.tensor(data, requires_grad=True)
    want = plain(leaf * 1)
    want.sum().backward()
    gradient = leaf.grad.data
    for function in (layer, lambda x: evaluated(f"F.{call}", F=F, x=x)):
        leaf.grad = None
        x = leaf * 1
        memory = x.data
        assert function(x) is x
        assert x.data is memory
        np.testing.assert_array_equal(memory, want.data)
        x.sum().backward()
        np.testing.assert_array_equal(leaf.grad.data, gradient)
        with pytest.raises(GradientError, match=r"inplace=True\): a leaf that requires a gradient"):
            function(leaf)


def test_inplace_does_not_turn_integers_into_floats() -> None:
    with pytest.raises(DtypeError, match=r"Softsign\(inplace=True\)"):
        nn.Softsign(inplace=True)(flow.arange(3))


def test_a_changed_attribute_counts() -> None:
    layer = nn.LeakyReLU(0.5)
    layer.negative_slope = 0.25
    assert layer(flow.tensor([-4.0])).item() == -1
    assert repr(layer) == "LeakyReLU(negative_slope=0.25)"


def test_deprecated_names_of_hardtanh() -> None:
    with pytest.warns(DeprecationWarning, match="min_value is deprecated, use min_val"):
        layer = nn.Hardtanh(min_value=-3)
    assert (layer.min_val, layer.max_val) == (-3, 1)
    with pytest.warns(DeprecationWarning, match="max_value is deprecated, use max_val"):
        layer = nn.Hardtanh(max_value=2)
    np.testing.assert_array_equal(layer(flow.tensor([-5.0, 5.0])).data, [-1, 2])


def test_prelu_type_and_place() -> None:
    layer = nn.PReLU(3, dtype=flow.float64, device="cpu")
    assert layer.weight.dtype is flow.float64
    assert layer(flow.ones(2, 3, dtype=flow.float64)).dtype is flow.float64
    with pytest.raises(DtypeError, match="prelu: expected a weight of the input's type float32, got float64"):
        layer(flow.ones(2, 3))


def test_methods_and_functions_of_the_package() -> None:
    x = flow.tensor([-1.0, -0.25, 0.0, 2.0])
    for got, want in [
        (x.hardshrink(), F.hardshrink(x)), (x.hardshrink(1.5), flow.hardshrink(x, 1.5)), (flow.selu(x), F.selu(x)),
        (x.prelu(flow.tensor([0.5])), flow.prelu(x, flow.tensor([0.5]))), (flow.celu(x, 2.0), F.celu(x, 2.0)),
        (flow.threshold(x, 0, 7), F.threshold(x, 0, 7)), (flow.softmax(x, dim=0), F.softmax(x, 0)),
        (flow.log_softmax(x, 0), F.log_softmax(x, 0)), (x.clone().sigmoid_(), flow.sigmoid(x)),
        (x.clone().tanh_(), flow.tanh(x)),
    ]:  # fmt: skip
        np.testing.assert_array_equal(got.data, want.data)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nn.PReLU(0), ValueError, "PReLU: expected a positive num_parameters, got 0"),
    (lambda: nn.Hardtanh(1, 1), ValueError, "Hardtanh: expected min_val below max_val, got 1 and 1"),
    (lambda: nn.PReLU(3)(flow.ones(2, 4)), ShapeError, r"prelu: expected a weight of shape \(1,\) or \(4,\)"),
    (lambda: nn.GLU()(flow.ones(3)), ShapeError, "glu: expected an even size along dim -1"),
    (lambda: nn.Softmin(dim=2)(flow.ones(2, 4)), ShapeError, "Softmin: expected a dim from -2 to 1, got 2"),
    (lambda: nn.GELU("erf")(flow.ones(2)), ValueError, "gelu: expected approximate 'none' or 'tanh', got 'erf'"),
])  # fmt: skip
def test_what_is_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
