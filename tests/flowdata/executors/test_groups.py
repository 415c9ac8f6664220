"""Pipelines cut into groups deliver the serial executor's bytes, whatever happens to the workers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from flowdata.errors import ConfigError, StageError, WorkerError
from flowdata.executors import platform
from flowdata.executors.drawers import Scratch, get, put
from flowdata.executors.platform import unnamed_memory
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import Sample
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Shuffled
from flowdata.stages import Cut
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.conftest import Campaign
from tests.flowdata.executors import synthetic
from tests.flowdata.executors.synthetic import At, Numbers, Sleep, content, epochs, noise, numbers, serial
from tests.flowdata.executors.test_failures import BadRecord, first_error
from tests.flowdata.executors.test_policies import BAD, Damaged, batches, refuse, reports
from tests.flowdata.executors.test_process import LongRows
from tests.flowdata.executors.test_restarts import Die, Once, strike
from tests.helpers.records import write_dataset

ALL = tuple(range(53))


def scale(sample: Sample, rng: np.random.Generator) -> Sample:
    image = sample.destination("image", (5, 7, 3), np.float32)
    np.multiply(sample["image"], rng.random(dtype=np.float32), out=image)
    return sample.replace(image=image)


def cut(*stages: object, **changes: object) -> Pipeline:
    """:func:`numbers` with these stages, cuts included, in place of its own."""
    return replace(numbers(), stages=stages, **changes)


def uncut(pipeline: Pipeline) -> Pipeline:
    return serial(replace(pipeline, stages=[each for each in pipeline.stages if not isinstance(each, Cut)]))


def undisturbed(pipeline: Pipeline, count: int) -> list[tuple[object, ...]]:
    with uncut(pipeline).loader() as loader:
        return epochs(loader, count)


CUTS = {
    "after reading": (Cut(2), noise, scale),
    "in the middle": (noise, Cut(), scale),
    "everywhere": (Cut(1), noise, Cut(2), scale),
    "many workers": (noise, Cut(3), scale, Cut(2), At((3,), Sleep(0.01))),
}


@pytest.mark.parametrize("stages", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(("workers", "samples_per_message"), [(1, 3), (2, 100), (3, 1)])
def test_any_cut_delivers_what_the_serial_executor_does(stages, workers, samples_per_message):
    pipeline = cut(*stages, workers=workers, samples_per_message=samples_per_message)
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(pipeline, 2)


@pytest.mark.parametrize("executor", ["serial", "thread"])
def test_the_others_deliver_the_same(executor):
    pipeline = cut(*CUTS["everywhere"], executor=executor)
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(pipeline, 2)


def test_fallbacks_of_all_special_calls(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "features", frozenset())
    monkeypatch.setattr(platform, "bytes_in_pipe", lambda descriptor: 0)  # as where the system does not tell
    pipeline = cut(*CUTS["everywhere"], At((11,), Once(tmp_path / "mark", Die(signal.SIGKILL))), workers=2,
                   max_worker_restarts=1)  # fmt: skip
    with pipeline.loader() as loader:
        got = epochs(loader, 2)
    assert (tmp_path / "mark").exists()
    assert got == undisturbed(pipeline, 2)


def test_cuts_are_no_part_of_what_a_state_belongs_to():
    pipeline = cut(*CUTS["everywhere"])
    assert pipeline.fingerprint() == uncut(pipeline).fingerprint()
    with pipeline.loader() as loader:
        got = [content(batch) for _, batch in zip(range(3), loader, strict=False)]
        state = loader.state_dict()
    with uncut(pipeline).loader() as loader:
        loader.load_state_dict(state)
        assert got + epochs(loader, 1) == undisturbed(pipeline, 1)


def test_large_ragged_values():
    pipeline = cut(Cut(2), At((1,), Sleep(0.01)), Cut(), At((2,), Sleep(0.01)), source=LongRows(24), batch_size=4)
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(pipeline, 2)


@pytest.mark.parametrize("where", [0, 2, 3, 5])
def test_images_from_part_files(tmp_path, where):
    folder = write_dataset(tmp_path, counts=(9, 0, 14))
    stages: list[object] = [
        OFRecordRawDecoder(feature="class/label", output="label"),
        OFRecordImageDecoderRandomCrop(),
        Resize(size=(16, 20)),
        CoinFlip(),
        CropMirrorNormalize(crop=(12, 16), mean=(120.0, 110.0, 100.0), std=58.0),
    ]
    stages.insert(min(where, 4), Cut(2))
    pipeline = Pipeline(
        OFRecordSource(folder), stages, batch_size=5, order=Shuffled(), outputs=("image", "label"), executor="process",
        samples_per_message=2,
    )  # fmt: skip
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(pipeline, 2)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
@pytest.mark.parametrize("stages", [(Cut(2), noise, refuse, Cut(), scale), (noise, Cut(), scale, refuse)])
@pytest.mark.parametrize("source", [Damaged(bad=(5, 11)), Damaged(bad=(), boxes=False)])
def test_policies(on_error, stages, source):
    pipeline = cut(*stages, source=source, on_error=on_error, max_bad_fraction=0.5)
    want, got = batches(uncut(pipeline)), batches(pipeline)
    assert [content(each) for each in got] == [content(each) for each in want]
    assert reports(got) == reports(want)
    assert len(reports(got)) >= 2 * len(BAD)


def explode() -> None:
    raise KeyError("boom")


@pytest.mark.parametrize(
    "pipeline",
    [
        cut(At((11, 30), explode), Cut(2), noise),
        cut(noise, Cut(2), At((11, 30), explode)),
        cut(At((30,), explode), Cut(2), noise, At((11, 12, 13), explode), samples_per_message=8),
        cut(Cut(), noise, Cut(), noise, source=BadRecord()),
    ],
    ids=["first", "second", "both", "source"],
)
def test_the_first_failing_record_is_the_serial_executors(pipeline):
    want, expected = first_error(uncut(pipeline))
    got, error = first_error(pipeline)
    assert got == want
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert "Traceback in worker" in error.__notes__[0]


def test_an_earlier_row_that_fails_in_a_later_group_comes_first():
    with serial(numbers()).loader() as loader:
        indices = next(iter(loader)).indices.tolist()
    pipeline = cut(At((indices[2],), explode), Cut(), At((indices[1],), explode))
    with pipeline.loader() as loader, pytest.raises(StageError, match=rf"stage .*:At#2, record {indices[1]} "):
        list(loader)


def add_lock(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample.replace(lock=np.array(threading.Lock()))


def drop_lock(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(sample.key, {name: sample[name] for name in ("image", "boxes", "label")}, sample.origin, sample.rows)


def test_what_cannot_be_handed_over_is_said():
    pipeline = cut(add_lock, Cut(), drop_lock)
    with (
        pipeline.loader() as loader,
        pytest.raises(StageError, match=r"cut after .*:add_lock: samples cannot be handed"),
    ):
        list(loader)


def test_a_fast_group_does_not_get_far_ahead(tmp_path):
    """Between the groups lie at most as many chunks as there are drawers, though 40 batches may be prepared."""
    release = tmp_path / "release"

    def wait() -> None:
        while not release.exists():
            time.sleep(0.005)

    made = tmp_path / "made"
    made.mkdir()

    def touch(sample: Sample, rng: np.random.Generator) -> Sample:
        (made / f"{sample.key.epoch}-{sample.key.index}").touch()
        return sample

    pipeline = cut(touch, Cut(1), At(ALL, wait), workers=1, samples_per_message=1, prefetch_batches=40)
    with pipeline.loader() as loader:
        time.sleep(1.0)
        in_front = len(list(made.iterdir()))
        waiting = loader.stats.groups
        release.touch()
        assert epochs(loader, 1) == undisturbed(pipeline, 1)
    assert 4 <= in_front <= 4 + 2  # four drawers, one that finds none, one in work
    assert len(waiting) == 2


def test_statistics_of_each_group():
    pipeline = cut(Cut(2), At(ALL, Sleep(0.004)), Cut(1), noise, prefetch_batches=8)
    with pipeline.loader() as loader:
        epochs(loader, 2)
        read, slow, last = loader.stats.groups
    assert [[each.name for each in group.stages] for group in (read, slow, last)] == [
        ["read"], [f"{synthetic.__name__}:At"], [f"{synthetic.__name__}:noise"],
    ]  # fmt: skip
    assert [len(group.workers) for group in (read, slow, last)] == [2, 2, 1]
    assert [group.active for group in (read, slow, last)] == [2, 2, 1]
    assert all(group.samples >= 106 for group in (read, slow, last))
    assert slow.busy > 0.7
    assert last.input_seconds > 5 * last.output_seconds
    assert read.output_seconds > 0.3 * sum(each.busy_seconds for each in slow.workers)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("action", [Die(signal.SIGKILL), Sleep(60)], ids=["dies", "is stuck"])
def test_a_worker_of_any_group_is_replaced(tmp_path, victim, action):
    bad = At((11,), Once(tmp_path / "mark", action))
    stages = (bad, noise, Cut(), scale) if victim == 0 else (noise, Cut(), scale, bad)
    pipeline = cut(*stages, workers=1, max_worker_restarts=1, sample_deadline=0.5)
    start = time.monotonic()
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(cut(noise, scale) if victim else cut(bad, noise, scale), 2)
    assert (tmp_path / "mark").exists()
    assert time.monotonic() - start < 15


def test_a_sample_that_kills_every_worker_is_named():
    pipeline = cut(noise, Cut(), At((11,), Die(signal.SIGKILL)), max_worker_restarts=1)
    with pipeline.loader() as loader, pytest.raises(WorkerError, match="SIGKILL while processing record 11 of epoch 0"):
        list(loader)


def test_a_group_that_waits_for_the_next_one_is_not_stuck():
    pipeline = cut(noise, Cut(1), At(ALL, Sleep(0.06)), workers=2, samples_per_message=1, sample_deadline=0.2,
                   max_worker_restarts=0, source=Numbers(16))  # fmt: skip
    with pipeline.loader() as loader:
        assert epochs(loader, 1) == undisturbed(pipeline, 1)


def test_seeking_while_workers_die():
    pipeline = cut(noise, Cut(2), At(ALL, Sleep(0.002)), max_worker_restarts=30, sample_deadline=3)
    want = undisturbed(pipeline, 1)
    with pipeline.loader() as loader:
        draw = random.Random(0)
        next(iter(loader))
        for _ in range(14):
            with contextlib.suppress(ProcessLookupError):  # it was killed before, which nobody has looked at yet
                os.kill(draw.choice(loader._executor.pids), signal.SIGKILL)  # type: ignore[attr-defined]
            step = draw.randrange(7)
            loader.seek(0, step)
            assert content(next(iter(loader))) == want[step]
        loader.seek(0, 0)
        got = epochs(loader, 1)
        settle(loader)
    assert got == want


def settle(loader: Loader) -> None:
    """Let what is prepared ahead finish, and what was lost be found; then no drawer is in use."""
    prefetcher = loader._executor._prefetcher  # type: ignore[attr-defined]
    memory = prefetcher.crew.memory
    deadline = time.monotonic() + 10
    while True:
        prefetcher.receive()
        prefetcher.crew.end_stuck(2.0)
        used = [any(memory.drawer_tickets(number)) for number in range(len(memory.layout.drawers))]
        if all(each.due for each in prefetcher._queue) and not any(used):
            return
        assert time.monotonic() < deadline, used
        time.sleep(0.01)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_chaos(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without cuts: the bytes are the undisturbed ones, or the documented error comes, and drawers come back."""
    monkeypatch.setenv(synthetic.TOKEN, f"chaos-{os.getpid()}")
    cuts: list[Callable[[random.Random], tuple[object, ...]]] = [
        lambda rng: (Cut(rng.choice([1, 2])), noise, At(ALL, Sleep(0.003)), scale),
        lambda rng: (noise, At(ALL, Sleep(0.002)), Cut(rng.choice([1, 2, 3])), scale),
        lambda rng: (At(ALL, Sleep(0.002)), Cut(1), noise, Cut(rng.choice([1, 2])), At(ALL, Sleep(0.002)), scale),
    ]
    for rng in campaign(200, 6):
        restarts = rng.choice([0, 1, 5])
        pipeline = cut(
            *rng.choice(cuts)(rng), workers=rng.choice([1, 2]), samples_per_message=rng.choice([1, 3, 8]),
            prefetch_batches=rng.choice([1, 2, 4]), max_worker_restarts=restarts, sample_deadline=2.0,
        )  # fmt: skip
        disturb(pipeline, rng, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]))


