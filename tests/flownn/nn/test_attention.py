"""Multi-head attention against PyTorch's, and what it refuses."""

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, ShapeError
from flownn.nn import functional as F
from flownn.random import Generator

BATCH, LENGTH, KEYS, FEATURES, HEADS = 3, 4, 5, 8, 2
LAYERS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "batch_first": True},
    {"kdim": 6, "vdim": 3, "add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "bias": False, "batch_first": True},
]
CAUSAL = np.triu(np.ones((LENGTH, KEYS), bool), 1)


def hidden(rng: np.random.Generator, *shape: int) -> Any:
    """Which keys are hidden; the first is always seen."""
    mask = rng.random(shape) < 0.5
    mask[..., 0] = False
    return mask


def masks(kind: str, rng: np.random.Generator) -> dict[str, Any]:
    heads = BATCH * HEADS
    return {
        "none": lambda: {},
        "padding": lambda: {"key_padding_mask": hidden(rng, BATCH, KEYS)},
        "bool": lambda: {"attn_mask": hidden(rng, LENGTH, KEYS)},
        "float": lambda: {"attn_mask": rng.standard_normal((heads, LENGTH, KEYS))},
        "both bool": lambda: {
            "attn_mask": hidden(rng, heads, LENGTH, KEYS), "key_padding_mask": hidden(rng, BATCH, KEYS)
        },
        "both float": lambda: {
            "attn_mask": rng.standard_normal((LENGTH, KEYS)), "key_padding_mask": rng.standard_normal((BATCH, KEYS))
        },
        "float and bool": lambda: {
            "attn_mask": rng.standard_normal((LENGTH, KEYS)), "key_padding_mask": hidden(rng, BATCH, KEYS)
        },
        "causal": lambda: {"attn_mask": CAUSAL, "is_causal": True},
        "causal and padding": lambda: {
            "attn_mask": CAUSAL, "is_causal": True, "key_padding_mask": hidden(rng, BATCH, KEYS)
        },
    }[kind]()  # fmt: skip


KINDS = (
    "none",
    "padding",
    "bool",
    "float",
    "both bool",
    "both float",
    "float and bool",
    "causal",
    "causal and padding",
)


def inputs(layer: dict[str, Any], rng: np.random.Generator) -> list[Any]:
    sizes = (FEATURES, layer.get("kdim", FEATURES), layer.get("vdim", FEATURES))
    lengths = (LENGTH, KEYS, KEYS)
    first = layer.get("batch_first", False)
    return [
        rng.standard_normal((BATCH, n, size) if first else (n, BATCH, size))
        for n, size in zip(lengths, sizes, strict=True)
    ]


