"""Layers that exchange channels and pixels."""

from __future__ import annotations

from flownn.nn import functional as F
from flownn.nn.arguments import ntuple
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["PixelShufflev2", "PixelUnshuffle"]


class PixelShufflev2(Module):
    """Turn groups of channels into blocks of pixels: a convolution before it gets a stride of 1 / upscale_factor.

    Also known as ``PixelShuffle``.

    Args:
        upscale_factor: How many times higher and wider the result is; or else both of
        h_upscale_factor: how many times higher,
        w_upscale_factor: and how many times wider.

    Shape:
        Input (..., C * h_upscale_factor * w_upscale_factor, H, W);
        output (..., C, H * h_upscale_factor, W * w_upscale_factor).

    Raises:
        ValueError: ``upscale_factor`` together with the others, only one of those, or a factor below 1.
        ShapeError: the channels are no multiple of the factors, or there are fewer than 3 dims.

    Reference:
        Shi et al., 2016; ``torch.nn.PixelShuffle`` for ``upscale_factor``, ``oneflow.nn.PixelShuffle`` for the rest.

    >>> import flownn as flow
    >>> PixelShufflev2(2)(flow.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]))
    tensor([[[1., 2.],
             [3., 4.]]], dtype=flownn.float32)
    """

    def __init__(
        self,
        upscale_factor: int | None = None,
        h_upscale_factor: int | None = None,
        w_upscale_factor: int | None = None,
    ) -> None:
        super().__init__()
        single = (h_upscale_factor, w_upscale_factor)
        if (upscale_factor is None and None in single) or (upscale_factor is not None and single != (None, None)):
            raise ValueError(
                "PixelShuffle: expected upscale_factor, or else both h_upscale_factor and w_upscale_factor, got "
                f"{upscale_factor}, {h_upscale_factor} and {w_upscale_factor}"
            )
        factors = single if upscale_factor is None else upscale_factor
        self.h_upscale_factor, self.w_upscale_factor = ntuple(factors, 2, "PixelShuffle.upscale_factor", minimum=1)

    def forward(self, input: Tensor) -> Tensor:
        """Rearrange ``input``."""
        return F.pixel_shuffle(input, (self.h_upscale_factor, self.w_upscale_factor))

    def extra_repr(self) -> str:
        """Both factors."""
        return f"w_upscale_factor={self.w_upscale_factor}, h_upscale_factor={self.h_upscale_factor}"


class PixelUnshuffle(Module):
    """Turn blocks of pixels into groups of channels; undoes `PixelShufflev2`.

    Args:
        downscale_factor: How many times lower and narrower the result is.

    Shape:
        Input (..., C, H * downscale_factor, W * downscale_factor); output (..., C * downscale_factor**2, H, W).

    Raises:
        ValueError: a factor below 1.
        ShapeError: the pixels are no multiple of the factor, or there are fewer than 3 dims.

    Reference:
        ``torch.nn.PixelUnshuffle``.

    >>> import flownn as flow
    >>> PixelUnshuffle(2)(flow.ones(1, 4, 6)).shape
    flownn.Size([4, 2, 3])
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        ntuple(downscale_factor, 1, "PixelUnshuffle.downscale_factor", minimum=1)
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Rearrange ``input``."""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"downscale_factor={self.downscale_factor}"
