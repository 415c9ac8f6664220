"""Encoded images to HWC uint8 arrays."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args

import cv2
import numpy as np

from flowdata.codec.encoding import encode_jpeg
from flowdata.codec.exif import Image, OrientationPolicy, Window, WindowOf, stored_window, upright, upright_size
from flowdata.codec.headers import MAX_PIXELS, ImageInfo, image_info
from flowdata.codec.jpeg import JpegLayout
from flowdata.codec.observed import calling
from flowdata.codec.providers import Provider, decode_by_nvimgcodec, resolve
from flowdata.codec.rows import RowOffsets, cut_below, cut_rows
from flowdata.errors import RecordError

ColorSpace = Literal["RGB", "BGR", "GRAY"]
COLOR_SPACES: tuple[ColorSpace, ...] = get_args(ColorSpace)

_DIRECT_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # newer OpenCV saves the conversion


def decode(
    data: bytes,
    color_space: ColorSpace = "RGB",
    max_pixels: int = MAX_PIXELS,
    *,
    orientation: OrientationPolicy = "ignore",
    window: WindowOf | None = None,
    rows: RowOffsets | None = None,
    provider: Provider = "cv2",
) -> Image:
    """Decode a JPEG, PNG, WebP or BMP file of any kind (gray, colour, CMYK, palette, alpha, 16 bits) to 8 bits.

    Gray sources are repeated into three channels for RGB and BGR; GRAY is the luminance. Transparency is dropped.
    16-bit samples are scaled to 8 bits. Of an animation the first picture counts.

    Args:
        data: The content of an image file.
        color_space: Order of the output's channels.
        max_pixels: Largest height times width that is accepted; checked before memory is taken.
        orientation: Whether to ``apply`` the orientation that EXIF data notes, or to ``ignore`` it.
        window: Called with height and width of the image; gives the part to return. All of it without.
        rows: Where the rows of blocks of a JPEG file begin, as :func:`flowdata.codec.row_offsets` says; only those
            that the window needs are decoded then. The pixels are the same.
        provider: Who decodes: ``cv2``, ``nvimgcodec``, which takes baseline JPEG files in colour and leaves the others
            to ``cv2``, or ``auto``, the second where it is usable. The pixels are the same.

    Returns:
        Array of shape (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        RecordError: the file is bad, see :func:`flowdata.codec.image_info`, or the decoder refuses it; or
            ``rows`` are not those of the file.
    """
    info = image_info(data, max_pixels)
    turn = info.orientation if orientation == "apply" else 1
    part: Window = (0, 0, info.height, info.width)
    if window is not None:
        part = stored_window(window(*upright_size(info.height, info.width, turn)), info.height, info.width, turn)
    return upright(_decode_window(data, info, color_space, part, rows, provider), turn)


def decode_foreign(data: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode what else OpenCV reads (TIFF, GIF, JPEG 2000, …), in RGB or, where the file is gray, in GRAY.

    Only for converting: pipelines read the formats of :func:`decode`, whose files are checked first. OpenCV itself
    refuses more than 2**30 pixels before it takes memory; ``max_pixels`` is checked afterwards.

    Args:
        data: The content of an image file.
        max_pixels: Largest height times width that is accepted.

    Raises:
        RecordError: OpenCV does not read it, or it has too many pixels.
    """
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # also raised for no bytes at all
        image = None
    if image is None:
        raise RecordError(f"no image that OpenCV reads: {len(data)} bytes that start with {data[:8]!r}")
    height, width = image.shape[:2]
    if height * width > max_pixels:
        raise RecordError(f"image of {height} x {width} pixels is over the limit of {max_pixels} pixels")
    return np.asarray(image[:, :, np.newaxis] if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _decode_window(
    data: bytes, info: ImageInfo, color_space: ColorSpace, window: Window, rows: RowOffsets | None, provider: Provider
) -> Image:
    """The window (top, left, height, width) of the stored image."""
    top, left, height, width = window
    layout, have = info.layout, info.height
    if rows is not None:
        if layout is None:
            raise RecordError(f"row offsets need a JPEG file, found {info.format}")
        data, start, have = cut_rows(data, layout, rows, top, height)
        top -= start
    ordinary = layout is not None and layout.baseline and layout.single_scan and layout.components == 3
    if ordinary and color_space != "GRAY" and resolve(provider) == "nvimgcodec":
        calling("nvimgcodec", data, (top, left, height, width))
        image = decode_by_nvimgcodec(data, (top, left, height, width), bgr=color_space == "BGR")
        if image is not None:
            return image
    if layout is not None and rows is None and _refuses_broken_off_data():
        image = _decode_above(data, layout, top + height, color_space)
        if image is not None:
            return image[top : top + height, left : left + width]
    return _decode_by_cv2(data, info, have, color_space)[top : top + height, left : left + width]


def _decode_above(data: bytes, layout: JpegLayout, bottom: int, color_space: ColorSpace) -> Image | None:
    """The image down to a little below the pixel row ``bottom``; None where all of it has to be decoded.

    That is also so where damage makes a decoder run out of data: what it says of the whole file is what counts.
    """
    shorter = cut_below(data, layout, bottom)
    if shorter is None:
        return None
    try:
        image = _imdecode(shorter[0], color_space)
    except cv2.error:
        return None
    return image if image is not None and image.shape[:2] == (shorter[1], layout.width) else None


def _decode_by_cv2(data: bytes, info: ImageInfo, height: int, color_space: ColorSpace) -> Image:
    """All of the data, which are ``height`` rows of the image that ``info`` tells of."""
    what = f"{info.format} image of {info.height} x {info.width} pixels"
    try:
        image = _imdecode(data, color_space)
    except cv2.error as error:
        raise RecordError(f"{what}: {error}") from None
    if image is None:
        raise RecordError(f"{what} cannot be decoded; it is damaged")
    if image.shape[:2] != (height, info.width):
        raise RecordError(f"{what}: the decoder found {image.shape[0]} x {image.shape[1]}; it is damaged")
    return image


def _imdecode(data: bytes | bytearray, color_space: ColorSpace) -> Image | None:
    """What OpenCV makes of a file; None if it refuses it, where it does not raise ``cv2.error``."""
    if color_space == "GRAY":
        flags = cv2.IMREAD_GRAYSCALE
    elif color_space == "RGB" and _DIRECT_RGB is not None:
        flags = _DIRECT_RGB
    else:
        flags = cv2.IMREAD_COLOR
    calling("cv2", data)
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return None
    if color_space == "GRAY":
        return np.asarray(image)[:, :, np.newaxis]
    if color_space == "RGB" and _DIRECT_RGB is None:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image)


@cache
def _refuses_broken_off_data() -> bool:
    """Whether this OpenCV refuses a JPEG whose data end before its last row; some fill up what is missing."""
    y, x = np.mgrid[0:64, 0:48]
    data = encode_jpeg(np.stack([5 * x, 3 * y, x * y % 256], axis=-1).astype(np.uint8), 90, "4:4:4")
    return cv2.imdecode(np.frombuffer(data[: len(data) // 2], np.uint8), cv2.IMREAD_COLOR) is None
