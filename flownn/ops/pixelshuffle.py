"""Exchange of channels and pixels, for convolutions with a stride below 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError

__all__ = ["pixel_shuffle", "pixel_unshuffle"]


@op
def pixel_shuffle(xp: Any, x: Array, *, factors: Sequence[int]) -> Any:
    """Make x (..., C*r*s, H, W) an array (..., C, H*r, W*s) for ``factors`` (r, s) (Shi et al., 2016).

    Raises:
        ShapeError: the channels are no multiple of ``r * s``, or there are fewer than 3 dims.
    """
    r, s = factors
    if x.ndim < 3 or x.shape[-3] % (r * s):
        raise ShapeError(f"pixel_shuffle: expected input (..., C*{r}*{s}, H, W), got shape {tuple(x.shape)}")
    return _shuffled(xp, x, r, s), lambda g: (_unshuffled(xp, g, r, s),)


@op
def pixel_unshuffle(xp: Any, x: Array, *, factors: Sequence[int]) -> Any:
    """Undo `pixel_shuffle`: make x (..., C, H*r, W*s) an array (..., C*r*s, H, W).

    Raises:
        ShapeError: the pixels are no multiples of ``r`` and ``s``, or there are fewer than 3 dims.
    """
    r, s = factors
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % s:
        raise ShapeError(f"pixel_unshuffle: expected input (..., C, H*{r}, W*{s}), got shape {tuple(x.shape)}")
    return _unshuffled(xp, x, r, s), lambda g: (_shuffled(xp, g, r, s),)


def _shuffled(xp: Any, x: Array, r: int, s: int) -> Array:
    *batch, channels, height, width = x.shape
    parts = x.reshape(*batch, channels // (r * s), r, s, height, width)
    mixed: Array = xp.moveaxis(parts, (-4, -3), (-3, -1))  # (..., C, H, r, W, s)
    return mixed.reshape(*batch, channels // (r * s), height * r, width * s)


def _unshuffled(xp: Any, x: Array, r: int, s: int) -> Array:
    *batch, channels, height, width = x.shape
    parts = x.reshape(*batch, channels, height // r, r, width // s, s)
    sorted_: Array = xp.moveaxis(parts, (-3, -1), (-4, -3))  # (..., C, r, s, H, W)
    return sorted_.reshape(*batch, channels * r * s, height // r, width // s)
