"""Readers, decoders and image normalization as modules: thin skins on the sources and stages of `flowdata`.

They keep OneFlow's contract: a reader is called without arguments, knows no end of an epoch and always gives a full
batch; part files are split over the ranks of the job. No module here has parameters or buffers, so none of them shows
in a ``state_dict``.

All work is done in the call, in the calling thread: no thread or process reads ahead, so nothing is left behind and
nothing has to be closed. Where preprocessing should run beside training, use a `flowdata.Pipeline` with worker
processes; from the same seed it makes the same arrays.
"""

from flownn.nn.modules.data.coco import COCOReader
from flownn.nn.modules.data.image import CoinFlip, CropMirrorNormalize
from flownn.nn.modules.data.ofrecord import (
    OFRecordBytesDecoder,
    OFRecordImageDecoder,
    OFRecordImageDecoderRandomCrop,
    OFRecordRawDecoder,
    OFRecordReader,
)

__all__ = [
    "COCOReader",
    "CoinFlip",
    "CropMirrorNormalize",
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordReader",
    "OfrecordRawDecoder",
    "OfrecordReader",
]

OfrecordReader = OFRecordReader
OfrecordRawDecoder = OFRecordRawDecoder