def pair(torch: Any, layer: dict[str, Any]) -> tuple[Any, Any]:
    theirs = torch.nn.MultiheadAttention(FEATURES, HEADS, **layer).double()
    for parameter in theirs.parameters():  # biases start as zeros
        torch.nn.init.normal_(parameter)
    ours = nn.MultiheadAttention(FEATURES, HEADS, **layer).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def compare(ours: Any, theirs: Any, torch: Any, arrays: list[Any], options: dict[str, Any], need: bool) -> None:
    mine = [flow.tensor(each, requires_grad=True) for each in arrays]
    other = [torch.tensor(each, requires_grad=True) for each in arrays]
    if len(arrays) == 1:
        mine, other = mine * 3, other * 3
    own = {k: flow.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    other_options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    y, weights = ours(*mine, need_weights=need, **own)
    expected, expected_weights = theirs(*other, need_weights=need, **other_options)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    rng = np.random.default_rng(1)
    g = rng.standard_normal(y.shape)
    if need:
        np.testing.assert_allclose(weights.data, expected_weights.detach().numpy(), rtol=1e-10, atol=1e-12)
        h = rng.standard_normal(weights.shape)
        flow.autograd.backward([y, weights], [g, h])
        torch.autograd.backward([expected, expected_weights], [torch.tensor(g), torch.tensor(h)])
    else:
        assert weights is None
        y.backward(flow.tensor(g))
        expected.backward(torch.tensor(g))
    for one, two in zip(mine, other, strict=True):
        np.testing.assert_allclose(one.grad.data, two.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (name, one), (other_name, two) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other_name
        np.testing.assert_allclose(one.grad.data, two.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_agrees_with_pytorch(layer: dict[str, Any], kind: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for need, average in product((True, False), (True, False)):
        options = {**masks(kind, rng), "average_attn_weights": average}
        if options.get("is_causal") and not need and (layer.get("add_bias_kv") or layer.get("add_zero_attn")):
            options["is_causal"] = False  # with the hint PyTorch hides the added key here, and not with need_weights
        compare(*pair(torch, layer), torch, inputs(layer, rng), options, need)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(KEYS, BATCH, FEATURES), (KEYS, FEATURES)])
@pytest.mark.parametrize("need", [True, False])
def test_self_attention_and_single_sequences_agree_with_pytorch(
    shape: tuple[int, ...], need: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    several = len(shape) == 3
    options = {
        "key_padding_mask": hidden(rng, *([BATCH] if several else []), KEYS),
        "attn_mask": hidden(rng, (BATCH if several else 1) * HEADS, KEYS, KEYS),
    }
    for batch_first in (False, True):
        data = rng.standard_normal(shape)
        data = data.swapaxes(0, 1) if several and batch_first else data
        compare(*pair(torch, {"batch_first": batch_first}), torch, [data], options, need)


@pytest.mark.torch
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_text_names_and_initial_values_are_pytorchs(layer: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = nn.MultiheadAttention(64, 4, **layer), torch.nn.MultiheadAttention(64, 4, **layer)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    state = theirs.state_dict()
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in state.items()}
    assert list(ours.state_dict()) == list(state)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()}, strict=True)
    for name, value in ours.state_dict().items():
        other = state[name].numpy()
        assert value.data.any() == other.any(), name
        if value.data.size > 1000:
            assert abs(value.data).max() == pytest.approx(abs(other).max(), rel=0.05)


def attend(**options: Any) -> Callable[..., Any]:
    return nn.MultiheadAttention(FEATURES, HEADS, generator=Generator(3), **options)


def test_dropout_of_the_function_is_on_whatever_the_mode(rng: np.random.Generator) -> None:
    x = flow.tensor(rng.standard_normal((2, 3, 4, 5)))
    first, again, other = (
        F.scaled_dot_product_attention(x, x, x, dropout_p=0.5, generator=Generator(seed)).data for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    flow.manual_seed(1)
    np.testing.assert_array_equal(F.scaled_dot_product_attention(x, x, x, dropout_p=0.5).data, first)


def test_dropout_drops_weights_in_training_only(rng: np.random.Generator) -> None:
    x = flow.tensor(rng.standard_normal((LENGTH, BATCH, FEATURES)).astype(np.float32))
    layer: Any = attend(dropout=0.5)
    _, weights = layer(x, x, x, average_attn_weights=False)
    assert 0.3 < (weights.data == 0).mean() < 0.7
    assert (layer(x, x, x, need_weights=False)[0].data != layer(x, x, x, need_weights=False)[0].data).any()
    layer.eval()
    y, weights = layer(x, x, x)
    np.testing.assert_allclose(weights.data.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(layer(x, x, x, need_weights=False)[0].data, y.data, rtol=1e-5, atol=1e-6)
    again: Any = attend(dropout=0.5)
    again.load_state_dict(layer.state_dict())
    twin: Any = attend(dropout=0.5)
    twin.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(again(x, x, x)[0].data, twin(x, x, x)[0].data)


def test_where_all_keys_are_hidden_only_the_bias_is_left(rng: np.random.Generator) -> None:
    x = flow.tensor(rng.standard_normal((LENGTH, 2, FEATURES)), requires_grad=True)
    padding = flow.tensor([[True] * LENGTH, [False] * LENGTH])
    layer = nn.MultiheadAttention(FEATURES, HEADS).double()
    for need in (True, False):
        y, weights = layer(x, x, x, key_padding_mask=padding, need_weights=need)
        np.testing.assert_array_equal(y.data[:, 0], np.broadcast_to(layer.out_proj.bias.data, (LENGTH, FEATURES)))
        assert weights is None or not weights.data[0].any()
        y.sum().backward()
        assert np.isfinite(x.grad.data).all()


@pytest.mark.torch
def test_static_keys_and_values_agree_with_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = pair(torch, {})
    arrays = inputs({}, rng)
    static = [rng.standard_normal((BATCH * HEADS, KEYS, FEATURES // HEADS)) for _ in range(2)]

    def call(function: Any, layer: Any, make: Any) -> Any:
        weights = (layer.in_proj_weight, layer.in_proj_bias, None, None, False, 0.0, layer.out_proj.weight)
        return function(
            *map(make, arrays), FEATURES, HEADS, *weights, layer.out_proj.bias,
            static_k=make(static[0]), static_v=make(static[1]),
        )[0]  # fmt: skip

    expected = call(torch.nn.functional.multi_head_attention_forward, theirs, torch.tensor)
    y = call(F.multi_head_attention_forward, ours, flow.tensor)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    static[0] = static[0][1:]
    with pytest.raises(ShapeError, match=r"expected static_k of shape \(6, S, 4\), got \(5, 5, 4\)"):
        call(F.multi_head_attention_forward, ours, flow.tensor)


@pytest.mark.torch
@pytest.mark.parametrize(("keys", "values"), [(2, 2), (1, 3), (6, 6)])
def test_fewer_heads_of_keys_and_values_agree_with_pytorch(keys: int, values: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    arrays = [rng.standard_normal(shape) for shape in ((3, 6, 4, 5), (3, keys, 7, 5), (3, values, 7, 2))]
    ours = [flow.tensor(each, requires_grad=True) for each in arrays]
    theirs = [torch.tensor(each, requires_grad=True) for each in arrays]
    y = F.scaled_dot_product_attention(*ours, enable_gqa=True)
    expected = torch.nn.functional.scaled_dot_product_attention(*theirs, enable_gqa=True)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    g = rng.standard_normal(y.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad.data, two.grad.numpy(), rtol=1e-9, atol=1e-11)
    with pytest.raises(ShapeError, match=r"heads of key that divide those of query, got \(3, 4, 7, 5\)"):
        F.scaled_dot_product_attention(ours[0], flow.ones(3, 4, 7, 5), ours[2], enable_gqa=True)


WRONG: list[tuple[Any, dict[str, Any], Any, str]] = [
    ([(4, 3, 8), (5, 3, 8), (6, 3, 8)], {}, ShapeError, "key and value of equal lengths"),
    ([(4, 3, 8), (5, 2, 8), (5, 2, 8)], {}, ShapeError, "all of one batch size"),
    ([(4, 3, 7), (5, 3, 8), (5, 3, 8)], {}, ShapeError, "a query of 8 features in 2 equal heads, got (4, 3, 7)"),
    ([(4, 3, 8), (5, 8), (5, 8)], {}, ShapeError, "expected query, key and value of 3 dims"),
    ([(4, 3, 8), (5, 3, 7), (5, 3, 7)], {}, ShapeError, "linear: expected (..., in)"),
    (None, {"key_padding_mask": (5, 3)}, ShapeError, "key_padding_mask of shape (3, 5), got (5, 3)"),
    (None, {"attn_mask": (5, 4)}, ShapeError, "attn_mask of shape (4, 5) or (6, 4, 5), got (5, 4)"),
    (None, {"attn_mask": "int"}, DtypeError, "boolean or floating point attn_mask, got int64"),
    (None, {"is_causal": True}, ValueError, "pass the causal attn_mask too"),
]


@pytest.mark.parametrize(("shapes", "options", "error", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_named(shapes: Any, options: dict[str, Any], error: Any, message: str) -> None:
    given = [flow.ones(*shape) for shape in shapes or [(4, 3, 8), (5, 3, 8), (5, 3, 8)]]
    made = {
        name: flow.ones(4, 5).long() if value == "int" else flow.ones(*value) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    with pytest.raises(error, match=re.escape(message)):
        attend()(*given, **made)


def test_wrong_arguments_are_named_when_the_layer_is_made() -> None:
    with pytest.raises(ValueError, match="a positive embed_dim that num_heads divides, got 8 and 3"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ValueError, match=r"a probability dropout between 0 and 1, got -0\.1"):
        nn.MultiheadAttention(8, 2, dropout=-0.1)
