"""The process executor equals the serial one, byte by byte, and recycles its memory."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from flowdata.errors import ConfigError, DataError
from flowdata.executors import platform
from flowdata.executors.process import ProcessExecutor
from flowdata.pipeline import Pipeline
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from flowdata.sharding import ShardSpec
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Shuffled
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.flowdata.executors.synthetic import (
    At,
    Numbers,
    Sleep,
    content,
    epochs,
    numbers,
    serial,
    slot_mappings,
)
from tests.helpers.records import write_dataset


@pytest.fixture(scope="module")
def two_epochs() -> list[tuple[object, ...]]:
    with serial(numbers()).loader() as loader:
        return epochs(loader, 2)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_delivers_what_the_serial_executor_does(workers, two_epochs):
    with numbers(workers=workers).loader() as loader:
        assert epochs(loader, 2) == two_epochs


@pytest.mark.parametrize("last_batch", ["keep", "drop", "wrap"])
@pytest.mark.parametrize("shards", [1, 3])
def test_shards_and_last_batch_modes_equal_serial(last_batch, shards):
    pipeline = numbers(last_batch=last_batch, batch_size=10, samples_per_message=100, prefetch_batches=1)
    seen: list[list[int]] = [[], []]
    for index in range(shards):
        shard = ShardSpec(index, shards)
        with pipeline.loader(shard) as loader, serial(pipeline).loader(shard) as expected:
            assert epochs(loader, 2) == epochs(expected, 2)
            expected.seek(0)
            for epoch in range(2):
                seen[epoch] += [number for batch in expected for number in batch.indices.tolist()]
    for epoch in range(2):
        want = {"keep": 53, "drop": 50, "wrap": 60}[last_batch]
        assert len(seen[epoch]) == want
        assert len(set(seen[epoch])) == min(want, 53)


def test_more_shards_than_samples_gives_empty_parts_of_the_right_shape():
    pipeline = numbers(batch_size=2)
    shard = ShardSpec(2, 3)
    with pipeline.loader(shard) as loader, serial(pipeline).loader(shard) as expected:
        batches = list(loader)
        assert [content(batch) for batch in batches] == epochs(expected, 1)
    assert batches[0]["image"].shape == (0, 5, 7, 3)
    assert batches[0]["boxes"] == []


def test_more_tasks_than_the_pipe_holds():
    pipeline = numbers(source=Numbers(9000, boxes=False), batch_size=5000, samples_per_message=1, prefetch_batches=3)
    with pipeline.loader() as loader, serial(pipeline).loader() as expected:
        for batch, other in zip(loader, expected, strict=True):
            assert content(batch) == content(other)


@dataclass(frozen=True)
class LongRows(Numbers):
    def output_spec(self) -> Specs:
        return {"boxes": ArraySpec((None, 4), np.dtype(np.float64))}

    def read(self, key: SampleKey) -> Sample:
        return Sample(key, {"boxes": np.full((10_000 * (1 + key.index % 3), 4), key.index, np.float64)}, "long")


def test_ragged_values_larger_than_a_socket_buffer():
    pipeline = replace(numbers(), source=LongRows(12), stages=(), batch_size=4)
    with pipeline.loader() as loader, serial(pipeline).loader() as expected:
        assert epochs(loader, 2) == epochs(expected, 2)


def test_a_state_goes_to_another_number_of_workers_and_to_serial(two_epochs):
    with numbers().loader() as first:
        taken = [content(batch) for _, batch in zip(range(3), first, strict=False)]
        state = first.state_dict()
    for pipeline in (numbers(workers=3), serial(numbers())):
        with pipeline.loader() as loader:
            loader.load_state_dict(state)
            assert taken + epochs(loader, 2) == two_epochs


def test_seek_gives_up_what_was_prepared(two_epochs):
    with numbers(At(tuple(range(53)), Sleep(0.002))).loader() as loader:
        for epoch, step in [(0, 0), (1, 2), (0, 5), (0, 6), (1, 0), (1, 1)]:
            loader.seek(epoch, step)
            assert content(next(iter(loader))) == two_epochs[epoch * 7 + step]
        assert epochs(loader, 1) == two_epochs[9:]


def test_a_consumer_may_hold_all_batches_and_they_outlive_the_loader(two_epochs):
    with numbers(prefetch_batches=2).loader() as loader:
        held = [batch for _ in range(2) for batch in loader]
    assert [content(batch) for batch in held] == two_epochs
    assert slot_mappings() == 1
    del held
    assert slot_mappings() == 0  # no cycle keeps them, so no collection is needed


def test_slots_are_reused_and_nothing_grows():
    with numbers(prefetch_batches=3, source=Numbers(64)).loader() as loader:
        addresses = set()
        resident = []
        for _ in range(40):
            for batch in loader:
                addresses.add(batch["image"].__array_interface__["data"][0])
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]))
    assert len(addresses) <= 3 + 2
    assert resident[-1] - resident[5] < 256  # pages: 1 MiB; 280 batches of 14 KiB would be 4


def test_a_batch_released_in_another_thread_is_reused():
    with numbers(prefetch_batches=1).loader() as loader:
        addresses = set()
        for _ in range(4):
            for batch in loader:
                addresses.add(batch["image"].__array_interface__["data"][0])
                box = [batch]
                del batch
                thread = threading.Thread(target=box.clear)
                thread.start()
                thread.join()
    assert len(addresses) <= 3


def test_one_array_of_a_batch_is_enough_to_keep_its_slot():
    with numbers(prefetch_batches=1).loader() as loader:
        kept = next(iter(loader))["image"][2:4]
        expected = kept.copy()
        epochs(loader, 3)
        np.testing.assert_array_equal(kept, expected)


def test_the_consumer_may_write_into_its_batch(two_epochs):
    with numbers().loader() as loader:
        got = []
        for _ in range(2):
            for batch in loader:
                got.append(content(batch))
                batch["image"][...] = np.nan
                batch.indices[...] = -1
    assert got == two_epochs


def test_no_more_batches_are_prepared_than_asked_for(tmp_path):
    def touch(sample: Sample, rng: np.random.Generator) -> Sample:
        (tmp_path / f"{sample.key.epoch}-{sample.key.index}").touch()
        return sample

    with numbers(touch, prefetch_batches=2, source=Numbers(16)).loader() as loader:
        next(iter(loader))
        deadline = time.monotonic() + 5
        while len(list(tmp_path.iterdir())) < 24 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        made = sorted(path.name for path in tmp_path.iterdir())
    assert len(made) == 24  # one taken, two ahead, over the end of the epoch
    assert sum(name.startswith("1-") for name in made) == 8


def test_only_waiting_counts_as_waiting():
    with numbers().loader() as loader:
        batches = iter(loader)
        next(batches)
        first = loader.stats.wait_seconds
        assert first > 0
        time.sleep(0.5)
        next(batches)
        assert loader.stats.wait_seconds - first < 0.1


class AlarmError(Exception):
    pass


def test_an_interrupted_take_loses_no_batch(two_epochs):
    def alarm(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is ProcessExecutor.take.__code__:
                raise AlarmError
            frame = frame.f_back

    previous = signal.signal(signal.SIGALRM, alarm)
    try:
        with numbers(At(tuple(range(53)), Sleep(0.03))).loader() as loader:
            got = []
            interruptions = 0
            while len(got) < 7:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                try:
                    got.append(content(next(iter(loader))))
                except AlarmError:
                    interruptions += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert interruptions > 0
    assert got == two_epochs[:7]


def test_fallbacks_of_all_special_calls(monkeypatch, two_epochs):
    monkeypatch.setattr(platform, "features", frozenset())
    with numbers().loader() as loader:
        assert epochs(loader, 2) == two_epochs
        assert "memfd" not in Path("/proc/self/maps").read_text()
        assert slot_mappings() > 0


def test_lambdas_and_closures_travel(two_epochs):
    factor = np.float32(2)
    pipeline = numbers(lambda sample, rng: sample.replace(image=sample["image"] * factor))
    with pipeline.loader() as loader:
        batch = next(iter(loader))
    assert np.frombuffer(two_epochs[0][4][0][1][2], np.float32).sum() * 2 == pytest.approx(batch["image"].sum())


def test_what_cannot_travel_is_refused_at_once():
    lock = threading.Lock()
    with pytest.raises(ConfigError, match="travel to the workers by pickle"):
        numbers(lambda sample, rng: sample.replace(lock=lock)).loader()


def test_too_little_memory_is_an_error(monkeypatch):
    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(platform, "reserve", refuse)
    start = time.monotonic()
    with pytest.raises(ConfigError, match="lower prefetch_batches or batch_size"):
        numbers().loader()
    assert time.monotonic() - start < 1


def test_closing_twice_and_at_once():
    loader = numbers().loader()
    loader.close()
    loader.close()
    with pytest.raises(DataError, match="closed"):
        list(loader)


def test_a_loader_that_is_only_forgotten_ends_its_workers(gone):
    loader = numbers().loader()
    next(iter(loader))
    del loader
    assert not gone(0.1)


def test_workers_keep_out_of_mpi_and_compute_with_one_thread(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")

    def check(sample: Sample, rng: np.random.Generator) -> Sample:
        assert not [name for name in os.environ if name.startswith(("PMI", "OMPI"))]
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert os.environ["PYTHONPATH"] == "/somewhere"
        return sample

    with numbers(check).loader() as loader:
        assert len(list(loader)) == 7


def test_rows_are_offered_to_stages_so_that_nothing_is_copied():
    def check(sample: Sample, rng: np.random.Generator) -> Sample:
        assert sample["image"] is sample.rows["image"]
        return sample

    with numbers(check).loader() as loader:
        assert len(list(loader)) == 7


def test_images_from_part_files(tmp_path):
    folder = write_dataset(tmp_path, counts=(9, 0, 14))
    pipeline = Pipeline(
        OFRecordSource(folder),
        [
            OFRecordRawDecoder(feature="class/label", output="label"),
            OFRecordImageDecoderRandomCrop(),
            Resize(size=(16, 20)),
            CoinFlip(),
            CropMirrorNormalize(crop=(12, 16), mean=(120.0, 110.0, 100.0), std=58.0),
        ],
        batch_size=5,
        order=Shuffled(),
        outputs=("image", "label"),
        executor="process",
        workers=2,
        samples_per_message=2,
    )
    with pipeline.loader() as loader, serial(pipeline).loader() as expected:
        assert epochs(loader, 2) == epochs(expected, 2)


def test_a_random_walk_of_takes_seeks_and_held_batches(two_epochs):
    seed = int.from_bytes(os.urandom(4))
    sys.stdout.write(f"seed {seed}\n")
    draw = random.Random(seed)
    for _ in range(3):
        pipeline = numbers(
            workers=draw.choice([1, 2, 3]),
            prefetch_batches=draw.randint(1, 5),
            samples_per_message=draw.choice([1, 3, 8]),
        )
        held = {}
        with pipeline.loader() as loader:
            for step in range(60):
                if draw.random() < 0.2:
                    loader.seek(draw.randint(0, 1), draw.randrange(7))
                if loader.epoch > 1:
                    loader.seek(0)
                batch = next(iter(loader))
                assert content(batch) == two_epochs[batch.epoch * 7 + batch.step]
                if draw.random() < 0.5:
                    held[step] = batch
                for other in [each for each in held if draw.random() < 0.2]:
                    del held[other]
            for batch in held.values():
                assert content(batch) == two_epochs[batch.epoch * 7 + batch.step]
            del batch
        held.clear()
