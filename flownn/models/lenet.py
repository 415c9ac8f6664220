"""LeNet-5 with rectifiers and max pooling."""

from __future__ import annotations

from flownn import nn
from flownn.models.registry import register
from flownn.nn import functional as F
from flownn.tensor import Tensor

__all__ = ["LeNet"]


@register("lenet")
class LeNet(nn.Module):
    """Two convolutions and three linear layers.

    Args:
        num_classes: Size of the output.
        in_channels: Channels of the input.
        image_size: Height and width of the input in pixels, at least 12.

    Shape:
        Input (N, in_channels, image_size, image_size); output (N, num_classes).

    Reference:
        LeCun et al., 1998; with ReLU and max pooling, and padding 2 so that 28 pixels give the paper's sizes.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        side = (image_size // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet: expected image_size of at least 12 pixels, got {image_size}")
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Scores of the classes."""
        x = F.max_pool2d(F.relu(self.conv1(input)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        scores: Tensor = self.fc3(F.relu(self.fc2(x)))
        return scores
