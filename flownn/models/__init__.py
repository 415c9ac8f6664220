"""Networks by name, so that a recipe can ask for one with arguments from a text file."""

from flownn.models.gpt import GPT
from flownn.models.lenet import LeNet
from flownn.models.registry import create, names, register
from flownn.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50, resnet101, resnet_small
from flownn.models.vit import VisionTransformer, vit_base, vit_small, vit_tiny

__all__ = [
    "GPT",
    "BasicBlock",
    "Bottleneck",
    "LeNet",
    "ResNet",
    "VisionTransformer",
    "create",
    "names",
    "register",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet_small",
    "vit_base",
    "vit_small",
    "vit_tiny",
]
