"""Convolutions as functions."""

from __future__ import annotations

from flownn.errors import ShapeError
from flownn.nn.arguments import Sizes, conv_padding, ntuple, transposed_padding
from flownn.ops import conv as conv_ops
from flownn.tensor import Tensor

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


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
    _check_weight(name, weight, n)
    zeros = conv_padding(padding, weight.data.shape[2:], steps, gaps, name)
    result: Tensor = conv_ops.conv(input, weight, bias, stride=steps, padding=zeros, dilation=gaps, groups=groups)
    return result


def _conv_transpose(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    name = f"conv_transpose{n}d"
    steps, gaps = ntuple(stride, n, f"{name}.stride", minimum=1), ntuple(dilation, n, f"{name}.dilation", minimum=1)
    _check_weight(name, weight, n)
    dropped = transposed_padding(
        ntuple(padding, n, f"{name}.padding"), ntuple(output_padding, n, f"{name}.output_padding"), steps, gaps, name
    )
    result: Tensor = conv_ops.conv_transpose(
        input, weight, bias, stride=steps, padding=dropped, dilation=gaps, groups=groups
    )
    return result


def _check_weight(name: str, weight: Tensor, n: int) -> None:
    if weight.data.ndim != n + 2:
        raise ShapeError(f"{name}: expected a weight with {n + 2} dims, got shape {tuple(weight.data.shape)}")


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


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Spread sequences (N, C, L) with filters (C, O / groups, K); see `flownn.nn.ConvTranspose1d`."""
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Spread images (N, C, H, W) with filters (C, O / groups, kH, kW); see `flownn.nn.ConvTranspose2d`."""
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Spread volumes (N, C, D, H, W) with filters (C, O / groups, kD, kH, kW); see `flownn.nn.ConvTranspose3d`."""
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
