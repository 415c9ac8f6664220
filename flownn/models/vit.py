"""Vision transformers."""

from __future__ import annotations

from collections.abc import Sequence

from flownn import nn
from flownn.errors import ShapeError
from flownn.models.registry import register
from flownn.models.transformer import check_sizes, draw_weights, self_attention
from flownn.nn import init
from flownn.nn.arguments import ntuple
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.ops.shape import cat
from flownn.tensor import Tensor

__all__ = ["VisionTransformer", "vit_base", "vit_small", "vit_tiny"]


class _PatchEmbed(nn.Module):
    """Cut an image into patches and turn each into a vector: (N, C, H, W) to (N, patches, width)."""

    def __init__(self, channels: int, patch_size: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, input: Tensor) -> Tensor:
        patches: Tensor = self.proj(input)
        return patches.flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.proj_drop(self.proj(self_attention(self.qkv(input), self.heads)))
        return result


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, width)
        self.drop2 = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.drop2(self.fc2(self.drop1(self.act(self.fc1(input)))))
        return result


class _Block(nn.Module):
    """Attention and a two-layer network, each behind a norm and beside a short cut."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width, int(width * mlp_ratio), dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = input + self.attn(self.norm1(input))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


@register("vit")
class VisionTransformer(nn.Module):
    """A transformer over the patches of an image and one more vector, from which the classes are told.

    Args:
        image_size: Height and width of the input in pixels; one int means both.
        patch_size: Height and width of a patch in pixels; divides the image's.
        width: Features of a patch.
        depth: Number of blocks.
        heads: Parts of the features that attend independently; divides the width.
        mlp_ratio: Hidden features of a block's two-layer network over the width.
        num_classes: Size of the output.
        dropout: Probability of dropping a feature behind the positions and every projection but those to queries,
            keys, values and classes.
        in_channels: Channels of the input.

    Shape:
        Input (N, in_channels, H, W) of the image size; output (N, num_classes).

    Raises:
        ValueError: sizes below 1 or that do not divide.
        ShapeError: an input of another size.

    Reference:
        Dosovitskiy et al., 2021; names of parameters, order of layers and initial values as in timm.

    >>> import flownn as flow
    >>> VisionTransformer(image_size=8, patch_size=4, width=16, depth=1, heads=2)(flow.randn(2, 3, 8, 8)).shape
    flownn.Size([2, 1000])
    """

    cls_token: Parameter
    pos_embed: Parameter

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        dropout: float = 0.0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        name = "VisionTransformer"
        check_sizes(name, width=width, depth=depth, heads=heads, num_classes=num_classes, in_channels=in_channels)
        self.image_size = ntuple(image_size, 2, f"{name}.image_size", 1)
        patch = ntuple(patch_size, 2, f"{name}.patch_size", 1)
        if any(size % part for size, part in zip(self.image_size, patch, strict=True)):
            raise ValueError(
                f"{name}: expected an image_size that patch_size divides, got {self.image_size} and {patch}"
            )
        if int(width * mlp_ratio) < 1:
            raise ValueError(f"{name}: expected a positive mlp_ratio, got {mlp_ratio}")
        positions = (self.image_size[0] // patch[0]) * (self.image_size[1] // patch[1]) + 1
        self.cls_token = empty_parameter(1, 1, width)
        self.pos_embed = empty_parameter(1, positions, width)
        self.patch_embed = _PatchEmbed(in_channels, patch, width)
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_Block(width, heads, mlp_ratio, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self.apply(draw_weights)
        init.normal_(self.cls_token, std=1e-6)
        init.normal_(self.pos_embed, std=0.02)

    def forward(self, input: Tensor) -> Tensor:
        """Scores of the classes."""
        if input.data.ndim != 4 or input.data.shape[2:] != self.image_size:
            height, width = self.image_size
            raise ShapeError(f"VisionTransformer: expected input (N, C, {height}, {width}), got {tuple(input.shape)}")
        patches = self.patch_embed(input)
        x = cat([self.cls_token.expand(len(patches), -1, -1), patches], 1)
        x = self.norm(self.blocks(self.pos_drop(x + self.pos_embed)))
        scores: Tensor = self.head(x[:, 0])
        return scores


def _named(
    width: int, heads: int, num_classes: int, image_size: int | Sequence[int], dropout: float, in_channels: int
) -> VisionTransformer:
    return VisionTransformer(
        image_size, width=width, heads=heads, num_classes=num_classes, dropout=dropout, in_channels=in_channels
    )


@register("vit_tiny")
def vit_tiny(
    num_classes: int = 1000, image_size: int | Sequence[int] = 224, dropout: float = 0.0, in_channels: int = 3
) -> VisionTransformer:
    """ViT-Ti/16, 192 features in 3 heads, 12 blocks; arguments as in `VisionTransformer`."""
    return _named(192, 3, num_classes, image_size, dropout, in_channels)


@register("vit_small")
def vit_small(
    num_classes: int = 1000, image_size: int | Sequence[int] = 224, dropout: float = 0.0, in_channels: int = 3
) -> VisionTransformer:
    """ViT-S/16, 384 features in 6 heads, 12 blocks; arguments as in `VisionTransformer`."""
    return _named(384, 6, num_classes, image_size, dropout, in_channels)


@register("vit_base")
def vit_base(
    num_classes: int = 1000, image_size: int | Sequence[int] = 224, dropout: float = 0.0, in_channels: int = 3
) -> VisionTransformer:
    """ViT-B/16, 768 features in 12 heads, 12 blocks; arguments as in `VisionTransformer`."""
    return _named(768, 12, num_classes, image_size, dropout, in_channels)
