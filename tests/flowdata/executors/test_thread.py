"""The thread executor equals the serial one, byte by byte, and ends when it should."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from flowdata.errors import DataError, RecordError, StageError, WorkerError
from flowdata.executors.thread import THREAD_NAME, ThreadExecutor
from flowdata.pipeline import Pipeline
from flowdata.sample import Sample
from flowdata.sharding import ShardSpec
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Shuffled
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.flowdata.executors.synthetic import At, Numbers, Sleep, content, epochs, numbers, serial
from tests.flowdata.executors.test_policies import BAD, Damaged, reports
from tests.helpers.records import write_dataset

ROOT = Path(__file__).parents[3]
ALL = tuple(range(53))


def threads(*stages: object, **changes: object) -> Pipeline:
    return replace(numbers(*stages, **changes), executor="thread")  # type: ignore[arg-type]


def alive() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith(THREAD_NAME)]


@pytest.fixture(scope="module")
def two_epochs() -> list[tuple[object, ...]]:
    with serial(numbers()).loader() as loader:
        return epochs(loader, 2)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("samples_per_message", [1, 3, 100])
def test_any_number_of_workers_delivers_what_the_serial_executor_does(workers, samples_per_message, two_epochs):
    pipeline = threads(At(ALL, Sleep(0.0005)), workers=workers, samples_per_message=samples_per_message)
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == two_epochs
    assert not alive()


@pytest.mark.parametrize("last_batch", ["keep", "drop", "wrap"])
def test_shards_and_last_batch_modes_equal_serial(last_batch):
    pipeline = threads(last_batch=last_batch, batch_size=10)
    for index in range(3):
        shard = ShardSpec(index, 3)
        with pipeline.loader(shard) as loader, serial(pipeline).loader(shard) as expected:
            assert epochs(loader, 2) == epochs(expected, 2)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_policies_equal_serial(on_error, workers):
    pipeline = threads(source=Damaged(), on_error=on_error, max_bad_fraction=0.5, workers=workers)
    with pipeline.loader() as loader, serial(pipeline).loader() as expected:
        got, want = list(loader), list(expected)
    assert [content(each) for each in got] == [content(each) for each in want]
    assert reports(got) == reports(want)
    assert len(reports(got)) == len(BAD)


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
        batch_size=5, order=Shuffled(), outputs=("image", "label"), executor="thread", workers=3, samples_per_message=2,
    )  # fmt: skip
    with pipeline.loader() as loader, serial(pipeline).loader() as expected:
        assert epochs(loader, 2) == epochs(expected, 2)


def test_a_state_goes_from_and_to_other_executors(two_epochs):
    with threads().loader() as first:
        taken = [content(batch) for _, batch in zip(range(3), first, strict=False)]
        state = first.state_dict()
    for executor in ("process", "serial", "thread"):
        with replace(numbers(), executor=executor).loader() as loader:
            loader.load_state_dict(state)
            assert taken + epochs(loader, 2) == two_epochs


def test_a_random_walk_of_takes_and_seeks(two_epochs):
    seed = int.from_bytes(os.urandom(4))
    sys.stdout.write(f"seed {seed}\n")
    draw = random.Random(seed)
    for _ in range(3):
        pipeline = threads(
            workers=draw.choice([1, 2, 3]),
            prefetch_batches=draw.randint(1, 5),
            samples_per_message=draw.choice([1, 3, 8]),
        )
        held = []
        with pipeline.loader() as loader:
            for _ in range(80):
                if draw.random() < 0.3 or loader.epoch > 1:
                    loader.seek(draw.randint(0, 1), draw.randrange(7))
                held.append(next(iter(loader)))
        for batch in held:
            assert content(batch) == two_epochs[batch.epoch * 7 + batch.step]


def test_no_more_batches_are_prepared_than_asked_for(tmp_path):
    made: list[tuple[int, int]] = []

    def note(sample: Sample, rng: np.random.Generator) -> Sample:
        made.append((sample.key.epoch, sample.key.index))
        return sample

    with threads(note, prefetch_batches=2, source=Numbers(16)).loader() as loader:
        next(iter(loader))
        deadline = time.monotonic() + 5
        while len(made) < 24 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
    assert len(made) == 24  # one taken, two ahead, over the end of the epoch


def explode() -> None:
    raise KeyError("boom")


def test_an_exception_is_the_serial_executors_with_its_traceback(two_epochs):
    pipeline = threads(At((11, 30, 31), explode))
    with serial(pipeline).loader() as loader, pytest.raises(StageError) as expected:
        list(loader)
    got: list[tuple[object, ...]] = []
    with pipeline.loader() as loader:
        with pytest.raises(StageError, match=re.escape(str(expected.value))) as caught:
            got.extend(content(batch) for batch in loader)
        assert got == two_epochs[: len(got)]
        assert (loader.epoch, loader.step) == (0, len(got))
        with pytest.raises(StageError, match=re.escape(str(expected.value))):
            next(iter(loader))
        loader.seek(0, 0)
        assert len(got) == 0 or content(next(iter(loader))) == two_epochs[0]
    assert isinstance(caught.value.__cause__, KeyError)
    assert "in explode" in "".join(traceback.format_exception(caught.value))


def test_the_first_failing_record_is_named_even_if_a_later_one_fails_sooner():
    with serial(numbers()).loader() as loader:
        indices = next(iter(loader)).indices.tolist()

    def slow_failure() -> None:
        time.sleep(0.2)
        explode()

    pipeline = threads(At((indices[1],), slow_failure), At((indices[6],), explode), samples_per_message=2)
    with pipeline.loader() as loader, pytest.raises(StageError, match=rf"record {indices[1]} "):
        next(iter(loader))


def test_too_many_bad_samples_and_bad_records_with_raise():
    with threads(source=Damaged()).loader() as loader, pytest.raises(RecordError, match="is damaged"):
        list(loader)


def test_a_stuck_sample_is_an_error_that_names_it():
    release = threading.Event()
    pipeline = threads(At((11,), lambda: release.wait(30)), sample_deadline=0.2)
    with pipeline.loader() as loader:
        with pytest.raises(WorkerError) as caught:
            list(loader)
        with pytest.raises(WorkerError) as again:
            next(iter(loader))
        assert again.value is caught.value
        release.set()
    assert re.search(
        r"worker \d did not get on for 0\.\d s.*sample_deadline, while processing record 11 of epoch 0, "
        r"stage .*:At; a thread cannot be killed: use executor: process",
        str(caught.value),
    )


def test_a_consumer_that_pauses_does_not_let_deadlines_pass(two_epochs):
    with threads(At(ALL, Sleep(0.01)), sample_deadline=0.25, prefetch_batches=1).loader() as loader:
        got = []
        for batch in loader:
            got.append(content(batch))
            time.sleep(0.3 if batch.step < 2 else 0)
    assert got == two_epochs[:7]


def test_closing_does_not_wait_for_ever(caplog):
    release = threading.Event()
    loader = threads(At(ALL, lambda: release.wait(30))).loader()
    time.sleep(0.05)
    start = time.monotonic()
    loader.close()
    loader.close()
    assert time.monotonic() - start < 2
    assert "still busy with a sample" in caplog.text
    with pytest.raises(DataError, match="closed"):
        list(loader)
    release.set()
    while alive():
        time.sleep(0.001)


def test_a_loader_that_is_only_forgotten_ends_its_threads():
    loader = threads().loader()
    batch = next(iter(loader))
    assert len(alive()) == 2
    del loader
    assert not alive()
    assert batch.size == 8


class AlarmError(Exception):
    pass


def test_an_interrupted_take_loses_no_batch(two_epochs):
    def alarm(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is ThreadExecutor.take.__code__:
                raise AlarmError
            frame = frame.f_back

    previous = signal.signal(signal.SIGALRM, alarm)
    try:
        with threads(At(ALL, Sleep(0.01))).loader() as loader:
            got = []
            interruptions = 0
            while len(got) < 14:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.08))
                try:
                    got.append(content(next(iter(loader))))
                except AlarmError:
                    interruptions += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert interruptions > 0
    assert got == two_epochs


SCRIPT = """
import os, sys, time
from flowdata.errors import DataError
from tests.flowdata.executors.synthetic import At, Sleep, numbers
with numbers(At(tuple(range(53)), Sleep({seconds})), executor="thread").loader() as loader:
    print("ready", flush=True)
    {body}
"""


def script(seconds: float, body: str) -> subprocess.Popen[str]:
    text = SCRIPT.format(seconds=seconds, body=textwrap.indent(textwrap.dedent(body), "    ").strip())
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "ignore", "-c", text], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, process_group=0,
    )  # fmt: skip


@pytest.mark.parametrize("seconds", [0.002, 60], ids=["while all work", "while a stage is stuck"])
def test_ctrl_c_ends_a_script(seconds):
    process = script(seconds, """
        try:
            while True:
                list(loader)
        except KeyboardInterrupt:
            print("interrupted")
    """)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert (output, process.returncode) == ("interrupted\n", 0)
    assert ("still busy" in errors) == (seconds == 60)
    assert "Traceback" not in errors


def test_a_forked_child_says_that_it_has_no_threads():
    process = script(0.0, """
        next(iter(loader))
        if (child := os.fork()) == 0:
            try:
                list(loader)
            except DataError as error:
                print(error)
            os._exit(0)
        os.waitpid(child, 0)
        print(len(list(loader)))
    """)  # fmt: skip
    output, errors = process.communicate(timeout=20)
    assert errors == ""
    assert output == "ready\nLoader: its threads belong to the parent process; open a new loader\n6\n"
