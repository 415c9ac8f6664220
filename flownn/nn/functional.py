"""The layers' arithmetic as functions of tensors, without modules to hold the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownn.errors import ShapeError
from flownn.inplace import replace
from flownn.nn.arguments import adaptive_sizes, conv_padding, ntuple, pad_pairs, softmax_axis
from flownn.ops import activation, loss, matmul, noise, norm
from flownn.ops import conv as conv_ops
from flownn.ops import pad as pad_ops
from flownn.ops import pool as pool_ops
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

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
    "nll_loss",
    "pad",
    "relu",
    "softmax",
]

Sizes = int | Sequence[int]


def _conv(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    name = f"conv{n}d"
    steps, gaps = ntuple(stride, n, f"{name}.stride", minimum=1), ntuple(dilation, n, f"{name}.dilation", minimum=1)
    if weight.data.ndim != n + 2:
        raise ShapeError(f"{name}: expected a weight with {n + 2} dims, got shape {tuple(weight.data.shape)}")
    zeros = conv_padding(padding, weight.data.shape[2:], steps, gaps, name)
    result: Tensor = conv_ops.conv(input, weight, bias, stride=steps, padding=zeros, dilation=gaps, groups=groups)
    return result


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate sequences (N, C, L) with filters (O, C / groups, K); arguments as in `flownn.nn.Conv1d`."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate images (N, C, H, W) with filters (O, C / groups, kH, kW); arguments as in `flownn.nn.Conv2d`."""
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate volumes (N, C, D, H, W) with filters (O, C / groups, kD, kH, kW); see `flownn.nn.Conv3d`."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _max_pool(
    n: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{n}d"
    pool = pool_ops.max_pool_with_indices if return_indices else pool_ops.max_pool
    return pool(
        input,
        kernel_size=ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1),
        stride=ntuple(kernel_size if stride is None else stride, n, f"{name}.stride", minimum=1),
        padding=ntuple(padding, n, f"{name}.padding"),
        dilation=ntuple(dilation, n, f"{name}.dilation", minimum=1),
        ceil_mode=ceil_mode,
    )


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of every window of sequences (N, C, L); arguments as in `flownn.nn.MaxPool1d`."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of every window of images (N, C, H, W); arguments as in `flownn.nn.MaxPool2d`."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of every window of volumes (N, C, D, H, W); arguments as in `flownn.nn.MaxPool3d`."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    n: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
) -> Tensor:
    name = f"avg_pool{n}d"
    result: Tensor = pool_ops.avg_pool(
        input,
        kernel_size=ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1),
        stride=ntuple(kernel_size if stride is None else stride, n, f"{name}.stride", minimum=1),
        padding=ntuple(padding, n, f"{name}.padding"),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    return result


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of every window of sequences (N, C, L); arguments as in `flownn.nn.AvgPool1d`."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, 0)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int = 0,
) -> Tensor:
    """Mean of every window of images (N, C, H, W); arguments as in `flownn.nn.AvgPool2d`."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int = 0,
) -> Tensor:
    """Mean of every window of volumes (N, C, D, H, W); arguments as in `flownn.nn.AvgPool3d`."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_avg_pool(n: int, input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    sizes = adaptive_sizes(output_size, n, f"adaptive_avg_pool{n}d.output_size")
    result: Tensor = pool_ops.adaptive_avg_pool(input, output_size=sizes)
    return result


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of ``output_size`` windows over sequences (N, C, L); see `flownn.nn.AdaptiveAvgPool1d`."""
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of ``output_size`` windows over images (N, C, H, W); see `flownn.nn.AdaptiveAvgPool2d`."""
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of ``output_size`` windows over volumes (N, C, D, H, W); see `flownn.nn.AdaptiveAvgPool3d`."""
    return _adaptive_avg_pool(3, input, output_size)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """Extend the last dims of ``input``.

    Args:
        input: Any tensor.
        pad: Elements (left, right) of the last dim, then of the one before it, and so on.
        mode: "constant", "reflect", "replicate" or "circular".
        value: What new elements hold in mode "constant"; there negative numbers crop.

    Raises:
        ShapeError: more dims than ``input`` has, or more elements than the mode can read.
    """
    result: Tensor = pad_ops.pad(input, padding=pad_pairs(pad, "pad"), mode=mode, value=value)
    return result


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias`` for input (..., in), weight (out, in) and bias (out,)."""
    result: Tensor = matmul.linear(input, weight, bias)
    return result


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Normalise each channel of ``input`` (N, C, ...); with ``training`` moves the running statistics in place.

    Raises:
        ShapeError: one value per channel, in training.
    """
    result: Tensor = norm.batch_norm(
        input,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=training,
        momentum=momentum,
        eps=eps,
    )
    return result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; with ``inplace`` in the memory of ``input``."""
    if inplace:
        replace(input, "relu(inplace=True)", activation.relu)
        return input
    result: Tensor = activation.relu(input)
    return result


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Zero elements with probability ``p`` in training and scale the others by ``1 / (1 - p)``.

    Args:
        input: Any floating point tensor.
        p: Probability of zeroing, 0 to 1.
        training: Without it ``input`` is returned.
        inplace: Write the result into the memory of ``input``.
        generator: Where to draw from; None means the default generator.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability p between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    draw = generator or default_generator
    if inplace:
        replace(input, "dropout(inplace=True)", noise.dropout, p=p, generator=draw)
        return input
    result: Tensor = noise.dropout(input, p=p, generator=draw)
    return result


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``; None means 0 for 0, 1 or 3 dims, else 1."""
    result: Tensor = loss.softmax(input, axis=softmax_axis("softmax", dim, input.data.ndim))
    return result


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``log(softmax(input, dim))``, exact also where the softmax underflows."""
    result: Tensor = loss.log_softmax(input, axis=softmax_axis("log_softmax", dim, input.data.ndim))
    return result


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of classes ``target``; arguments as in `flownn.nn.NLLLoss`."""
    result: Tensor = loss.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)
    return result


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of ``target`` under scores ``input``; arguments as in `flownn.nn.CrossEntropyLoss`."""
    result: Tensor = loss.cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )
    return result
