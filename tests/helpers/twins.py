"""Our models once more, of PyTorch's layers and with the same names; `torch` is the module."""

from __future__ import annotations

from typing import Any


def torch_lenet(torch: Any, num_classes: int = 10, image_size: int = 28) -> Any:
    side = (image_size // 2 - 4) // 2

    class LeNet(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
            self.conv2 = torch.nn.Conv2d(6, 16, 5)
            self.fc1 = torch.nn.Linear(16 * side * side, 120)
            self.fc2 = torch.nn.Linear(120, 84)
            self.fc3 = torch.nn.Linear(84, num_classes)

        def forward(self, x: Any) -> Any:
            for conv in (self.conv1, self.conv2):
                x = torch.nn.functional.max_pool2d(conv(x).relu(), 2)
            return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())

    return LeNet()


def torch_attention(x: Any, heads: int, mask: Any = None) -> Any:
    """Attention by its formula, from queries, keys and values side by side in (N, T, 3 * width)."""
    n, t, width = x.shape[0], x.shape[1], x.shape[2] // 3
    query, key, value = x.reshape(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / (width // heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2).reshape(n, t, width)


def torch_vit(
    torch: Any, image_size: tuple[int, int], patch_size: int, width: int, depth: int, heads: int, num_classes: int,
    mlp_ratio: float,
) -> Any:  # fmt: skip
    hidden, positions = int(width * mlp_ratio), image_size[0] * image_size[1] // patch_size**2 + 1
    linear, norm = torch.nn.Linear, torch.nn.LayerNorm

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = norm(width, eps=1e-6), norm(width, eps=1e-6)
            self.attn = torch.nn.ModuleDict({"qkv": linear(width, 3 * width), "proj": linear(width, width)})
            self.mlp = torch.nn.ModuleDict({"fc1": linear(width, hidden), "fc2": linear(hidden, width)})

        def forward(self, x: Any) -> Any:
            x = x + self.attn.proj(torch_attention(self.attn.qkv(self.norm1(x)), heads))
            return x + self.mlp.fc2(torch.nn.functional.gelu(self.mlp.fc1(self.norm2(x))))

    class VisionTransformer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cls_token = torch.nn.Parameter(torch.randn(1, 1, width))
            self.pos_embed = torch.nn.Parameter(torch.randn(1, positions, width))
            self.patch_embed = torch.nn.ModuleDict({"proj": torch.nn.Conv2d(3, width, patch_size, patch_size)})
            self.blocks = torch.nn.Sequential(*(Block() for _ in range(depth)))
            self.norm, self.head = norm(width, eps=1e-6), linear(width, num_classes)

        def forward(self, x: Any) -> Any:
            x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
            return self.head(self.norm(self.blocks(x))[:, 0])

    return VisionTransformer()


def torch_gpt(torch: Any, vocab_size: int, context: int, width: int, depth: int, heads: int) -> Any:
    linear, norm = torch.nn.Linear, torch.nn.LayerNorm

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = norm(width), norm(width)
            self.attn = torch.nn.ModuleDict({"c_attn": linear(width, 3 * width), "c_proj": linear(width, width)})
            self.mlp = torch.nn.ModuleDict({"c_fc": linear(width, 4 * width), "c_proj": linear(4 * width, width)})

        def forward(self, x: Any) -> Any:
            past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            x = x + self.attn.c_proj(torch_attention(self.attn.c_attn(self.ln_1(x)), heads, past))
            return x + self.mlp.c_proj(torch.nn.functional.gelu(self.mlp.c_fc(self.ln_2(x))))

    class GPT(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            parts = {"wte": torch.nn.Embedding(vocab_size, width), "wpe": torch.nn.Embedding(context, width)}
            blocks = {"h": torch.nn.Sequential(*(Block() for _ in range(depth))), "ln_f": norm(width)}
            self.transformer = torch.nn.ModuleDict({**parts, **blocks})
            self.lm_head = linear(width, vocab_size, bias=False)
            self.transformer.wte.weight = self.lm_head.weight

        def forward(self, tokens: Any) -> Any:
            x = self.transformer.wte(tokens) + self.transformer.wpe(torch.arange(tokens.shape[1]))
            return self.lm_head(self.transformer.ln_f(self.transformer.h(x)))

    return GPT()
