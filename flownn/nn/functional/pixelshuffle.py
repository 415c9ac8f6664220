"""Exchange of channels and pixels as functions."""

from __future__ import annotations

from flownn.nn.arguments import Sizes, ntuple
from flownn.ops import pixelshuffle
from flownn.tensor import Tensor

__all__ = ["pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(input: Tensor, upscale_factor: Sizes) -> Tensor:
    """Make (..., C*r*s, H, W) a tensor (..., C, H*r, W*s).

    Args:
        input: At least 3 dims.
        upscale_factor: r and s; one int means both.
    """
    factors = ntuple(upscale_factor, 2, "pixel_shuffle.upscale_factor", minimum=1)
    result: Tensor = pixelshuffle.pixel_shuffle(input, factors=factors)
    return result


def pixel_unshuffle(input: Tensor, downscale_factor: Sizes) -> Tensor:
    """Make (..., C, H*r, W*s) a tensor (..., C*r*s, H, W).

    Args:
        input: At least 3 dims.
        downscale_factor: r and s; one int means both.
    """
    factors = ntuple(downscale_factor, 2, "pixel_unshuffle.downscale_factor", minimum=1)
    result: Tensor = pixelshuffle.pixel_unshuffle(input, factors=factors)
    return result
