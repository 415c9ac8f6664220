"""What the peers are told to do is what the pipeline does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowdata.bench.peers import opencv
from flowdata.bench.work import FirstRecords, as_plain, first_records, pictures, work_of, write_files
from flowdata.errors import ConfigError
from flowdata.pipeline import Pipeline
from flowdata.sample import SampleKey
from flowdata.stages.decode import ImageDecoder, OFRecordImageDecoder
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.flowdata.bench.pipelines import AskServer, photos


@pytest.fixture
def train(tmp_path: Path) -> Pipeline:
    return photos(tmp_path / "photos", workers=1, size=(60, 83), count=20)


def evaluation(train: Pipeline, resize: Resize, **normalize: object) -> Pipeline:
    arguments = {"mean": (120.0, 110.0, 100.0), "std": (60.0, 50.0, 40.0)} | normalize
    return replace(train, stages=(OFRecordImageDecoder(), resize, CropMirrorNormalize(**arguments)), outputs=("image",))


def test_the_training_input(train: Pipeline) -> None:
    work = work_of(train)
    assert str(work) == (
        "JPEG -> random crop -> resize 64x64 -> mirror with probability 0.5 -> normalize -> float32 NCHW"
    )
    assert work.random_crop == ((0.08, 1.0), (0.75, 1.333333), 10)
    assert (work.mean, work.std, work.mirror) == ((120.0, 110.0, 100.0), (60.0, 50.0, 40.0), 0.5)


@pytest.mark.parametrize(
    ("resize", "normalize"),
    [
        (Resize(size=(40, 30)), {}),
        (Resize(shorter=48), {"crop": (40, 44)}),
        (Resize(size=(40, 50)), {"crop": (32, 32), "crop_position": (0.2, 0.9)}),
        (Resize(size=(40, 30)), {"mean": 100.0, "std": 50.0}),
    ],
)
def test_a_peer_that_draws_nothing_gets_the_same_pixels(
    train: Pipeline, resize: Resize, normalize: dict[str, object]
) -> None:
    pipeline = evaluation(train, resize, **normalize)
    work = as_plain(work_of(pipeline))
    for index, (_, data) in enumerate(pictures(pipeline)):
        planes = np.empty((3, *work["crop"]), np.float32)
        opencv.normalize_into(opencv.resized(opencv.decode(data), work), False, work, planes)
        np.testing.assert_array_equal(planes, pipeline.process(SampleKey(0, index))["image"])


def test_random_windows_lie_in_the_picture_and_have_the_shares_asked_for() -> None:
    limits = ((0.1, 0.5), (0.75, 1.333333), 10)
    windows = np.array([opencv.random_window(60, 83, limits) for _ in range(2000)])
    top, left, height, width = windows.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 60).all()
    assert (left + width <= 83).all()
    shares = height * width / (60 * 83)
    assert 0.08 < shares.min() < 0.12 < 0.45 < shares.max() < 0.53
    assert shares.mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ((OFRecordImageDecoder(), Resize(size=(9, 9)), AskServer(0.0)), "ask_server"),
        ((OFRecordImageDecoder(color_space="GRAY"), Resize(size=(9, 9))), "ofrecord_image_decoder"),
        ((ImageDecoder(encoded="file", dtype="float32"), Resize(size=(9, 9))), "image_decoder"),
        ((OFRecordImageDecoder(), Resize(size=(9, 9), interpolation="area")), "resize"),
        ((OFRecordImageDecoder(), Resize(size=(9, 9))), "normalize"),
        ((OFRecordImageDecoder(), Resize(size=(9, 9)), CropMirrorNormalize(mean=0.0, std=1.0, layout="NHWC")), "crop_"),
    ],
)
def test_what_the_peers_cannot_do_is_named(train: Pipeline, stages: tuple[object, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        work_of(replace(train, stages=stages, outputs=("image",)))


def test_files_are_the_encoded_records_in_order(train: Pipeline, tmp_path: Path) -> None:
    paths = write_files(train, tmp_path, 12)
    written = [Path(path).read_bytes() for path in paths]
    assert written == [train.source.read(SampleKey(0, index))["record"]["encoded"].values[0] for index in range(12)]


def test_the_first_records_are_a_data_set(train: Pipeline) -> None:
    part = first_records(train, 17)
    assert isinstance(part.source, FirstRecords)
    assert len(part.source) == 17
    assert sorted(part.epoch_plan(0).indices.tolist()) == list(range(17))
    assert part.fingerprint() != train.fingerprint()
    assert first_records(train, 20) is train
    assert first_records(train, None) is train
    with pytest.raises(ConfigError, match="at least one batch, 16"):
        first_records(train, 15)
