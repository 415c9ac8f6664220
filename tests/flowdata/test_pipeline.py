"""Pipelines with the serial executor: every sample once, exact positions, and errors that say where."""

import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from flowdata import codec
from flowdata.batch_align import ImageBatchAlign
from flowdata.errors import ConfigError, DataError, RecordError, StageError
from flowdata.pipeline import Pipeline
from flowdata.records.writer import write_parts
from flowdata.sample import ArraySpec, Sample, SampleKey
from flowdata.seeding import sample_rng
from flowdata.sharding import ShardSpec
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Buffered, Sequential, Shuffled
from flowdata.stages.decode import OFRecordImageDecoder, OFRecordImageDecoderRandomCrop, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.helpers.records import image_record, write_dataset

LABEL = OFRecordRawDecoder(feature="class/label", output="label")
AUGMENTED = (
    LABEL,
    OFRecordImageDecoderRandomCrop(),
    Resize(size=(16, 16)),
    CoinFlip(),
    CropMirrorNormalize(mean=127.5, std=127.5),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), counts=(5, 0, 7, 1))  # 13 records


def pipeline(folder, stages=AUGMENTED, **arguments):
    arguments = {"batch_size": 4, "order": Shuffled(), "seed": 7, **arguments}
    return Pipeline(OFRecordSource(folder), stages, **arguments)


def take(loader, batches):
    """So many batches, running on into the next epochs."""
    taken = []
    while len(taken) < batches:
        for batch in loader:
            taken.append(batch)
            if len(taken) == batches:
                break
    return taken


def assert_same(left, right):
    assert (left.epoch, left.step, left.global_size) == (right.epoch, right.step, right.global_size)
    np.testing.assert_array_equal(left.indices, right.indices)
    assert set(left) == set(right)
    for name in left:
        if isinstance(left[name], list):
            assert len(left[name]) == len(right[name])
            for a, b in zip(left[name], right[name], strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            assert left[name].dtype == right[name].dtype
            np.testing.assert_array_equal(left[name], right[name])


def test_a_batch_holds_what_a_loop_over_the_stages_makes(folder):
    description = pipeline(folder)
    source = OFRecordSource(folder)
    with description.loader() as loader:
        for epoch in range(2):
            for batch in loader:
                for row, index in enumerate(batch.indices.tolist()):
                    sample = source.read(SampleKey(epoch, index))
                    for name, each in zip(
                        ("ofrecord_raw_decoder", "ofrecord_image_decoder_random_crop", "resize", "coin_flip",
                         "crop_mirror_normalize"), AUGMENTED, strict=True,
                    ):  # fmt: skip
                        sample = each(sample, sample_rng(7, epoch, index, name))
                    np.testing.assert_array_equal(batch["image"][row], sample["image"])
                    assert batch["mirror"][row] == sample["mirror"]
                    assert batch["label"][row] == index
    source.close()


@pytest.mark.parametrize("order", [Sequential(), Shuffled(), Buffered(5)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_epoch_delivers_every_sample_once_in_equal_steps(folder, count, order):
    loaders = [pipeline(folder, (LABEL,), order=order).loader(ShardSpec(k, count)) for k in range(count)]
    for epoch in range(2):
        batches = [list(loader) for loader in loaders]
        assert {len(each) for each in batches} == {4}
        assert sorted(label for each in batches for batch in each for label in batch["label"].tolist()) == list(
            range(13)
        )
        for step in range(4):
            parts = [each[step] for each in batches]
            assert {(part.epoch, part.step) for part in parts} == {(epoch, step)}
            assert sum(part.size for part in parts) == parts[0].global_size == (1 if step == 3 else 4)
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_the_rows_of_the_whole_batch(folder, count):
    description = pipeline(folder)
    with description.loader() as loader:
        whole = list(loader)
    loaders = [description.loader(ShardSpec(k, count)) for k in range(count)]
    for batch, *parts in zip(whole, *loaders, strict=True):
        np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), batch["image"])
        np.testing.assert_array_equal(np.concatenate([part.indices for part in parts]), batch.indices)


@pytest.mark.parametrize(("mode", "sizes"), [("keep", [4, 4, 4, 1]), ("drop", [4, 4, 4]), ("wrap", [4, 4, 4, 4])])
def test_what_happens_to_the_last_batch(folder, mode, sizes):
    with pipeline(folder, (LABEL,), last_batch=mode).loader() as loader:
        assert len(loader) == len(sizes)
        batches = list(loader)
    assert [batch.size for batch in batches] == sizes == [batch.global_size for batch in batches]
    taken = [label for batch in batches for label in batch["label"].tolist()]
    assert len(set(taken[:13])) == min(13, len(taken))
    assert taken[13:] == taken[: len(taken[13:])]


def test_wrapping_more_than_once(tmp_path):
    write_parts(tmp_path, [image_record(i) for i in range(3)], 1)
    description = Pipeline(OFRecordSource(tmp_path, parts=1), (LABEL,), batch_size=8, last_batch="wrap")
    with description.loader() as loader:
        [batch] = loader
    assert batch["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_an_epoch_without_batches_is_an_error(folder):
    with pytest.raises(ConfigError, match="13 records make no batch of 20 with last_batch: drop; use a smaller"):
        pipeline(folder, batch_size=20, last_batch="drop").loader()


@pytest.mark.parametrize("before", range(0, 9, 2))
def test_a_saved_position_continues_exactly(folder, before):
    with pipeline(folder).loader() as loader:
        expected = take(loader, 10)
    with pipeline(folder).loader() as loader:
        take(loader, before)
        state = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(state)) < 1024
    with pipeline(folder).loader() as loader:
        loader.load_state_dict(state)
        for left, right in zip(take(loader, 10 - before), expected[before:], strict=True):
            assert_same(left, right)


def test_a_saved_position_continues_with_another_number_of_ranks(folder):
    with pipeline(folder).loader() as loader:
        expected = take(loader, 8)
    with pipeline(folder).loader() as loader:
        take(loader, 3)
        state = loader.state_dict()
    loaders = [pipeline(folder).loader(ShardSpec(k, 3)) for k in range(3)]
    for loader in loaders:
        loader.load_state_dict(state)
    for whole, *parts in zip(expected[3:], *(take(loader, 5) for loader in loaders), strict=True):
        np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), whole["image"])


