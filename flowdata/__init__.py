"""Records in, batches of arrays out.

The names below are resolved on first use, so ``import flowdata`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdata.audit import Audit
    from flowdata.batch_transforms import batch_transform
    from flowdata.config import Config, find_config, load_config, validate
    from flowdata.dataset import DatasetInfo, SplitInfo, dataset_of
    from flowdata.errors import ConfigError, DataError, RecordError, StageError, WorkerError
    from flowdata.loader import Loader
    from flowdata.mixing import CutMix, MixUp, MixUpOrCutMix
    from flowdata.pipeline import Pipeline
    from flowdata.pipeline_config import load_pipeline, pipeline_from
    from flowdata.records.wire import Feature
    from flowdata.records.writer import PartWriter, write_parts
    from flowdata.sample import ArraySpec, Batch, Sample, SampleKey
    from flowdata.seeding import sample_rng
    from flowdata.sharding import ShardSpec, split_range, split_sizes
    from flowdata.sources.coco import COCOSource
    from flowdata.sources.function import FunctionSource, as_source
    from flowdata.sources.images import ImageFiles
    from flowdata.sources.ofrecord import OFRecordSource
    from flowdata.sources.order import Buffered, Sequential, Shuffled
    from flowdata.stages import Cut, stage
    from flowdata.stages.affine import Affine, Rotate
    from flowdata.stages.augment import RandAugment, TrivialAugment
    from flowdata.stages.boxes import ObjectBboxFlip, ObjectBboxScale
    from flowdata.stages.color import (
        AutoContrast,
        ColorJitter,
        Equalize,
        GaussianBlur,
        Grayscale,
        Posterize,
        Sharpness,
        Solarize,
    )
    from flowdata.stages.crop import CenterCrop, Flip, Pad, RandomCrop
    from flowdata.stages.decode import (
        ImageDecoder,
        OFRecordBytesDecoder,
        OFRecordImageDecoder,
        OFRecordImageDecoderRandomCrop,
        OFRecordRawDecoder,
    )
    from flowdata.stages.draw import CoinFlip
    from flowdata.stages.erase import RandomErasing
    from flowdata.stages.geometry import ImageFlip, Resize
    from flowdata.stages.masks import (
        ObjectSegmentationPolygonFlip,
        ObjectSegmentationPolygonScale,
        ObjectSegmentationPolygonToMask,
    )
    from flowdata.stages.normalize import CropMirrorNormalize, ImageNormalize

_HOME = {
    "Affine": "flowdata.stages.affine",
    "ArraySpec": "flowdata.sample",
    "Audit": "flowdata.audit",
    "AutoContrast": "flowdata.stages.color",
    "Batch": "flowdata.sample",
    "Buffered": "flowdata.sources.order",
    "COCOSource": "flowdata.sources.coco",
    "CenterCrop": "flowdata.stages.crop",
    "CoinFlip": "flowdata.stages.draw",
    "ColorJitter": "flowdata.stages.color",
    "Config": "flowdata.config",
    "ConfigError": "flowdata.errors",
    "CropMirrorNormalize": "flowdata.stages.normalize",
    "Cut": "flowdata.stages",
    "CutMix": "flowdata.mixing",
    "DataError": "flowdata.errors",
    "DatasetInfo": "flowdata.dataset",
    "Equalize": "flowdata.stages.color",
    "Feature": "flowdata.records.wire",
    "ImageBatchAlign": "flowdata.batch_align",
    "ImageDecoder": "flowdata.stages.decode",
    "Flip": "flowdata.stages.crop",
    "FunctionSource": "flowdata.sources.function",
    "GaussianBlur": "flowdata.stages.color",
    "Grayscale": "flowdata.stages.color",
    "ImageFiles": "flowdata.sources.images",
    "ImageFlip": "flowdata.stages.geometry",
    "ImageNormalize": "flowdata.stages.normalize",
    "Loader": "flowdata.loader",
    "MixUp": "flowdata.mixing",
    "MixUpOrCutMix": "flowdata.mixing",
    "OFRecordBytesDecoder": "flowdata.stages.decode",
    "OFRecordImageDecoder": "flowdata.stages.decode",
    "OFRecordImageDecoderRandomCrop": "flowdata.stages.decode",
    "OFRecordRawDecoder": "flowdata.stages.decode",
    "OFRecordSource": "flowdata.sources.ofrecord",
    "ObjectBboxFlip": "flowdata.stages.boxes",
    "ObjectBboxScale": "flowdata.stages.boxes",
    "ObjectSegmentationPolygonFlip": "flowdata.stages.masks",
    "ObjectSegmentationPolygonScale": "flowdata.stages.masks",
    "ObjectSegmentationPolygonToMask": "flowdata.stages.masks",
    "Pad": "flowdata.stages.crop",
    "PartWriter": "flowdata.records.writer",
    "Pipeline": "flowdata.pipeline",
    "Posterize": "flowdata.stages.color",
    "RandAugment": "flowdata.stages.augment",
    "RandomCrop": "flowdata.stages.crop",
    "RandomErasing": "flowdata.stages.erase",
    "RecordError": "flowdata.errors",
    "Resize": "flowdata.stages.geometry",
    "Rotate": "flowdata.stages.affine",
    "Sample": "flowdata.sample",
    "SampleKey": "flowdata.sample",
    "Sequential": "flowdata.sources.order",
    "ShardSpec": "flowdata.sharding",
    "Sharpness": "flowdata.stages.color",
    "Shuffled": "flowdata.sources.order",
    "Solarize": "flowdata.stages.color",
    "SplitInfo": "flowdata.dataset",
    "StageError": "flowdata.errors",
    "TrivialAugment": "flowdata.stages.augment",
    "WorkerError": "flowdata.errors",
    "as_source": "flowdata.sources.function",
    "batch_transform": "flowdata.batch_transforms",
    "dataset_of": "flowdata.dataset",
    "find_config": "flowdata.config",
    "load_config": "flowdata.config",
    "load_pipeline": "flowdata.pipeline_config",
    "pipeline_from": "flowdata.pipeline_config",
    "sample_rng": "flowdata.seeding",
    "split_range": "flowdata.sharding",
    "split_sizes": "flowdata.sharding",
    "stage": "flowdata.stages",
    "validate": "flowdata.config",
    "write_parts": "flowdata.records.writer",
}

__all__ = [
    "Affine",
    "ArraySpec",
    "Audit",
    "AutoContrast",
    "Batch",
    "Buffered",
    "COCOSource",
    "CenterCrop",
    "CoinFlip",
    "ColorJitter",
    "Config",
    "ConfigError",
    "CropMirrorNormalize",
    "Cut",
    "CutMix",
    "DataError",
    "DatasetInfo",
    "Equalize",
    "Feature",
    "Flip",
    "FunctionSource",
    "GaussianBlur",
    "Grayscale",
    "ImageBatchAlign",
    "ImageDecoder",
    "ImageFiles",
    "ImageFlip",
    "ImageNormalize",
    "Loader",
    "MixUp",
    "MixUpOrCutMix",
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordSource",
    "ObjectBboxFlip",
    "ObjectBboxScale",
    "ObjectSegmentationPolygonFlip",
    "ObjectSegmentationPolygonScale",
    "ObjectSegmentationPolygonToMask",
    "Pad",
    "PartWriter",
    "Pipeline",
    "Posterize",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RecordError",
    "Resize",
    "Rotate",
    "Sample",
    "SampleKey",
    "Sequential",
    "ShardSpec",
    "Sharpness",
    "Shuffled",
    "Solarize",
    "SplitInfo",
    "StageError",
    "TrivialAugment",
    "WorkerError",
    "as_source",
    "batch_transform",
    "dataset_of",
    "find_config",
    "load_config",
    "load_pipeline",
    "pipeline_from",
    "sample_rng",
    "split_range",
    "split_sizes",
    "stage",
    "validate",
    "write_parts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
