"""Records in, batches of arrays out.

The names below are resolved on first use, so ``import flowdata`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdata.config import Config, find_config, load_config, validate
    from flowdata.dataset import DatasetInfo, SplitInfo, dataset_of
    from flowdata.errors import ConfigError, DataError, RecordError, StageError, WorkerError
    from flowdata.loader import Loader
    from flowdata.pipeline import Pipeline
    from flowdata.pipeline_config import load_pipeline, pipeline_from
    from flowdata.records.wire import Feature
    from flowdata.records.writer import PartWriter, write_parts
    from flowdata.sample import ArraySpec, Batch, Sample, SampleKey
    from flowdata.seeding import sample_rng
    from flowdata.sharding import ShardSpec, split_range, split_sizes
    from flowdata.sources.coco import COCOSource
    from flowdata.sources.images import ImageFiles
    from flowdata.sources.ofrecord import OFRecordSource
    from flowdata.sources.order import Buffered, Sequential, Shuffled
    from flowdata.stages import batch_stage, stage
    from flowdata.stages.batch import ImageBatchAlign
    from flowdata.stages.boxes import ObjectBboxFlip, ObjectBboxScale
    from flowdata.stages.decode import (
        ImageDecoder,
        OFRecordBytesDecoder,
        OFRecordImageDecoder,
        OFRecordImageDecoderRandomCrop,
        OFRecordRawDecoder,
    )
    from flowdata.stages.draw import CoinFlip
    from flowdata.stages.geometry import ImageFlip, Resize
    from flowdata.stages.masks import (
        ObjectSegmentationPolygonFlip,
        ObjectSegmentationPolygonScale,
        ObjectSegmentationPolygonToMask,
    )
    from flowdata.stages.normalize import CropMirrorNormalize, ImageNormalize

_HOME = {
    "ArraySpec": "flowdata.sample",
    "Batch": "flowdata.sample",
    "Buffered": "flowdata.sources.order",
    "COCOSource": "flowdata.sources.coco",
    "CoinFlip": "flowdata.stages.draw",
    "Config": "flowdata.config",
    "ConfigError": "flowdata.errors",
    "CropMirrorNormalize": "flowdata.stages.normalize",
    "DataError": "flowdata.errors",
    "DatasetInfo": "flowdata.dataset",
    "Feature": "flowdata.records.wire",
    "ImageBatchAlign": "flowdata.stages.batch",
    "ImageDecoder": "flowdata.stages.decode",
    "ImageFiles": "flowdata.sources.images",
    "ImageFlip": "flowdata.stages.geometry",
    "ImageNormalize": "flowdata.stages.normalize",
    "Loader": "flowdata.loader",
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
    "PartWriter": "flowdata.records.writer",
    "Pipeline": "flowdata.pipeline",
    "RecordError": "flowdata.errors",
    "Resize": "flowdata.stages.geometry",
    "Sample": "flowdata.sample",
    "SampleKey": "flowdata.sample",
    "Sequential": "flowdata.sources.order",
    "ShardSpec": "flowdata.sharding",
    "Shuffled": "flowdata.sources.order",
    "SplitInfo": "flowdata.dataset",
    "StageError": "flowdata.errors",
    "WorkerError": "flowdata.errors",
    "batch_stage": "flowdata.stages",
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
    "ArraySpec",
    "Batch",
    "Buffered",
    "COCOSource",
    "CoinFlip",
    "Config",
    "ConfigError",
    "CropMirrorNormalize",
    "DataError",
    "DatasetInfo",
    "Feature",
    "ImageBatchAlign",
    "ImageDecoder",
    "ImageFiles",
    "ImageFlip",
    "ImageNormalize",
    "Loader",
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
    "PartWriter",
    "Pipeline",
    "RecordError",
    "Resize",
    "Sample",
    "SampleKey",
    "Sequential",
    "ShardSpec",
    "Shuffled",
    "SplitInfo",
    "StageError",
    "WorkerError",
    "batch_stage",
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
