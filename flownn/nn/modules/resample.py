"""Resampling layers."""

from __future__ import annotations

from collections.abc import Sequence

from flownn.nn import functional as F
from flownn.nn.arguments import Sizes
from flownn.nn.functional.resample import Factors, check_resizing
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """Resample sequences, images or volumes to a size, or to a multiple of their own.

    Args:
        size: Positions per spatial dim of the result, one int for all or one for each; or else
        scale_factor: that many times those of the input, rounded down.
        mode: "nearest", "linear" (sequences), "bilinear" (images), "trilinear" (volumes), "bicubic" (images), or
            what else `flownn.nn.functional.interpolate` knows.
        align_corners: Align the centres of the first and last positions instead of their outer edges; for the linear
            and cubic modes. The result then depends on the input's size also inside.
        recompute_scale_factor: Use the ratio of the sizes for positions instead of ``scale_factor`` as given.

    Shape:
        Input (N, C, L), (N, C, H, W) or (N, C, D, H, W); output the same with L' = size or floor(L * scale_factor),
        and so on.

    Raises:
        ValueError: not exactly one of size and scale_factor, an unknown mode, or ``align_corners`` for one without.
        ShapeError: the input has a number of dims that the mode is not for, or a size would be 0.

    Reference:
        ``torch.nn.Upsample``; arguments and defaults as in ``oneflow.nn.Upsample``.

    >>> import flownn as flow
    >>> Upsample(scale_factor=2)(flow.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]], dtype=flownn.float32)
    """

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factors | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        check_resizing(type(self).__name__, size, scale_factor, mode, align_corners)
        self.size = size
        if isinstance(scale_factor, Sequence):
            self.scale_factor: Factors | None = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = None if scale_factor is None else float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Resample ``input``."""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        """Size or factor, and the mode."""
        goal = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{goal}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Resample images by taking the nearest pixel.

    Args:
        size: Height and width of the result in pixels, one int for both; or else
        scale_factor: that many times those of the input, rounded down.

    Shape:
        Input (N, C, H, W); output (N, C, H', W').

    Raises:
        ValueError: not exactly one of size and scale_factor.
        ShapeError: a size would be 0.

    Reference:
        ``torch.nn.UpsamplingNearest2d``; the same as `Upsample` with its default mode.

    >>> import flownn as flow
    >>> UpsamplingNearest2d(scale_factor=2)(flow.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]], dtype=flownn.float32)
    """

    def __init__(self, size: Sizes | None = None, scale_factor: Factors | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Resample images linearly in both directions, the centres of the corner pixels aligned.

    Args:
        size: Height and width of the result in pixels, one int for both; or else
        scale_factor: that many times those of the input, rounded down.

    Shape:
        Input (N, C, H, W); output (N, C, H', W').

    Raises:
        ValueError: not exactly one of size and scale_factor.
        ShapeError: another number of dims, or a size would be 0.

    Reference:
        ``torch.nn.UpsamplingBilinear2d``; the same as `Upsample` with mode "bilinear" and ``align_corners=True``.

    >>> import flownn as flow
    >>> UpsamplingBilinear2d(size=(1, 4))(flow.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1.0000, 1.3333, 1.6667, 2.0000]]]], dtype=flownn.float32)
    """

    def __init__(self, size: Sizes | None = None, scale_factor: Factors | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
