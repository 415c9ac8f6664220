"""Modules, parameters and their initial values."""

import importlib
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
from flownn.nn.modules.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d
from flownn.nn.modules.embedding import Embedding
from flownn.nn.modules.flatten import Flatten
from flownn.nn.modules.fold import Fold, Unfold
from flownn.nn.modules.fused import FusedMLP
from flownn.nn.modules.hard_activation import Hardshrink, Hardsigmoid, Hardswish, Hardtanh, ReLU6, Softshrink, Threshold
from flownn.nn.modules.layer_norm import GroupNorm, LayerNorm, RMSNorm
from flownn.nn.modules.linear import Identity, Linear
from flownn.nn.modules.loss.classes import CombinedMarginLoss, CrossEntropyLoss, NLLLoss
from flownn.nn.modules.loss.ctc import CTCLoss
from flownn.nn.modules.loss.distance import CosineEmbeddingLoss, MarginRankingLoss, TripletMarginLoss
from flownn.nn.modules.loss.elementwise import (
    BCELoss,
    BCEWithLogitsLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
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
from flownn.nn.modules.parameter_containers import ParameterDict, ParameterList
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
from flownn.nn.modules.quantize import FakeQuantization, MinMaxObserver, MovingAverageMinMaxObserver, Quantization
from flownn.nn.modules.resample import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d
from flownn.nn.modules.softmax import LogSoftmax, Softmax, Softmin
from flownn.nn.modules.transformer import (
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from flownn.nn.modules.unpool import (
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
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
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "COCOReader",
    "CTCLoss",
    "CoinFlip",
    "CombinedMarginLoss",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CropMirrorNormalize",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "FakeQuantization",
    "Flatten",
    "Fold",
    "FusedBatchNorm1d",
    "FusedBatchNorm2d",
    "FusedBatchNorm3d",
    "FusedMLP",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MinMaxObserver",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MovingAverageMinMaxObserver",
    "MultiheadAttention",
    "NLLLoss",
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordReader",
    "OfrecordRawDecoder",
    "OfrecordReader",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNLLLoss",
    "Quantization",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
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
    "TripletMarginLoss",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad2d",
    "functional",
    "image",
    "init",
    "parallel",
    "utils",
]

# Resolved on first use, by the module that holds them: they need flowdist, or flowdata and its image and record
# libraries, which those who train on one rank or read no records need not load.
_ON_FIRST_USE = {
    "COCOReader": "modules.data",
    "CoinFlip": "modules.data",
    "CropMirrorNormalize": "modules.data",
    "OFRecordBytesDecoder": "modules.data",
    "OFRecordImageDecoder": "modules.data",
    "OFRecordImageDecoderRandomCrop": "modules.data",
    "OFRecordRawDecoder": "modules.data",
    "OFRecordReader": "modules.data",
    "OfrecordRawDecoder": "modules.data",
    "OfrecordReader": "modules.data",
    "SyncBatchNorm": "modules.sync_batchnorm",
    "image": "image",
    "parallel": "parallel",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'flownn.nn' has no attribute {name!r}")
    module = importlib.import_module(f"flownn.nn.{_ON_FIRST_USE[name]}")
    return getattr(module, name, module)
