"""Pooling as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownn.nn.arguments import Sizes, adaptive_sizes, ntuple
from flownn.ops import pool as pool_ops
from flownn.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


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
