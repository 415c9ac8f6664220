"""Modules for pictures, under the names that OneFlow gives them."""

from flownn.nn.modules.data.objects import ImageBatchAlign as batch_align
from flownn.nn.modules.data.objects import ImageFlip as flip
from flownn.nn.modules.data.objects import ImageNormalize as normalize
from flownn.nn.modules.data.resize import ImageDecode as decode
from flownn.nn.modules.data.resize import ImageResize as Resize

__all__ = ["Resize", "batch_align", "decode", "flip", "normalize"]