def disturb(pipeline: Pipeline, rng: random.Random, hit: int) -> None:
    want = undisturbed(pipeline, 3)
    start = time.monotonic()
    got: list[tuple[object, ...]] = []
    times = 1 + (rng.random() < 0.3)
    with pipeline.loader() as loader:
        threading.Thread(target=strike, args=(loader, rng, hit, times), daemon=True).start()
        try:
            for _ in range(3):
                got += [content(batch) for batch in loader]
            settle(loader)  # a worker may also be hit after its last batch
        except WorkerError as error:
            assert pipeline.max_worker_restarts < times
            assert "worker" in str(error)  # noqa: PT017
            assert got == want[: len(got)]
            return
        finally:
            assert time.monotonic() - start < 25
    assert got == want


def test_arguments():
    with pytest.raises(ConfigError, match="cut: expected workers to be an integer >= 1 or auto, got 0"):
        Cut(0)
    for stages in [(noise, Cut()), (Cut(), Cut(), noise), (Cut(),)]:
        with pytest.raises(ConfigError, match="expected stages after each cut"):
            cut(*stages)


def test_drawers_hold_anything():
    descriptor, scratch = unnamed_memory(0), Scratch()
    try:
        for value in ([], {"a": np.arange(5)}, [np.zeros((0, 3)), np.float32(2), b"x" * 100_000], list(range(3000)),
                      [np.full(3, number) for number in range(10_000)]):  # fmt: skip
            for offset in (0, 1 << 34):
                assert put(descriptor, offset, value) > 0
                np.testing.assert_equal(get(descriptor, offset), value)
                np.testing.assert_equal(get(descriptor, offset, scratch), value)
        got = get(descriptor, 0)
        got[0][...] = 7
        assert got[0].flags.writeable
    finally:
        os.close(descriptor)
