"""What the headers of an encoded image say, and whether the file is whole.

What counts as a bad file is decided here, before a decoder sees it, so that the answer is the same for every decoder
and for every part of the picture: OpenCV fills the missing rest of a JPEG with grey in some versions and refuses it in
others, and a decoder of the top half does not notice that the bottom is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flowdata.codec.exif import orientation_in
from flowdata.codec.jpeg import MAGIC, JpegLayout, read_layout
from flowdata.errors import RecordError

Format = Literal["JPEG", "PNG", "WebP", "BMP"]
MAX_PIXELS = 2**26

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette holds RGB
_BMP_CORE_HEADER = 12  # bytes; the 16-bit header of OS/2, every other one begins like that of Windows 3
_BMP_PLAIN = (0, 3, 6)  # kinds of compression that are none: RGB and bit fields
_BMP_RUN_LENGTH = (1, 2)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the headers of an encoded image say.

    Args:
        format: ``JPEG``, ``PNG``, ``WebP`` or ``BMP``.
        height: Height in pixels, as stored.
        width: Width in pixels, as stored.
        components: Colour components as stored, such as 1 for gray, 3 for YCbCr, 4 for CMYK or RGB with alpha.
        baseline: Whether it is a baseline JPEG.
        orientation: How EXIF data says the picture is to be turned, 1 to 8; 1 is upright.
        layout: Where the parts of a JPEG file are; None for other formats.
    """

    format: Format
    height: int
    width: int
    components: int
    baseline: bool = False
    orientation: int = 1
    layout: JpegLayout | None = field(default=None, compare=False, repr=False)


