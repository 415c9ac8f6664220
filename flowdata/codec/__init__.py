"""Image files to HWC uint8 arrays and back; the only place that calls the image library's coders.

libjpeg and libpng may write warnings about damaged files to stderr; there is no switch.
"""

from flowdata.codec.decoding import COLOR_SPACES, ColorSpace, decode, decode_foreign
from flowdata.codec.encoding import Subsampling, encode_jpeg, encode_png
from flowdata.codec.exif import ORIENTATION_POLICIES, Image, OrientationPolicy, Window, WindowOf
from flowdata.codec.headers import MAX_PIXELS, ImageInfo, image_info, image_size, is_known_format

__all__ = [
    "COLOR_SPACES",
    "MAX_PIXELS",
    "ORIENTATION_POLICIES",
    "ColorSpace",
    "Image",
    "ImageInfo",
    "OrientationPolicy",
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
]
