"""Modules, parameters and their initial values."""

import importlib
from typing import Any

from flownn.nn import functional, init, utils
from flownn.nn.modules.activation import LogSoftmax, ReLU, Softmax
from flownn.nn.modules.container import ModuleDict, ModuleList, Sequential
from flownn.nn.modules.conv import Conv1d, Conv2d, Conv3d
from flownn.nn.modules.dropout import Dropout
from flownn.nn.modules.flatten import Flatten
from flownn.nn.modules.linear import Identity, Linear
from flownn.nn.modules.loss import CrossEntropyLoss, NLLLoss
from flownn.nn.modules.module import Module
from flownn.nn.modules.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from flownn.nn.modules.pad import (
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad2d,
    ReplicationPad2d,
    ZeroPad2d,
)
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
from flownn.nn.parameter import Parameter

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "COCOReader",
    "CoinFlip",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "CropMirrorNormalize",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordReader",
    "OfrecordRawDecoder",
    "OfrecordReader",
    "Parameter",
    "ReLU",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "Sequential",
    "Softmax",
    "ZeroPad2d",
    "functional",
    "image",
    "init",
    "parallel",
    "utils",
]


# Resolved on first use: `parallel` alone needs flowdist; these and `image` need the image and record libraries.
_DATA = (
    "COCOReader",
    "CoinFlip",
    "CropMirrorNormalize",
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordReader",
    "OfrecordRawDecoder",
    "OfrecordReader",
)


def __getattr__(name: str) -> Any:
    if name in ("image", "parallel"):
        return importlib.import_module(f"flownn.nn.{name}")
    if name in _DATA:
        return getattr(importlib.import_module("flownn.nn.modules.data"), name)
    raise AttributeError(f"module 'flownn.nn' has no attribute {name!r}")
