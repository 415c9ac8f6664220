"""HWC uint8 images to JPEG and PNG files."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from flowdata.codec.exif import Image

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
_SUBSAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


def encode_jpeg(
    image: Image,
    quality: int = 95,
    subsampling: Subsampling = "4:2:0",
    color_space: str = "RGB",
    *,
    row_restarts: bool = False,
) -> bytes:
    """Encode an image as baseline JPEG.

    Args:
        image: uint8 array of shape (height, width), (height, width, 1) or (height, width, 3).
        quality: 0 to 100.
        subsampling: Resolution of the colour channels; without effect on gray images.
        color_space: Order of the three channels, RGB or BGR; without effect on gray images.
        row_restarts: Write a restart marker after each row of blocks (of units, MCUs), which lets
            :func:`flowdata.codec.decode` decode the rows of a window alone.

    Raises:
        ValueError: an argument is out of range or the image has another shape or dtype.
    """
    if not 0 <= quality <= 100:
        raise ValueError(f"encode_jpeg: expected quality from 0 to 100, got {quality}")
    if subsampling not in _SUBSAMPLING:
        raise ValueError(f"encode_jpeg: expected subsampling {', '.join(_SUBSAMPLING)}, got {subsampling!r}")
    image = _checked(image)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SUBSAMPLING[subsampling]]
    if row_restarts:
        unit = 8 if image.shape[2] == 1 or subsampling == "4:4:4" else 16
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, -(-image.shape[1] // unit)]
    return _encode(".jpg", image, color_space, options)


def encode_png(image: Image, color_space: str = "RGB") -> bytes:
    """Encode an image as PNG, without loss.

    Args:
        image: uint8 array of shape (height, width), (height, width, 1) or (height, width, 3).
        color_space: Order of the three channels, RGB or BGR; without effect on gray images.

    Raises:
        ValueError: the image has another shape or dtype.
    """
    return _encode(".png", _checked(image), color_space, [])


def _checked(image: Image) -> Image:
    """The image as (height, width, 1 or 3)."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"encode: expected uint8 (height, width, 1 or 3), got {image.dtype} {image.shape}")
    return image


def _encode(extension: str, image: Image, color_space: str, options: list[int]) -> bytes:
    if color_space not in ("RGB", "BGR"):
        raise ValueError(f"encode: expected color_space RGB or BGR, got {color_space!r}")
    if image.shape[2] == 3 and color_space == "RGB":
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(extension, image, options)
    if not done:
        raise ValueError(f"encode: the encoder refused a {image.shape} image as {extension}")
    return bytes(content)
