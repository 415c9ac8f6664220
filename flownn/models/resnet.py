"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from flownn import nn
from flownn.models.registry import register
from flownn.nn import init
from flownn.nn.modules.norm import norm_add_relu
from flownn.tensor import Tensor

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet_small"]


def _conv3x3(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)


def _conv1x1(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a short cut.

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        stride: Pixels between the windows of the first convolution.
        downsample: What brings the input to the output's shape on the short cut.

    Shape:
        Input (N, channels, H, W); output (N, width, H', W'), H' = (H - 1) // stride + 1.

    Reference:
        He et al., 2016a.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def start_as_identity(self) -> None:
        """Set the weight of the norm before the sum to 0, so that only the short cut counts at first."""
        if self.bn2.weight is not None:
            init.zeros_(self.bn2.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        x = norm_add_relu(self.bn1, self.relu, self.conv1(input))
        short_cut = input if self.downsample is None else self.downsample(input)
        return norm_add_relu(self.bn2, self.relu, self.conv2(x), short_cut)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, beside a short cut.

    Args:
        channels: Channels of the input.
        width: Channels in the middle; the output has four times as many.
        stride: Pixels between the windows of the 3x3 convolution.
        downsample: What brings the input to the output's shape on the short cut.

    Shape:
        Input (N, channels, H, W); output (N, 4 * width, H', W'), H' = (H - 1) // stride + 1.

    Reference:
        He et al., 2016a, with the stride in the middle as torchvision has it.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = _conv1x1(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv1x1(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def start_as_identity(self) -> None:
        """Set the weight of the norm before the sum to 0, so that only the short cut counts at first."""
        if self.bn3.weight is not None:
            init.zeros_(self.bn3.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the block."""
        x = norm_add_relu(self.bn1, self.relu, self.conv1(input))
        x = norm_add_relu(self.bn2, self.relu, self.conv2(x))
        short_cut = input if self.downsample is None else self.downsample(input)
        return norm_add_relu(self.bn3, self.relu, self.conv3(x), short_cut)


class ResNet(nn.Module):
    """A stem, stages of residual blocks that halve the image, and a linear classifier over the mean pixel.

    Args:
        block: The kind of block.
        blocks: Number of blocks per stage.
        num_classes: Size of the output.
        in_channels: Channels of the input.
        widths: Channels of the stages' blocks, before their expansion.
        small_stem: A 3x3 convolution with stride 1 and no pooling in front, for images of about 8 to 64 pixels,
            instead of 7x7 with stride 2 and max pooling.
        dropout: Probability of dropping a feature in front of the classifier.
        zero_init_residual: Start with blocks that are the identity: their last norm's weight is 0.

    Shape:
        Input (N, in_channels, H, W); output (N, num_classes).

    Reference:
        He et al., 2016a; names of parameters as in torchvision.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        small_stem: bool = False,
        dropout: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths) or not blocks:
            raise ValueError(f"ResNet: expected as many widths as blocks, got {tuple(widths)} and {tuple(blocks)}")
        channels = widths[0]
        self.conv1 = (
            _conv3x3(in_channels, channels)
            if small_stem
            else nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for number, (name, count, width) in enumerate(zip(self.stages, blocks, widths, strict=True)):
            stage = nn.Sequential()
            for index in range(count):
                stride = 2 if number and not index else 1
                out = width * block.expansion
                short_cut = None
                if stride > 1 or channels != out:
                    short_cut = nn.Sequential(_conv1x1(channels, out, stride), nn.BatchNorm2d(out))
                stage.append(block(channels, width, stride, short_cut))
                channels = out
            self.add_module(name, stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                module.start_as_identity()

    def forward(self, input: Tensor) -> Tensor:
        """Scores of the classes."""
        x = self.maxpool(norm_add_relu(self.bn1, self.relu, self.conv1(input)))
        for name in self.stages:
            x = getattr(self, name)(x)
        scores: Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return scores


@register("resnet18")
def resnet18(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, zero_init_residual: bool = False
) -> ResNet:
    """ResNet-18; arguments as in `ResNet`."""
    return ResNet(
        BasicBlock, (2, 2, 2, 2), num_classes, in_channels, dropout=dropout, zero_init_residual=zero_init_residual
    )


@register("resnet34")
def resnet34(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, zero_init_residual: bool = False
) -> ResNet:
    """ResNet-34; arguments as in `ResNet`."""
    return ResNet(
        BasicBlock, (3, 4, 6, 3), num_classes, in_channels, dropout=dropout, zero_init_residual=zero_init_residual
    )


@register("resnet50")
def resnet50(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, zero_init_residual: bool = False
) -> ResNet:
    """ResNet-50; arguments as in `ResNet`."""
    return ResNet(
        Bottleneck, (3, 4, 6, 3), num_classes, in_channels, dropout=dropout, zero_init_residual=zero_init_residual
    )


@register("resnet101")
def resnet101(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, zero_init_residual: bool = False
) -> ResNet:
    """ResNet-101; arguments as in `ResNet`."""
    return ResNet(
        Bottleneck, (3, 4, 23, 3), num_classes, in_channels, dropout=dropout, zero_init_residual=zero_init_residual
    )


@register("resnet_small")
def resnet_small(
    num_classes: int = 10,
    in_channels: int = 3,
    widths: Sequence[int] = (16, 32, 64),
    blocks: Sequence[int] = (1, 1, 1),
    dropout: float = 0.0,
    zero_init_residual: bool = False,
) -> ResNet:
    """A small ResNet for images of about 8 to 64 pixels: 3x3 stem without pooling; arguments as in `ResNet`."""
    return ResNet(
        BasicBlock,
        blocks,
        num_classes,
        in_channels,
        widths,
        small_stem=True,
        dropout=dropout,
        zero_init_residual=zero_init_residual,
    )
