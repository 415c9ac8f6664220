"""The layers' arithmetic as functions of tensors, without modules to hold the parameters."""

from flownn.nn.functional.activation import log_softmax, relu, softmax
from flownn.nn.functional.conv import conv1d, conv2d, conv3d
from flownn.nn.functional.fold import fold, unfold
from flownn.nn.functional.loss import cross_entropy, nll_loss
from flownn.nn.functional.matmul import linear
from flownn.nn.functional.noise import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d
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
from flownn.nn.functional.unpool import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "fold",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "nll_loss",
    "pad",
    "relu",
    "softmax",
    "unfold",
]
