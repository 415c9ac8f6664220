"""Bad samples under each policy: what is delivered, what is reported, and that nothing else changes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import flowdata
from flowdata.errors import ConfigError, RecordError, StageError
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.records.writer import write_parts
from flowdata.sample import Batch, Sample, SampleKey
from flowdata.sharding import ShardSpec
from tests.flowdata.executors.synthetic import At, Numbers, content, numbers, serial
from tests.helpers.records import image_record

BAD = (0, 11, 12, 30, 52)


@dataclass(frozen=True)
class Damaged(Numbers):
    """Some records cannot be read."""

    bad: tuple[int, ...] = BAD

    def read(self, key: SampleKey) -> Sample:
        if key.index in self.bad:
            raise RecordError(f"number {key.index} is damaged")
        return super().read(key)

    def origin(self, index: int) -> tuple[str, int]:
        return "numbers", 10 * index


def refuse(sample: Sample, rng: np.random.Generator) -> Sample:
    image = sample.destination("image", (5, 7, 3), np.float32)
    image[...] = -1  # what a decoder had done before it noticed
    if sample.key.index in BAD:
        raise RecordError("the picture is damaged")
    np.copyto(image, sample["image"])
    return sample.replace(image=image)


def batches(pipeline: Pipeline, shard: ShardSpec | None = None) -> list[Batch]:
    with pipeline.loader(shard) as loader:
        return [batch for _ in range(2) for batch in loader]


def reports(found: list[Batch]) -> list[tuple[int, int, str, str, int | None]]:
    return [(each.epoch, each.index, each.stage, each.error, each.replacement) for b in found for each in b.bad]


def damaged(on_error: str, **changes: object) -> Pipeline:
    return numbers(source=Damaged(), on_error=on_error, max_bad_fraction=0.5, **changes)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("boxes", [True, False])
def test_process_equals_serial(on_error: str, workers: int, boxes: bool) -> None:
    pipeline = numbers(
        source=Damaged(boxes=boxes), on_error=on_error, max_bad_fraction=0.5, workers=workers, samples_per_message=2
    )
    want, got = batches(serial(pipeline)), batches(pipeline)
    assert [content(each) for each in got] == [content(each) for each in want]
    assert reports(got) == reports(want)
    assert [each.file for batch in got for each in batch.bad] == ["numbers"] * 10
    assert all(each.offset == 10 * each.index for batch in got for each in batch.bad)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_no_other_sample_changes(on_error: str) -> None:
    good = batches(serial(numbers()))
    for plain, batch in zip(good, batches(serial(damaged(on_error))), strict=True):
        assert (batch.epoch, batch.step, batch.global_size) == (plain.epoch, plain.step, plain.global_size)
        left_out = np.isin(plain.indices, BAD)
        kept = np.isin(batch.indices, BAD, invert=True)
        np.testing.assert_array_equal(batch.indices[kept], plain.indices[~left_out])
        for name in ("image", "label"):
            np.testing.assert_array_equal(batch[name][kept], plain[name][~left_out])
        assert batch.size == len(plain.indices) - (left_out.sum() if on_error == "skip" else 0)


def test_the_next_good_record_replaces_a_bad_one() -> None:
    found = batches(serial(damaged("replace")))
    assert {each.index: each.replacement for batch in found for each in batch.bad} == {
        0: 1, 11: 13, 12: 13, 30: 31, 52: 1
    }  # fmt: skip
    for batch in found:
        labels = dict(zip(batch.indices.tolist(), batch["label"].tolist(), strict=True))
        assert labels == {i: {0: 1, 11: 13, 12: 13, 30: 31, 52: 1}.get(i, i) for i in batch.indices.tolist()}


def test_a_stage_may_refuse_after_it_has_written(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = numbers(refuse, on_error="skip", max_bad_fraction=0.5)
    with caplog.at_level(logging.WARNING):
        got = batches(pipeline)
    name = f"{__name__}:refuse"
    assert {(stage, error) for _, _, stage, error, _ in reports(got)} == {(name, "the picture is damaged")}
    assert all((batch["image"] != -1).all() for batch in got)
    assert len(caplog.records) == len(BAD)  # each record once, not once an epoch
    assert f"left out: stage {name}: the picture is damaged" in caplog.text


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_a_mistake_in_a_stage_is_never_hidden(executor: str, on_error: str) -> None:
    def explode() -> None:
        raise KeyError("boom")

    with pytest.raises(StageError, match=r"record 30 .*KeyError: 'boom'"):
        batches(numbers(At((30,), explode), on_error=on_error, executor=executor))


def test_too_many_bad_samples_are_an_error() -> None:
    few = numbers(source=Damaged(), on_error="skip", max_bad_fraction=0.05, executor="serial")  # 3 of 53
    with pytest.raises(RecordError, match=r"4 bad samples in epoch 0 .* more than the 3 that max_bad_fraction allows"):
        batches(few)
    with pytest.raises(RecordError, match="no matter of single records"):
        batches(numbers(source=Damaged(bad=tuple(range(53))), on_error="replace", executor="serial"))


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_batch_may_end_up_empty(executor: str) -> None:
    pipeline = numbers(
        source=Damaged(length=16, bad=tuple(range(8))), order=flowdata.Sequential(), on_error="skip",
        max_bad_fraction=1.0, executor=executor,
    )  # fmt: skip
    empty, full, *_ = batches(pipeline)
    assert (empty.size, empty.global_size, empty["image"].shape, empty["boxes"]) == (0, 8, (0, 5, 7, 3), [])
    assert full.size == 8


def test_shards_agree_on_the_plan_and_list_their_own(tmp_path: Path) -> None:
    pipeline = damaged("skip", quarantine=tmp_path / "bad" / "list.jsonl", executor="serial")
    parts = [batches(pipeline, ShardSpec(rank, 3)) for rank in range(3)]
    assert len({len(each) for each in parts}) == 1
    listed = [
        json.loads(line)
        for path in sorted((tmp_path / "bad").iterdir())
        for line in path.read_text().splitlines()
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == [f"list.rank{r}.jsonl" for r in range(3)]
    assert {each["index"] for each in listed} == set(BAD)
    delivered = np.concatenate([batch.indices for part in parts for batch in part if batch.epoch == 0])
    assert sorted(delivered.tolist()) == [i for i in range(53) if i not in BAD]


def test_stop_and_continue_under_a_policy() -> None:
    pipeline = damaged("skip")
    whole = [content(each) for each in batches(serial(pipeline))]
    with pipeline.loader() as loader:
        first = [content(batch) for _, batch in zip(range(3), loader, strict=False)]
        state = loader.state_dict()
        assert loader.stats.bad == sum(len(each.bad) for each in batches(serial(pipeline))[:3])
    with damaged("skip", workers=3).loader() as later:
        later.load_state_dict(state)
        assert first + [content(batch) for _ in range(2) for batch in later] == whole


def test_damaged_pictures_are_listed_with_file_and_offset(tmp_path: Path) -> None:
    records = [image_record(number) for number in range(6)]
    records[3]["encoded"] = records[3]["encoded"][:40]
    write_parts(tmp_path / "data", records, parts=1)
    pipeline = Pipeline(
        flowdata.OFRecordSource(tmp_path / "data", parts=1),
        [flowdata.OFRecordImageDecoder(feature="encoded", color_space="RGB"), flowdata.Resize(size=(8, 8))],
        batch_size=4, outputs=("image",), on_error="skip", max_bad_fraction=0.5, quarantine=tmp_path / "bad.jsonl",
    )  # fmt: skip
    assert [batch.size for batch in batches(pipeline)] == [3, 2, 3, 2]
    [listed] = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    source = flowdata.OFRecordSource(tmp_path / "data", parts=1)
    source.open()
    assert (listed["file"], listed["offset"]) == source.origin(3)
    assert (listed["index"], listed["stage"]) == (3, "ofrecord_image_decoder")
    assert "encoded" in listed["error"]


def test_arguments() -> None:
    with pytest.raises(ConfigError, match="on_error to be one of raise, skip, replace, got 'ignore'"):
        numbers(on_error="ignore")
    with pytest.raises(ConfigError, match="max_bad_fraction from 0 to 1"):
        numbers(max_bad_fraction=2)


def test_the_policy_is_no_part_of_what_a_state_belongs_to() -> None:
    """A run that met a bad record may go on from its last checkpoint with another policy."""
    assert damaged("skip").fingerprint() == numbers(source=Damaged()).fingerprint()
    with damaged("raise", executor="serial").loader() as loader, pytest.raises(RecordError):
        list(loader)
    state = Loader(damaged("raise", executor="serial"), ShardSpec()).state_dict()
    with damaged("skip", executor="serial").loader() as loader:
        loader.load_state_dict(state)
        assert len(list(loader)) == 7
