"""Vision transformers and GPT: names and sizes of parameters, agreement with PyTorch, what they refuse."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import models, nn
from flownn.errors import ShapeError
from tests.helpers.twins import torch_gpt, torch_vit

# Numbers of parameters as timm states them for patches of 16 pixels, images of 224 and 1000 classes.
SIZES = {"vit_tiny": 5_717_416, "vit_small": 22_050_664}
VIT: dict[str, Any] = {
    "image_size": (8, 12), "patch_size": 4, "width": 12, "depth": 2, "heads": 3, "num_classes": 5, "mlp_ratio": 2.5
}  # fmt: skip
GPT: dict[str, Any] = {"vocab_size": 11, "context": 7, "width": 8, "depth": 2, "heads": 2}


def pair_of(*names: str) -> list[str]:
    return [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]


def vit_names(depth: int) -> list[str]:
    """timm's, in its order."""
    parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    blocks = [name for i in range(depth) for name in pair_of(*(f"blocks.{i}.{part}" for part in parts))]
    return ["cls_token", "pos_embed", *pair_of("patch_embed.proj"), *blocks, *pair_of("norm", "head")]


def gpt_names(depth: int) -> list[str]:
    """nanoGPT's, in its order."""
    parts = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    blocks = [name for i in range(depth) for name in pair_of(*(f"transformer.h.{i}.{part}" for part in parts))]
    first = ["transformer.wte.weight", "transformer.wpe.weight"]
    return [*first, *blocks, *pair_of("transformer.ln_f"), "lm_head.weight"]


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes_are_timms(name: str) -> None:
    model = models.create(name)
    assert sum(p.data.size for p in model.parameters()) == SIZES[name]
    assert list(model.state_dict()) == vit_names(12)


def test_names_of_the_state() -> None:
    assert list(models.VisionTransformer(**VIT).state_dict()) == vit_names(2)
    gpt = models.GPT(**GPT)
    assert list(gpt.state_dict()) == gpt_names(2)
    assert [name for name, _ in gpt.named_parameters()] == gpt_names(2)[:-1]
    assert gpt.transformer.wte.weight is gpt.lm_head.weight
    width, hidden = 8, 32
    block = 4 * width + 3 * width * width + 3 * width + width * width + width + 2 * width * hidden + hidden + width
    assert sum(p.data.size for p in gpt.parameters()) == (11 + 7) * width + 2 * block + 2 * width
    apart = models.GPT(**GPT, tie_weights=False)
    assert [name for name, _ in apart.named_parameters()] == gpt_names(2)
    assert apart.transformer.wte.weight is not apart.lm_head.weight


def test_vit_base_is_callable_with_arguments() -> None:
    model = models.vit_base(num_classes=3, image_size=16, dropout=0.1, in_channels=1)
    assert [model.head.out_features, len(model.blocks), model.blocks[0].attn.heads] == [3, 12, 12]
    assert model.pos_drop.p == model.blocks[3].mlp.drop1.p == model.blocks[3].attn.proj_drop.p == 0.1
    with flow.no_grad():
        assert model(flow.randn(1, 1, 16, 16)).shape == (1, 3)