def test_a_position_of_another_pipeline_is_refused(folder):
    with pipeline(folder).loader() as loader:
        state = loader.state_dict()
    changes = [{"seed": 8}, {"batch_size": 5}, {"order": Sequential()}, {"stages": AUGMENTED[:3]},
               {"outputs": ("image",)}, {"last_batch": "wrap"}]  # fmt: skip
    for change in changes:
        with pipeline(folder, **change).loader() as loader, pytest.raises(ConfigError, match="saved by another pipel"):
            loader.load_state_dict(state)
    with pipeline(folder, workers=3, prefetch_batches=9).loader() as loader:
        loader.load_state_dict(state)
        with pytest.raises(ConfigError, match="expected a state of version 1, got 2"):
            loader.load_state_dict(state | {"version": 2})


def test_seeking(folder):
    with pipeline(folder).loader() as loader:
        expected = take(loader, 8)
        loader.seek(1, 2)
        assert (loader.epoch, loader.step) == (1, 2)
        assert_same(next(iter(loader)), expected[6])
        for epoch, step in [(0, 4), (-1, 0), (0, -1)]:
            with pytest.raises(ValueError, match="expected epoch >= 0 and 0 <= step < 4"):
                loader.seek(epoch, step)


def test_an_interrupted_loop_continues_where_it_stopped(folder):
    with pipeline(folder, (LABEL,)).loader() as loader:
        first = next(iter(loader))
        rest = list(loader)
        assert [batch.step for batch in [first, *rest]] == [0, 1, 2, 3]
        assert loader.stats.batches == 4
        assert loader.stats.samples == 13
        assert loader.stats.wait_seconds > 0


