"""The layers' arithmetic as functions of tensors, without modules to hold the parameters."""

from flownn.nn.functional.activation import log_softmax, relu, softmax
from flownn.nn.functional.attention import multi_head_attention_forward, scaled_dot_product_attention
from flownn.nn.functional.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    threshold,
)
from flownn.nn.functional.conv import conv1d, conv2d, conv3d
from flownn.nn.functional.lookup import embedding, one_hot
from flownn.nn.functional.loss import cross_entropy, nll_loss
from flownn.nn.functional.matmul import linear
from flownn.nn.functional.noise import dropout
from flownn.nn.functional.norm import batch_norm
from flownn.nn.functional.padding import pad
from flownn.nn.functional.pixelshuffle import pixel_shuffle, pixel_unshuffle
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
from flownn.nn.functional.resample import interpolate

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "interpolate",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "multi_head_attention_forward",
    "mish",
    "nll_loss",
    "one_hot",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "scaled_dot_product_attention",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "threshold",
]