def image_info(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read the headers of an encoded image and check that it is whole.

    Args:
        data: The content of an image file.
        max_pixels: Largest height times width that is accepted.

    Raises:
        RecordError: unknown format, damaged structure, a missing end, or too many pixels.
    """
    if data[:3] == MAGIC:
        info = _jpeg_info(data)
    elif data[:8] == _PNG_MAGIC:
        info = _png_info(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        info = _webp_info(data)
    elif data[:2] == b"BM":
        info = _bmp_info(data)
    else:
        found = f"{len(data)} bytes that start with {data[:8].hex(' ')}" if data else "no bytes at all"
        raise RecordError(f"expected a JPEG, PNG, WebP or BMP image, found {found}")
    if info.height < 1 or info.width < 1:
        raise RecordError(f"{info.format} header is damaged: it says {info.height} x {info.width} pixels")
    if info.height * info.width > max_pixels:
        raise RecordError(
            f"{info.format} image of {info.height} x {info.width} pixels is over the limit of {max_pixels} pixels"
        )
    return info


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, as stored.

    Raises:
        RecordError: the file is bad, see :func:`image_info`.
    """
    info = image_info(data)
    return info.height, info.width


def is_known_format(data: bytes) -> bool:
    """Whether the content starts like a JPEG, PNG, WebP or BMP file."""
    return data.startswith((MAGIC, _PNG_MAGIC, b"BM")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _jpeg_info(data: bytes) -> ImageInfo:
    layout = read_layout(data)
    return ImageInfo(
        "JPEG", layout.height, layout.width, layout.components, layout.baseline, layout.orientation, layout
    )


# -- PNG -------------------------------------------------------------------------------------------------------------


def _png_info(data: bytes) -> ImageInfo:
    """Walk the chunks up to the end chunk; each is a length, a name, content and a checksum."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise RecordError(f"PNG header is damaged: expected an IHDR chunk at byte 8, found {data[8:16].hex(' ')}")
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    orientation = 1
    position = 8
    while data[position + 4 : position + 8] != b"IEND":
        if data[position + 4 : position + 8] == b"eXIf":
            orientation = orientation_in(
                data[position + 8 : position + 8 + int.from_bytes(data[position : position + 4])]
            )
        position += 12 + int.from_bytes(data[position : position + 4])
        if position + 12 > len(data):
            raise RecordError(
                f"PNG image of {height} x {width} pixels has no end chunk in its {len(data)} bytes; it was cut short"
            )
    return ImageInfo("PNG", height, width, _PNG_CHANNELS.get(data[25], 0), orientation=orientation)


# -- WebP ------------------------------------------------------------------------------------------------------------


def _webp_info(data: bytes) -> ImageInfo:
    """Walk the chunks of the RIFF container; each is a name, a length and content, padded to an even length."""
    size = int.from_bytes(data[4:8], "little") + 8
    if size > len(data):
        raise RecordError(f"WebP image of {size} bytes is cut short: found {len(data)} bytes")
    height = width = 0
    alpha, orientation = False, 1
    has_picture = False
    position = 12
    while position + 8 <= size:
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        at, end = position + 8, position + 8 + length
        if end > size:
            raise RecordError(
                f"WebP chunk at byte {position} passes the end of the image: {length} bytes, {size - at} left"
            )
        content = data[at : min(end, at + 16)]
        if name == b"VP8X" and length >= 10:  # the canvas; the picture's own header follows in a chunk of its own
            alpha = bool(content[0] & 0x10)
            width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (4, 7))
        elif name == b"VP8 " and length >= 10 and content[3:6] == b"\x9d\x01\x2a":
            has_picture = True
            if not width:
                width, height = (int.from_bytes(content[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        elif name == b"VP8L" and length >= 5 and content[0] == 0x2F:
            has_picture = True
            if not width:
                bits = int.from_bytes(content[1:5], "little")
                width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
        elif name == b"ANMF":
            has_picture = True
        elif name == b"EXIF":
            orientation = orientation_in(data[at:end].removeprefix(b"Exif\0\0"))
        position = end + (length & 1)
    if not has_picture:
        raise RecordError(f"WebP image of {size} bytes is damaged: it has no chunk that holds a picture")
    return ImageInfo("WebP", height, width, 4 if alpha else 3, orientation=orientation)


# -- BMP -------------------------------------------------------------------------------------------------------------


def _bmp_info(data: bytes) -> ImageInfo:
    def number(at: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(data[at : at + size], "little", signed=signed)

    header = number(14, 4)
    if len(data) < 14 + header or header < _BMP_CORE_HEADER or _BMP_CORE_HEADER < header < 40:
        raise RecordError(f"BMP header is damaged: it says {header} bytes, the file has {len(data)}")
    if header == _BMP_CORE_HEADER:
        width, height, bits, compression, stored, colours = number(18, 2), number(20, 2), number(24, 2), 0, 0, 0
        entry = 3
    else:
        width, height = number(18, 4, signed=True), abs(number(22, 4, signed=True))  # negative: top row first
        bits, compression, stored, colours, entry = number(28, 2), number(30, 4), number(34, 4), number(46, 4), 4
    if compression in _BMP_PLAIN:
        stored = (width * bits + 31) // 32 * 4 * height
    elif compression not in _BMP_RUN_LENGTH or not stored:
        raise RecordError(f"BMP header is damaged: it says compression {compression} and {stored} bytes of pixels")
    if number(10, 4) + stored > len(data):
        raise RecordError(
            f"BMP image of {height} x {width} pixels needs {number(10, 4) + stored} bytes, found {len(data)}; it was "
            f"cut short"
        )
    return ImageInfo("BMP", height, width, _bmp_components(data, 14 + header, bits, colours, entry))


def _bmp_components(data: bytes, palette_at: int, bits: int, colours: int, entry: int) -> int:
    """4 with alpha, 1 where the palette is all gray, else 3."""
    if bits > 8:
        return 4 if bits == 32 else 3
    palette = data[palette_at : palette_at + entry * (colours or 1 << bits)]
    gray = palette[0::entry] == palette[1::entry] == palette[2::entry]
    return 1 if gray else 3
