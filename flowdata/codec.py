"""JPEG and PNG bytes to HWC uint8 images and back; the only place that calls the image library's coders.

What counts as a bad file is decided here from headers and end markers, before the decoder sees it, so the answer does
not depend on the decoder: OpenCV fills the missing rest of a JPEG with grey in some versions and refuses it in others.
EXIF orientation is ignored. libjpeg and libpng may write warnings about damaged files to stderr; there is no switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from flowdata.errors import RecordError

ColorSpace = Literal["RGB", "BGR", "GRAY"]
COLOR_SPACES: tuple[ColorSpace, ...] = get_args(ColorSpace)
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

MAX_PIXELS = 2**26

Image = NDArray[np.uint8]

_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette holds RGB
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_SUBSAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
_DIRECT_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # newer OpenCV saves the conversion


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the headers of an encoded image say.

    Args:
        format: ``JPEG`` or ``PNG``.
        height: Height in pixels.
        width: Width in pixels.
        components: Colour components as stored, such as 1 for gray, 3 for YCbCr, 4 for CMYK.
        baseline: Whether it is a baseline JPEG.
    """

    format: Literal["JPEG", "PNG"]
    height: int
    width: int
    components: int
    baseline: bool


def image_info(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read the headers of an encoded image and check that it is whole.

    Args:
        data: The content of an image file.
        max_pixels: Largest height times width that is accepted.

    Raises:
        RecordError: unknown format, damaged headers, no end marker, or too many pixels.
    """
    if data[:3] == _JPEG_MAGIC:
        info = _jpeg_info(data)
    elif data[:8] == _PNG_MAGIC:
        info = _png_info(data)
    else:
        found = f"{len(data)} bytes that start with {data[:8].hex(' ')}" if data else "no bytes at all"
        raise RecordError(f"expected a JPEG or PNG image, found {found}")
    if not (info.height and info.width):
        raise RecordError(f"{info.format} header is damaged: it says {info.height} x {info.width} pixels")
    if info.height * info.width > max_pixels:
        raise RecordError(
            f"{info.format} image of {info.height} x {info.width} pixels is over the limit of {max_pixels} pixels"
        )
    return info


def decode(data: bytes, color_space: ColorSpace = "RGB", max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a JPEG or PNG file of any kind (gray, colour, CMYK, palette, alpha, 16 bits) to 8 bits per channel.

    Gray sources are repeated into three channels for RGB and BGR; GRAY is the luminance. Transparency is dropped.
    16-bit samples are scaled to 8 bits.

    Args:
        data: The content of an image file.
        color_space: Order of the output's channels.
        max_pixels: Largest height times width that is accepted; checked before memory is taken.

    Returns:
        Array of shape (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        RecordError: the file is bad, see :func:`image_info`, or the decoder refuses it.
    """
    info = image_info(data, max_pixels)
    if color_space == "GRAY":
        flags = cv2.IMREAD_GRAYSCALE
    elif color_space == "RGB" and _DIRECT_RGB is not None:
        flags = _DIRECT_RGB
    else:
        flags = cv2.IMREAD_COLOR
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise RecordError(f"{info.format} image of {info.height} x {info.width} pixels: {error}") from None
    if image is None:
        raise RecordError(
            f"{info.format} image of {info.height} x {info.width} pixels cannot be decoded; it is damaged"
        )
    if color_space == "GRAY":
        return np.asarray(image)[:, :, np.newaxis]
    if color_space == "RGB" and _DIRECT_RGB is None:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image)


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, from its headers.

    Raises:
        RecordError: the file is bad, see :func:`image_info`.
    """
    info = image_info(data)
    return info.height, info.width


def encode_jpeg(image: Image, quality: int = 95, subsampling: Subsampling = "4:2:0", color_space: str = "RGB") -> bytes:
    """Encode an image as baseline JPEG.

    Args:
        image: uint8 array of shape (height, width), (height, width, 1) or (height, width, 3).
        quality: 0 to 100.
        subsampling: Resolution of the colour channels; without effect on gray images.
        color_space: Order of the three channels, RGB or BGR; without effect on gray images.

    Raises:
        ValueError: an argument is out of range or the image has another shape or dtype.
    """
    if not 0 <= quality <= 100:
        raise ValueError(f"encode_jpeg: expected quality from 0 to 100, got {quality}")
    if subsampling not in _SUBSAMPLING:
        raise ValueError(f"encode_jpeg: expected subsampling {', '.join(_SUBSAMPLING)}, got {subsampling!r}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SUBSAMPLING[subsampling]]
    return _encode(".jpg", image, color_space, options)


def encode_png(image: Image, color_space: str = "RGB") -> bytes:
    """Encode an image as PNG, without loss.

    Args:
        image: uint8 array of shape (height, width), (height, width, 1) or (height, width, 3).
        color_space: Order of the three channels, RGB or BGR; without effect on gray images.

    Raises:
        ValueError: the image has another shape or dtype.
    """
    return _encode(".png", image, color_space, [])


def _encode(extension: str, image: Image, color_space: str, options: list[int]) -> bytes:
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"encode: expected uint8 (height, width, 1 or 3), got {image.dtype} {image.shape}")
    if color_space not in ("RGB", "BGR"):
        raise ValueError(f"encode: expected color_space RGB or BGR, got {color_space!r}")
    if image.shape[2] == 3 and color_space == "RGB":
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(extension, image, options)
    if not done:
        raise ValueError(f"encode: the encoder refused a {image.shape} image as {extension}")
    return bytes(content)


def _jpeg_info(data: bytes) -> ImageInfo:
    """Walk the segments up to the first scan; the end marker must come after it (a thumbnail has its own before)."""
    info = None
    position = 2
    while True:
        if data[position : position + 1] != b"\xff":
            raise _damaged(data, position, "a marker")
        while data[position : position + 1] == b"\xff":  # any number of fill bytes
            position += 1
        marker = data[position] if position < len(data) else 0
        length = int.from_bytes(data[position + 1 : position + 3])
        end = position + 1 + length
        if marker in (0x00, 0xD8, 0xD9) or length < 2 or end > len(data):
            raise _damaged(data, position - 1, "a whole header segment")
        if marker in _START_OF_FRAME:
            if length < 8:
                raise _damaged(data, position - 1, "a frame header")
            height, width = (int.from_bytes(data[at : at + 2]) for at in (position + 4, position + 6))
            info = ImageInfo("JPEG", height, width, data[position + 8], marker == 0xC0)
        elif marker == _START_OF_SCAN:
            break
        position = end
    if info is None:
        raise _damaged(data, position - 1, "a frame header before the first scan")
    # Entropy-coded data has no 0xFF that is followed by 0xD9, so this cannot be part of the picture.
    if not data.endswith(_JPEG_END) and data.rfind(_JPEG_END, end) < 0:
        raise RecordError(
            f"JPEG image of {info.height} x {info.width} pixels has no end marker in its {len(data)} bytes; it was "
            f"cut short"
        )
    return info


def _damaged(data: bytes, position: int, expected: str) -> RecordError:
    found = data[position : position + 4].hex(" ") or "the end"
    return RecordError(f"JPEG header is damaged: expected {expected} at byte {position} of {len(data)}, found {found}")


def _png_info(data: bytes) -> ImageInfo:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise RecordError(f"PNG header is damaged: expected an IHDR chunk at byte 8, found {data[8:16].hex(' ')}")
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    if not data.endswith(_PNG_END) and data.rfind(_PNG_END, 33) < 0:
        raise RecordError(
            f"PNG image of {height} x {width} pixels has no end chunk in its {len(data)} bytes; it was cut short"
        )
    return ImageInfo("PNG", height, width, _PNG_CHANNELS.get(data[25], 0), False)
