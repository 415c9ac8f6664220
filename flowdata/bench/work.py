"""What a pipeline does to a picture, in words that other libraries can carry out, and the files for them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline import Pipeline
from flowdata.sample import Sample, SampleKey, Specs
from flowdata.sources.base import Source
from flowdata.stages import Cut, as_stage
from flowdata.stages.decode import (
    ImageDecoder,
    OFRecordBytesDecoder,
    OFRecordImageDecoder,
    OFRecordImageDecoderRandomCrop,
    OFRecordRawDecoder,
    single_bytes,
)
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize

AnyDecoder = OFRecordImageDecoder | OFRecordImageDecoderRandomCrop | ImageDecoder


@dataclass(frozen=True)
class Work:
    """JPEG file to float32 (3, height, width): random or whole, resized, cut, perhaps mirrored, normalized.

    Args:
        random_crop: Shares of area, aspect ratios and attempts of a random window; None keeps the whole picture.
        size: Height and width to resize to; or
        shorter: length to resize the shorter side to.
        crop: Height and width of the result.
        crop_position: Where the result is cut out, 0 to 1 downwards and to the right.
        mirror: Probability of mirroring.
        mean: Per channel, red, green, blue, in pixel units.
        std: The same for the divisor.
    """

    random_crop: tuple[tuple[float, float], tuple[float, float], int] | None
    size: tuple[int, int] | None
    shorter: int | None
    crop: tuple[int, int]
    crop_position: tuple[float, float]
    mirror: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        steps = ["JPEG"]
        if self.random_crop is not None:
            steps.append("random crop")
        steps.append("resize " + (f"{self.size[0]}x{self.size[1]}" if self.size else f"shorter side {self.shorter}"))
        if self.size != self.crop:
            steps.append(f"crop {self.crop[0]}x{self.crop[1]}")
        if self.mirror:
            steps.append(f"mirror with probability {self.mirror:g}")
        return " -> ".join([*steps, "normalize", "float32 NCHW"])


def work_of(pipeline: Pipeline) -> Work:
    """What the pipeline does.

    Raises:
        ConfigError: something that the peers have no counterpart of; names it.
    """
    stages = [as_stage(each) for each in pipeline.stages if not isinstance(each, Cut)]
    decoder: AnyDecoder | None = None
    resize: Resize | None = None
    normalize: CropMirrorNormalize | None = None
    flips: dict[str, float] = {}
    for name, stage in zip(pipeline.step_names[1:], stages, strict=True):
        fits = False
        if isinstance(stage, (OFRecordRawDecoder, OFRecordBytesDecoder)):
            fits = True
        elif isinstance(stage, CoinFlip):
            fits, flips[stage.output] = normalize is None, stage.probability
        elif isinstance(stage, AnyDecoder):
            fits, decoder = decoder is None and stage.color_space == "RGB", stage
            fits = fits and getattr(stage, "dtype", "uint8") == "uint8"
        elif isinstance(stage, Resize):
            fits = decoder is not None and resize is None and normalize is None
            fits, resize = fits and stage.interpolation == "bilinear" and stage.longer is stage.max_size is None, stage
        elif isinstance(stage, CropMirrorNormalize):
            fits, normalize = resize is not None and normalize is None and stage.layout == "NCHW", stage
        if not fits:
            raise ConfigError(f"stage {name}: the peers have no such step in that place")
    if decoder is None or resize is None or normalize is None:
        raise ConfigError("the peers decode, resize (bilinear, RGB) and normalize, and this pipeline does not")
    crop = normalize.crop or resize.size
    if crop is None:
        raise ConfigError("stage crop_mirror_normalize: the peers need a crop after resizing one side")
    window = None
    if isinstance(decoder, OFRecordImageDecoderRandomCrop):
        window = decoder.area, decoder.aspect_ratio, decoder.num_attempts
    mean, std = (tuple(np.broadcast_to(each, 3).astype(float).tolist()) for each in (normalize.mean, normalize.std))
    return Work(
        window, resize.size, resize.shorter, crop, normalize.crop_position, flips.get(normalize.mirror, 0.0), mean, std
    )


def as_plain(work: Work) -> dict[str, Any]:
    """The work as JSON can hold it."""
    return asdict(work)


@dataclass(frozen=True)
class FirstRecords:
    """The first records of a source, as a data set of its own."""

    source: Source
    count: int

    def open(self) -> None:
        """Open the source."""
        self.source.open()

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    def __len__(self) -> int:
        """Number of records."""
        return min(self.count, len(self.source))

    def output_spec(self) -> Specs:
        """That of the source."""
        return self.source.output_spec()

    def read(self, key: SampleKey) -> Sample:
        """That record of the source."""
        return self.source.read(key)

    def fingerprint(self) -> str:
        """That of the source, and the count."""
        return f"{self.source.fingerprint()}:{self.count}"


def first_records(pipeline: Pipeline, count: int | None) -> Pipeline:
    """The pipeline over its first ``count`` records, or over all."""
    if count is None or count >= len(pipeline.source):
        return pipeline
    if count < pipeline.batch_size:
        raise ConfigError(f"--records {count}: expected at least one batch, {pipeline.batch_size}")
    return replace(pipeline, source=FirstRecords(pipeline.source, count))


def pictures(pipeline: Pipeline) -> Iterator[tuple[Sample, bytes]]:
    """Each record as it is read, with the picture file in it, in order.

    Bad records are left out where the pipeline does not end at them.

    Raises:
        RecordError: a record is bad, with ``on_error: raise``.
        ConfigError: the pipeline has no picture decoder.
    """
    _, decoder = decoder_of(pipeline)
    for index in range(len(pipeline.source)):
        try:
            sample = pipeline.source.read(SampleKey(0, index))
            if isinstance(decoder, ImageDecoder):
                yield sample, bytes(memoryview(sample[decoder.encoded]))
            else:
                yield sample, single_bytes(sample, decoder.record, decoder.feature)
        except RecordError:
            if pipeline.on_error == "raise":
                raise


def decoder_of(pipeline: Pipeline) -> tuple[str, AnyDecoder]:
    """Name and stage of the picture decoder.

    Raises:
        ConfigError: there is none.
    """
    stages = [as_stage(each) for each in pipeline.stages if not isinstance(each, Cut)]
    for name, each in zip(pipeline.step_names[1:], stages, strict=True):
        if isinstance(each, AnyDecoder):
            return name, each
    raise ConfigError("the pipeline decodes no pictures")


def write_files(pipeline: Pipeline, folder: Path, most: int) -> list[str]:
    """The first records' pictures as files of their own, for the peers; warm in the page cache afterwards.

    Args:
        pipeline: Whose records.
        folder: Where the files go.
        most: Number of files.

    Returns:
        Their paths, in the order of the records.
    """
    paths = []
    for index, (_, data) in enumerate(itertools.islice(pictures(pipeline), most)):
        path = folder / f"{index:08d}.jpg"
        path.write_bytes(data)
        paths.append(os.fspath(path))
    return paths