def test_a_closed_loader_says_so(folder):
    loader = pipeline(folder).loader()
    loader.close()
    with pytest.raises(DataError, match="it was closed"):
        next(iter(loader))


def test_images_of_different_sizes_come_as_a_list(folder):
    with pipeline(folder, (LABEL, OFRecordImageDecoder()), order=Sequential()).loader() as loader:
        batch = next(iter(loader))
    assert [image.shape for image in batch["image"]] == [(24 + i % 3, 32 + i % 5, 3) for i in range(4)]
    assert set(batch) == {"label", "image"}


def test_outputs_choose_what_reaches_the_batch(folder):
    with pipeline(folder, outputs=("label",)).loader() as loader:
        assert set(next(iter(loader))) == {"label"}
    with pytest.raises(ConfigError, match="no stage produces masks; there is label, image, mirror"):
        pipeline(folder, outputs=("masks",)).output_specs()
    with pytest.raises(ConfigError, match="record is no array and cannot be part of a batch"):
        pipeline(folder, outputs=("record",)).output_specs()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"batch_size": 0}, "expected batch_size to be an integer >= 1, got 0"),
    ({"batch_size": 2.0}, "expected batch_size to be an integer >= 1, got 2.0"),
    ({"seed": -1}, "expected seed to be an integer >= 0, got -1"),
    ({"workers": True}, "expected workers to be an integer >= 1 or auto, got True"),
    ({"last_batch": "skip"}, "expected last_batch to be one of keep, drop, wrap, got 'skip'"),
    ({"executor": "threads"}, "expected executor to be one of serial, thread, process, got 'threads'"),
    ({"stages": (3,)}, "expected a stage or a callable"),
])  # fmt: skip
def test_arguments_are_checked(folder, arguments, message):
    with pytest.raises(ConfigError, match=message):
        pipeline(folder, **arguments)


def test_stages_that_do_not_fit_are_an_error_before_anything_runs(tmp_path):
    description = Pipeline(
        OFRecordSource(tmp_path / "missing"), (CropMirrorNormalize(mean=0.0, std=1.0),), batch_size=1
    )
    with pytest.raises(ConfigError, match="crop_mirror_normalize: needs the value 'image', which no earlier stage"):
        description.loader()


def test_the_random_stream_of_a_callable_does_not_depend_on_where_it_is_defined(folder):
    def draw(sample, rng):
        return sample.replace(label=np.int32(rng.integers(1 << 30)))

    [want, *_] = pipeline(folder, (LABEL, draw)).loader()
    draw.__module__, draw.__qualname__ = "elsewhere", "moved"
    moved = pipeline(folder, (LABEL, draw))
    [got, *_] = moved.loader()
    assert moved.step_names[-1] == "elsewhere:moved"
    assert got["label"].tolist() == want["label"].tolist()


