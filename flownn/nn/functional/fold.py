"""Windows of images as columns, and back, as functions."""

from __future__ import annotations

from flownn.errors import ShapeError
from flownn.nn.arguments import Sizes, ntuple
from flownn.ops import fold as ops
from flownn.tensor import Tensor

__all__ = ["fold", "unfold"]


def unfold(input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    """Each window of images (N, C, H, W) as a column; arguments as in `flownn.nn.Unfold`."""
    single = input.ndim == 3
    result = ops.unfold(
        input.unsqueeze(0) if single else input,
        kernel_size=ntuple(kernel_size, 2, "unfold.kernel_size", minimum=1),
        dilation=ntuple(dilation, 2, "unfold.dilation", minimum=1),
        padding=ntuple(padding, 2, "unfold.padding"),
        stride=ntuple(stride, 2, "unfold.stride", minimum=1),
    )
    return result.squeeze(0) if single else result


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Sum columns (N, C * elements of a window, windows) into images; arguments as in `flownn.nn.Fold`."""
    single = input.ndim == 2
    if input.ndim not in (2, 3):
        raise ShapeError(f"fold: expected 2 or 3 dims, got shape {tuple(input.data.shape)}")
    result = ops.fold(
        input.unsqueeze(0) if single else input,
        image_size=ntuple(output_size, 2, "fold.output_size", minimum=1),
        kernel_size=ntuple(kernel_size, 2, "fold.kernel_size", minimum=1),
        dilation=ntuple(dilation, 2, "fold.dilation", minimum=1),
        padding=ntuple(padding, 2, "fold.padding"),
        stride=ntuple(stride, 2, "fold.stride", minimum=1),
    )
    return result.squeeze(0) if single else result