def test_initial_values() -> None:
    flow.manual_seed(0)
    gpt = models.GPT(vocab_size=200, context=50, width=64, depth=8, heads=4)
    for name, p in gpt.named_parameters():
        kind, std = name.split(".")[-1], p.data.std()
        if "ln" in name or kind == "bias":
            assert (p.data == (1 if kind == "weight" else 0)).all()
        else:
            assert std == pytest.approx(0.02 / 4 if "c_proj" in name else 0.02, rel=0.1)
    vit = models.VisionTransformer(**{**VIT, "width": 120})
    assert vit.pos_embed.data.std() == pytest.approx(0.02, rel=0.1)
    assert abs(vit.cls_token.data).max() < 1e-5


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["vit", "gpt"])
def test_results_and_gradients_agree_with_pytorch(kind: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = (torch_vit(torch, **VIT) if kind == "vit" else torch_gpt(torch, **GPT)).double()
    ours: Any = models.create(kind, **{"vit": VIT, "gpt": GPT}[kind]).double()
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({name: torch.from_numpy(v.numpy()) for name, v in ours.state_dict().items()}, strict=True)
    data = rng.standard_normal((3, 3, 8, 12)) if kind == "vit" else rng.integers(0, 11, (3, 5))
    y, expected = ours(flow.tensor(data)), theirs(torch.tensor(data))
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    g = rng.standard_normal(y.shape)
    y.backward(flow.tensor(g))
    expected.backward(torch.tensor(g))
    found = dict(theirs.named_parameters())
    for name, one in ours.named_parameters():
        np.testing.assert_allclose(one.grad.data, found[name].grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


def test_gpt_sees_only_what_came_before(rng: np.random.Generator) -> None:
    gpt = models.GPT(**GPT).eval()
    tokens = rng.integers(0, 11, (2, 7))
    changed = tokens.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    one, other = gpt(flow.tensor(tokens)).data, gpt(flow.tensor(changed)).data
    np.testing.assert_allclose(one[:, :4], other[:, :4], rtol=1e-5, atol=1e-7)
    assert (one[:, 4:] != other[:, 4:]).any()


@pytest.mark.parametrize("kind", ["vit", "gpt"])
def test_dropout_is_on_in_training_only(kind: str, rng: np.random.Generator) -> None:
    model: Any = models.create(kind, **{"vit": VIT, "gpt": GPT}[kind], dropout=0.3)
    x = flow.tensor(rng.standard_normal((2, 3, 8, 12)).astype("f4") if kind == "vit" else rng.integers(0, 11, (2, 6)))
    assert (model(x).data != model(x).data).any()
    model.eval()
    np.testing.assert_array_equal(model(x).data, model(x).data)


def test_gpt_learns_a_sequence() -> None:
    flow.manual_seed(0)
    gpt = models.GPT(vocab_size=8, context=16, width=32, depth=1, heads=2)
    adam = flow.optim.Adam(gpt.parameters(), lr=1e-2)
    tokens = flow.tensor([[(3 * i + start) % 8 for i in range(17)] for start in range(8)])
    for _ in range(60):
        scores = gpt(tokens[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.05


def test_wrong_sizes_are_named() -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("vit", {"image_size": 30, "patch_size": 16}, r"that patch_size divides, got \(30, 30\) and \(16, 16\)"),
        ("vit", {"width": 10, "heads": 3}, "VisionTransformer: expected a width that heads divides, got 10 and 3"),
        ("vit", {"depth": 0}, "VisionTransformer: expected depth of at least 1, got 0"),
        ("vit", {"mlp_ratio": 0}, "a positive mlp_ratio, got 0"),
        ("vit", {"dropout": 2}, "a probability p between 0 and 1, got 2"),
        ("vit_tiny", {"width": 3}, "got an unexpected keyword argument 'width'; it takes"),
        ("gpt", {"context": 0}, "GPT: expected context of at least 1, got 0"),
        ("gpt", {"width": 9, "heads": 2}, "GPT: expected a width that heads divides, got 9 and 2"),
    ]
    for name, arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            models.create(name, **arguments)
    with pytest.raises(ShapeError, match=r"expected input \(N, C, 8, 12\), got \(2, 3, 12, 8\)"):
        models.VisionTransformer(**VIT)(flow.ones(2, 3, 12, 8))
    with pytest.raises(ShapeError, match=r"tokens \(N, T\) with T at most 7, got \(2, 8\)"):
        models.GPT(**GPT)(flow.zeros(2, 8, dtype=flow.int64))
    with pytest.raises(IndexError):
        models.GPT(**GPT)(flow.tensor([[0, 11]]))
