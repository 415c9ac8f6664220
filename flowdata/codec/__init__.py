"""Image files to HWC uint8 arrays and back; the only place that calls the image library's coders.

libjpeg and libpng may write warnings about damaged files to stderr; there is no switch.
"""

from flowdata.codec.decoding import COLOR_SPACES, ColorSpace, decode, decode_foreign
from flowdata.codec.encoding import Subsampling, encode_jpeg, encode_png
from flowdata.codec.exif import ORIENTATION_POLICIES, Image, OrientationPolicy, Window, WindowOf
from flowdata.codec.headers import MAX_PIXELS, ImageInfo, image_info, image_size, is_known_format
from flowdata.codec.providers import PROVIDERS, Provider
from flowdata.codec.rows import RowOffsets, row_offsets

__all__ = [
    "COLOR_SPACES",
    "MAX_PIXELS",
    "ORIENTATION_POLICIES",
    "PROVIDERS",
    "ColorSpace",
    "Image",
    "ImageInfo",
    "OrientationPolicy",
    "Provider",
    "RowOffsets",
    "Subsampling",
    "Window",
    "WindowOf",
    "decode",
    "decode_foreign",
    "encode_jpeg",
    "encode_png",
    "image_info",
    "image_size",
    "is_known_format",
    "row_offsets",
]
