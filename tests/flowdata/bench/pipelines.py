"""Pipelines of which it is known what limits them."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from flowdata import codec
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import pipeline_from
from flowdata.records.writer import write_parts
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from tests.helpers.records import picture

IMAGE = ArraySpec((8, 8, 3), np.dtype(np.float32), "HWC")


@dataclass(frozen=True)
class SlowFiles:
    """Small images that take their time: each read so long, or, on storage that serves one at a time, all together."""

    seconds: float = 0.0
    one_at_a_time: str = ""  # a file to lock
    length: int = 64

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return self.length

    def output_spec(self) -> Specs:
        return {"image": IMAGE}

    def read(self, key: SampleKey) -> Sample:
        if self.one_at_a_time:
            with Path(self.one_at_a_time).open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                time.sleep(self.seconds)
        elif self.seconds:
            time.sleep(self.seconds)
        return Sample(key, {"image": np.full(IMAGE.fixed_shape, key.index, np.float32)}, f"number {key.index}")

    def fingerprint(self) -> str:
        return f"slow files {self.length}"


@dataclass(frozen=True)
class AskServer:
    """A user's stage that waits for something elsewhere."""

    seconds: float
    stage_name: ClassVar[str] = "ask_server"
    draws: ClassVar[bool] = False

    def output_spec(self, specs: Specs) -> Specs:
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        time.sleep(self.seconds)
        return sample


@dataclass(frozen=True)
class DependsOnProcess:
    """A stage that breaks the promise: every process makes other pixels."""

    stage_name: ClassVar[str] = "wrong"

    def output_spec(self, specs: Specs) -> Specs:
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(image=sample["image"] + np.float32(os.getpid()))


def small(source: SlowFiles, *stages: object, workers: int = 1) -> Pipeline:
    return Pipeline(source, stages, batch_size=16, executor="process", workers=workers)  # type: ignore[arg-type]


def photos(folder: Path, workers: int, size: tuple[int, int] = (375, 500), count: int = 48) -> Pipeline:
    """The usual training input, where decoding costs most."""
    if not folder.exists():
        jpegs = [codec.encode_jpeg(picture(*size, seed=index), quality=95) for index in range(count)]
        write_parts(folder, [{"encoded": jpeg, "class/label": np.int32(0)} for jpeg in jpegs], parts=1)
    return pipeline_from({
        "source": {"ofrecord": {"dir": str(folder), "parts": 1}},
        "order": "shuffled",
        "batch_size": 16,
        "executor": "process",
        "workers": workers,
        "outputs": ["image", "label"],
        "stages": [
            {"ofrecord_raw_decoder": {"feature": "class/label", "output": "label"}},
            "ofrecord_image_decoder_random_crop",
            {"resize": {"size": [64, 64]}},
            "coin_flip",
            {"crop_mirror_normalize": {"mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}},
        ],
    })  # fmt: skip
