"""Putting maxima back, and adaptive max pooling, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownn.errors import ShapeError
from flownn.nn.arguments import Sizes, adaptive_sizes, ntuple
from flownn.ops import unpool as ops
from flownn.tensor import Tensor

__all__ = [
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    name = f"MaxUnpool{n}d"
    kernel = ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1)
    steps = ntuple(kernel if stride is None else stride, n, f"{name}.stride", minimum=1)
    pads = ntuple(padding, n, f"{name}.padding")
    shape = input.data.shape
    if len(shape) not in (n + 1, n + 2):
        form = ", ".join("DHW"[-n:])
        raise ShapeError(f"{name}: expected input (N, C, {form}) or (C, {form}), got shape {tuple(shape)}")
    usual = [(size - 1) * s - 2 * p + k for size, s, p, k in zip(shape[-n:], steps, pads, kernel, strict=True)]
    wanted = usual if output_size is None else [int(size) for size in output_size]
    if len(wanted) in (n + 1, n + 2):
        wanted = wanted[-n:]
    if len(wanted) != n:
        raise ValueError(f"{name}: expected an output_size of {n} spatial sizes or of all, got {output_size!r}")
    if any(abs(size - u) >= s for size, u, s in zip(wanted, usual, steps, strict=True)):
        raise ValueError(
            f"{name}: expected an output_size less than the stride {steps} from {tuple(usual)}, got {tuple(wanted)}"
        )
    return ops.max_unpool(input, indices, output_size=tuple(wanted))


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put maxima (N, C, L) back to ``indices``; arguments as in `flownn.nn.MaxUnpool1d`."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put maxima (N, C, H, W) back to ``indices``; arguments as in `flownn.nn.MaxUnpool2d`."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put maxima (N, C, D, H, W) back to ``indices``; arguments as in `flownn.nn.MaxUnpool3d`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _adaptive_max_pool(n: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    sizes = adaptive_sizes(output_size, n, f"adaptive_max_pool{n}d.output_size")
    return (ops.adaptive_max_pool_with_indices if return_indices else ops.adaptive_max_pool)(input, output_size=sizes)


def adaptive_max_pool1d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Maxima of ``output_size`` windows over sequences (N, C, L); see `flownn.nn.AdaptiveMaxPool1d`."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


def adaptive_max_pool2d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Maxima of ``output_size`` windows over images (N, C, H, W); see `flownn.nn.AdaptiveMaxPool2d`."""
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(
    input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Maxima of ``output_size`` windows over volumes (N, C, D, H, W); see `flownn.nn.AdaptiveMaxPool3d`."""
    return _adaptive_max_pool(3, input, output_size, return_indices)
