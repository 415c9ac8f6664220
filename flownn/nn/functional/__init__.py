"""The layers' arithmetic as functions of tensors, without modules to hold the parameters."""

from flownn.nn.functional.activation import log_softmax, relu, softmax
from flownn.nn.functional.attention import multi_head_attention_forward, scaled_dot_product_attention
from flownn.nn.functional.conv import conv1d, conv2d, conv3d
from flownn.nn.functional.loss import cross_entropy, nll_loss
from flownn.nn.functional.matmul import linear
from flownn.nn.functional.noise import dropout
from flownn.nn.functional.norm import batch_norm
from flownn.nn.functional.padding import pad
from flownn.nn.functional.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "cross_entropy",
    "dropout",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "multi_head_attention_forward",
    "nll_loss",
    "pad",
    "relu",
    "scaled_dot_product_attention",
    "softmax",
]
