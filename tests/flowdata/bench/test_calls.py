"""The limit makes the calls that the pipeline's decoder makes: the same bytes, libraries and windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.bench.calls import CV2, NVIMGCODEC, Call, decoder_calls, make
from flowdata.bench.peers import opencv
from flowdata.bench.work import as_plain, work_of, write_files
from flowdata.codec import decoding
from flowdata.errors import ConfigError
from flowdata.pipeline import Pipeline
from flowdata.records.writer import write_parts
from flowdata.sample import SampleKey
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.stages.decode import OFRecordImageDecoder, OFRecordImageDecoderRandomCrop
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.helpers.records import picture

COUNT = 24


def records(folder: Path, *, rows: bool) -> OFRecordSource:
    """Pictures 240 x 180 and, with rows, where their rows of blocks begin."""
    content = []
    for index in range(COUNT):
        data = codec.encode_jpeg(picture(240, 180, seed=index), quality=90, row_restarts=rows)
        content.append({"encoded": data} | ({"encoded/rows": codec.row_offsets(data)} if rows else {}))
    write_parts(folder, content, parts=1)
    return OFRecordSource(folder, parts=1)


def calls_of(pipeline: Pipeline, folder: Path) -> tuple[list[str], list[Call]]:
    for name in ("files", "calls"):
        (folder / name).mkdir()
    files = write_files(pipeline, folder / "files", COUNT)
    return files, decoder_calls(pipeline, files, folder / "calls")


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("decoder", [OFRecordImageDecoder, OFRecordImageDecoderRandomCrop])
def test_the_bytes_are_those_that_opencv_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: type, rows: bool
) -> None:
    pipeline = Pipeline(records(tmp_path / "data", rows=rows), [decoder(provider="cv2")], batch_size=4)
    files, calls = calls_of(pipeline, tmp_path)
    real, expected = cv2.imdecode, []

    def imdecode(data: Any, flags: int) -> Any:
        expected.append(data.tobytes())
        return real(data, flags)

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    images = [pipeline.process(SampleKey(0, index))["image"] for index in range(COUNT)]
    monkeypatch.undo()
    assert [Path(call.file).read_bytes() for call in calls] == expected
    assert {call.library for call in calls} == {CV2}
    for call, image in zip(calls, images, strict=True):
        assert make(call, Path(call.file).read_bytes()).shape == image.shape
    if decoder is OFRecordImageDecoder:
        assert [call.file for call in calls] == files
    else:
        sizes = [
            (Path(call.file).stat().st_size, Path(file).stat().st_size) for call, file in zip(calls, files, strict=True)
        ]
        assert sum(cut < whole for cut, whole in sizes) > COUNT / 3
        if rows:
            assert sum(cut for cut, _ in sizes) < 0.9 * sum(whole for _, whole in sizes)


def test_windows_of_the_other_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def windows_only(data: bytes, window: tuple[int, int, int, int], *, bgr: bool) -> Any:
        top, left, height, width = window
        asked.append(window)
        whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        return whole[top : top + height, left : left + width]

    monkeypatch.setattr(decoding, "resolve", lambda provider: NVIMGCODEC)
    monkeypatch.setattr(decoding, "decode_by_nvimgcodec", windows_only)
    pipeline = Pipeline(records(tmp_path / "data", rows=False), [OFRecordImageDecoderRandomCrop()], batch_size=4)
    files, calls = calls_of(pipeline, tmp_path)
    assert [call.window for call in calls] == asked
    assert {call.library for call in calls} == {NVIMGCODEC}
    assert [call.file for call in calls] == files
    assert [call.size for call in calls] == [window[2:] for window in asked]


@pytest.mark.parametrize("rows", [False, True])
def test_what_a_crop_leaves_out_is_left_out(tmp_path: Path, rows: bool) -> None:
    normalize = CropMirrorNormalize(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), crop=(48, 40))
    stages = [OFRecordImageDecoder(provider="cv2"), Resize(shorter=64), normalize]
    pipeline = Pipeline(records(tmp_path / "data", rows=rows), stages, batch_size=4)
    work = as_plain(work_of(pipeline))
    _, calls = calls_of(pipeline, tmp_path)
    for index, call in enumerate(calls):
        assert call.whole == (240, 180)
        assert call.size < call.whole
        planes = np.empty((3, 48, 40), np.float32)
        window = opencv.resized(make(call, Path(call.file).read_bytes()), work, call.whole)
        opencv.normalize_into(window, False, work, planes)
        np.testing.assert_array_equal(planes, pipeline.process(SampleKey(0, index))["image"])


def test_bad_pictures_are_left_out_where_the_pipeline_does_so(tmp_path: Path) -> None:
    good = codec.encode_jpeg(picture(30, 40), quality=90)
    write_parts(tmp_path / "data", [{"encoded": good}, {"encoded": good[:-40]}, {"encoded": good}], parts=1)
    pipeline = Pipeline(OFRecordSource(tmp_path / "data", 1), [OFRecordImageDecoder()], batch_size=2, on_error="skip")
    files, calls = calls_of(pipeline, tmp_path)
    assert [call.file for call in calls] == [files[0], files[2]]


def test_a_pipeline_without_pictures(tmp_path: Path) -> None:
    pipeline = Pipeline(records(tmp_path / "data", rows=False), batch_size=2)
    with pytest.raises(ConfigError, match="the pipeline decodes no pictures"):
        decoder_calls(pipeline, [], tmp_path)