def test_an_error_in_a_stage_names_stage_and_record_and_keeps_its_cause(folder):
    def fail(sample, rng):
        raise ZeroDivisionError("by hand")

    with pipeline(folder, (LABEL, fail), order=Sequential()).loader() as loader:
        with pytest.raises(StageError) as caught:
            next(iter(loader))
    function = f"{__name__}:{fail.__qualname__}"
    assert str(caught.value) == (
        f"stage {function}, record 0 ({folder / 'part-00000'} at byte 0): ZeroDivisionError: by hand"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not caught.value.summary_only  # a bug wants its traceback


@pytest.mark.parametrize("damage", ["cut", "header"])
def test_a_bad_image_names_file_offset_and_damage(tmp_path, damage):
    records = [image_record(i) for i in range(3)]
    good = codec.encode_jpeg(np.full((24, 32, 3), 90, np.uint8))
    records[1] = {**records[1], "encoded": good[:-20] if damage == "cut" else good[:20] + bytes(20) + good[40:]}
    [path] = write_parts(tmp_path, records, 1)
    offset = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    source = OFRecordSource(tmp_path, parts=1)
    description = Pipeline(source, (LABEL, OFRecordImageDecoder()), batch_size=3)
    with description.loader() as loader, pytest.raises(StageError) as caught:
        next(iter(loader))
    assert str(caught.value).startswith(
        f"stage ofrecord_image_decoder, record 1 ({path} at byte {offset}): feature 'encoded': JPEG "
    )
    assert ("no end marker" if damage == "cut" else "JPEG is damaged") in str(caught.value)
    assert isinstance(caught.value.__cause__, RecordError)
    assert caught.value.summary_only
    assert pickle.loads(pickle.dumps(caught.value)).summary_only


@dataclass(frozen=True)
class Liar:
    """A stage whose output is not what it says."""

    def output_spec(self, specs):
        return {"x": ArraySpec((2,), np.dtype(np.float32))}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(x=np.zeros(3, np.float32))


def test_a_stage_that_breaks_its_promise_is_an_error(folder):
    with pipeline(folder, (Liar(),)).loader() as loader:
        with pytest.raises(StageError, match=r"expected x of shape \(2,\) and dtype float32 .* got \(3,\) and float32"):
            next(iter(loader))


def test_errors_say_how_they_want_to_be_shown():
    assert (ConfigError.exit_code, ConfigError.summary_only) == (2, True)
    assert (RecordError.exit_code, RecordError.summary_only) == (1, True)
    assert (StageError.exit_code, StageError.summary_only) == (1, False)


# ---------------------------------------------------------------- images of different sizes in one array


PICTURES = (LABEL, OFRecordImageDecoder())


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_batch_transform_sees_what_a_rank_gets_of_a_batch(folder, executor, shards):
    plain = pipeline(folder, PICTURES)
    aligned = pipeline(folder, PICTURES, batch_transforms=[ImageBatchAlign(alignment=8)], executor=executor)
    assert aligned.batch_specs() == plain.batch_specs() == plain.output_specs()
    assert aligned.fingerprint() != plain.fingerprint()
    for index in range(shards):
        with plain.loader(ShardSpec(index, shards)) as left, aligned.loader(ShardSpec(index, shards)) as right:
            for before, after in zip(take(left, 5), take(right, 5), strict=True):
                np.testing.assert_array_equal(before["label"], after["label"])
                expected = np.zeros(after["image"].shape, np.uint8)
                for row, image in zip(expected, before["image"], strict=True):
                    row[: image.shape[0], : image.shape[1]] = image
                np.testing.assert_array_equal(after["image"], expected, strict=True)
                height, width = np.max([(0, 0), *(image.shape[:2] for image in before["image"])], axis=0)
                assert (before.specs, after.specs) == (plain.batch_specs(), aligned.batch_specs())
                assert after["image"].shape == (before.size, -(-height // 8) * 8, -(-width // 8) * 8, 3)


def test_a_batch_transform_that_fails_names_the_batch_which_stays_due(folder):
    description = pipeline(
        folder, PICTURES, batch_transforms=[ImageBatchAlign(size=(24, 60))], order=Sequential(), batch_size=1
    )
    with description.loader() as loader:
        assert len(take(loader, 1)) == 1
        for _ in range(2):
            with pytest.raises(StageError) as caught:
                next(iter(loader))
            assert str(caught.value) == (
                "batch transform image_batch_align, epoch 0, step 1: image_batch_align: expected images of at most "
                "24 x 60 pixels with alignment 0, found 25 x 33 in record 1"
            )
            assert caught.value.summary_only
        assert loader.step == 1


def test_batch_transforms_that_do_not_fit(folder):
    with pytest.raises(ConfigError, match="image_batch_align: needs the value 'picture' in the batch; there is"):
        pipeline(folder, PICTURES, batch_transforms=[ImageBatchAlign(image="picture")]).loader()
    with pytest.raises(ConfigError, match=r"CoinFlip.* changes single samples and belongs into stages"):
        pipeline(folder, PICTURES, batch_transforms=[CoinFlip()])
    with pytest.raises(ConfigError, match=r"ImageBatchAlign.* changes whole batches and belongs into batch_transforms"):
        pipeline(folder, (*PICTURES, ImageBatchAlign()))
