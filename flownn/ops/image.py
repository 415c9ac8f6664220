"""What is done to batches of images of one size before a network sees them."""

from __future__ import annotations

from typing import Any

from flownn.autograd import op


@op
def crop_mirror_normalize(
    xp: Any,
    images: Any,
    mirror: Any = None,
    *,
    window: tuple[int, int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels_first: bool = True,
) -> Any:
    """``(pixel - mean) * (1 / std)`` in float32 of one window (top, left, height, width) of images (N, H, W, C).

    Where ``mirror`` (N,) is not 0 the window is turned left to right.
    """
    top, left, height, width = window
    cut = images[:, top : top + height, left : left + width]
    if mirror is not None:
        cut = xp.where(mirror.reshape(-1, 1, 1, 1) != 0, cut[:, :, ::-1], cut)
    if channels_first:
        cut = cut.transpose(0, 3, 1, 2)
    shape = (-1, 1, 1) if channels_first else (-1,)
    mean, scale = (xp.asarray(each, xp.float32).reshape(shape) for each in (mean, [1 / each for each in std]))
    return (cut.astype(xp.float32, order="C") - mean) * scale, None
