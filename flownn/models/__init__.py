"""Networks by name, so that a recipe can ask for one with arguments from a text file."""

from flownn.models.lenet import LeNet
from flownn.models.registry import create, names, register
from flownn.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50, resnet101, resnet_small

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "LeNet",
    "ResNet",
    "create",
    "names",
    "register",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet_small",
]
