"""Modules, parameters and their initial values."""

from typing import Any

from flownn.nn import functional, init, utils
from flownn.nn.modules.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from flownn.nn.modules.attention import MultiheadAttention
from flownn.nn.modules.container import ModuleDict, ModuleList, Sequential
from flownn.nn.modules.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from flownn.nn.modules.dropout import Dropout
from flownn.nn.modules.embedding import Embedding
from flownn.nn.modules.flatten import Flatten
from flownn.nn.modules.fused import FusedMLP
from flownn.nn.modules.hard_activation import Hardshrink, Hardsigmoid, Hardswish, Hardtanh, ReLU6, Softshrink, Threshold
from flownn.nn.modules.layer_norm import GroupNorm, LayerNorm, RMSNorm
from flownn.nn.modules.linear import Identity, Linear
from flownn.nn.modules.loss import CrossEntropyLoss, NLLLoss
from flownn.nn.modules.module import Module
from flownn.nn.modules.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    FusedBatchNorm1d,
    FusedBatchNorm2d,
    FusedBatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from flownn.nn.modules.pad import (
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad2d,
    ReplicationPad2d,
    ZeroPad2d,
)
from flownn.nn.modules.pixelshuffle import PixelShufflev2 as PixelShuffle
from flownn.nn.modules.pixelshuffle import PixelUnshuffle
from flownn.nn.modules.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from flownn.nn.modules.resample import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d
from flownn.nn.modules.softmax import LogSoftmax, Softmax, Softmin
from flownn.nn.modules.transformer import (
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from flownn.nn.parameter import Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "FusedBatchNorm1d",
    "FusedBatchNorm2d",
    "FusedBatchNorm3d",
    "FusedMLP",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SyncBatchNorm",
    "Tanh",
    "Threshold",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad2d",
    "functional",
    "init",
    "parallel",
    "utils",
]

# What needs flowdist, which those who train on one rank need not load.
_ON_FIRST_USE = {"SyncBatchNorm": "flownn.nn.modules.sync_batchnorm", "parallel": "flownn.nn.parallel"}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        import importlib

        module = importlib.import_module(_ON_FIRST_USE[name])
        return getattr(module, name, module)
    raise AttributeError(f"module 'flownn.nn' has no attribute {name!r}")
