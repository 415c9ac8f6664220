"""Transformer layers and stacks against PyTorch's."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn

LAYERS: list[dict[str, Any]] = [
    {},
    {"norm_first": True, "batch_first": True, "activation": "gelu"},
    {"bias": False, "layer_norm_eps": 1e-3},
]
BATCH, TARGETS, SOURCES, FEATURES = 2, 4, 5, 8


def pair(torch: Any, kind: str, options: dict[str, Any], depth: int) -> tuple[Any, Any]:
    """A layer, or a stack of ``depth`` with a norm behind, here and there with the same random weights."""
    both = []
    for library in (nn, torch.nn):
        layer = getattr(library, f"Transformer{kind}Layer")(FEATURES, 2, 12, dropout=0.2, **options)
        if depth:
            extra = {"enable_nested_tensor": False} if library is torch.nn and kind == "Encoder" else {}
            norm = library.LayerNorm(FEATURES)
            layer = getattr(library, f"Transformer{kind}")(layer, depth, norm, **extra)
        both.append(layer.double().eval())
    for parameter in both[1].parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    both[0].load_state_dict(both[1].state_dict())
    return both[0], both[1]


def arrays(kind: str, options: dict[str, Any], rng: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    lengths = [SOURCES] if kind == "Encoder" else [TARGETS, SOURCES]
    first = options.get("batch_first", False)
    inputs = [rng.standard_normal((BATCH, n, FEATURES) if first else (n, BATCH, FEATURES)) for n in lengths]
    padding = np.zeros((BATCH, SOURCES), bool)
    padding[0, -2:] = True
    if kind == "Encoder":
        return inputs, {"mask": rng.standard_normal((SOURCES, SOURCES)), "src_key_padding_mask": padding}
    return inputs, {
        "tgt_mask": np.triu(np.ones((TARGETS, TARGETS), bool), 1),
        "memory_mask": np.eye(TARGETS, SOURCES, dtype=bool),
        "tgt_key_padding_mask": np.zeros((BATCH, TARGETS), bool),
        "memory_key_padding_mask": padding,
    }


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning")
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_agrees_with_pytorch(
    kind: str, options: dict[str, Any], depth: int, masked: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = pair(torch, kind, options, depth)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    inputs, masks = arrays(kind, options, rng)
    if not depth and "mask" in masks:
        masks["src_mask"] = masks.pop("mask")
    masks = masks if masked else {}
    mine = [flow.tensor(each, requires_grad=True) for each in inputs]
    other = [torch.tensor(each, requires_grad=True) for each in inputs]
    y = ours(*mine, **{name: flow.tensor(mask) for name, mask in masks.items()})
    expected = theirs(*other, **{name: torch.tensor(mask) for name, mask in masks.items()})
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    g = rng.standard_normal(y.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    for one, two in zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(one.grad.data, two.grad.numpy(), rtol=1e-7, atol=1e-9)


def test_the_causal_hint_gives_what_the_mask_gives(rng: np.random.Generator) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(FEATURES, 2, 12).double(), 2).eval()
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(FEATURES, 2, 12).double(), 2).eval()
    x = flow.tensor(rng.standard_normal((SOURCES, BATCH, FEATURES)))
    mask = flow.tensor(np.triu(np.ones((SOURCES, SOURCES), bool), 1))
    plain, hinted = encoder(x, mask), encoder(x, mask, is_causal=True)
    np.testing.assert_allclose(plain.data, hinted.data, rtol=1e-10)
    assert (plain.data != encoder(x).data).any()
    plain = decoder(x, x, tgt_mask=mask, memory_mask=mask)
    hinted = decoder(x, x, tgt_mask=mask, memory_mask=mask, tgt_is_causal=True, memory_is_causal=True)
    np.testing.assert_allclose(plain.data, hinted.data, rtol=1e-10)


def test_layers_of_a_stack_are_copies_and_drop_in_training() -> None:
    flow.manual_seed(0)
    layer = nn.TransformerEncoderLayer(FEATURES, 2, 12, dropout=0.5)
    stack = nn.TransformerEncoder(layer, 3)
    weights = [each.linear1.weight for each in stack.layers]
    assert len({id(weight) for weight in [*weights, layer.linear1.weight]}) == 4
    for weight in weights:
        np.testing.assert_array_equal(weight.data, layer.linear1.weight.data)
    x = flow.ones(SOURCES, BATCH, FEATURES)
    assert (stack(x).data != stack(x).data).any()
    stack.eval()
    np.testing.assert_array_equal(stack(x).data, stack(x).data)


def test_functions_as_activation_and_what_is_refused() -> None:
    x = flow.randn(SOURCES, BATCH, FEATURES)
    layer = nn.TransformerEncoderLayer(FEATURES, 2, 12, dropout=0.0, activation=nn.functional.tanh)
    other = nn.TransformerEncoderLayer(FEATURES, 2, 12, dropout=0.0, activation=nn.Tanh())
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer(x).data, other(x).data)
    with pytest.raises(ValueError, match="TransformerEncoderLayer: expected activation 'relu', 'gelu' or a function"):
        nn.TransformerEncoderLayer(FEATURES, 2, activation="swish")
    with pytest.raises(ValueError, match="TransformerDecoder: expected num_layers of at least 1, got 0"):
        nn.TransformerDecoder(nn.TransformerDecoderLayer(FEATURES, 2), 0)
    with pytest.raises(ValueError, match="num_heads divides, got 8 and 3"):
        nn.TransformerDecoderLayer(FEATURES, 3)
