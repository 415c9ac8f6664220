"""Modules for pictures, under the names that OneFlow gives them."""

from flownn.nn.modules.data.resize import ImageDecode as decode
from flownn.nn.modules.data.resize import ImageResize as Resize

__all__ = ["Resize", "decode"]
