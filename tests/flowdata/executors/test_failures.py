"""What goes wrong in a worker reaches the consumer as one clear error, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from flowdata.errors import DataError, RecordError, StageError, WorkerError
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import Sample, SampleKey
from tests.flowdata.executors import synthetic
from tests.flowdata.executors.synthetic import At, Numbers, Sleep, content, numbers, serial

ALL = tuple(range(53))


def hold_the_interpreter() -> None:
    """Sleep in native code without letting any other thread run."""
    ctypes.PyDLL(None).sleep(60)


def first_error(pipeline: Pipeline) -> tuple[list[tuple[object, ...]], BaseException]:
    """What is delivered before the first error, and the error."""
    got: list[tuple[object, ...]] = []
    with pipeline.loader() as loader:
        try:
            for batch in loader:
                got.append(content(batch))
        except BaseException as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                next(iter(loader))
            return got, error
    raise AssertionError("nothing was raised")


def wait_for_workers(token: str, count: int = 2) -> list[int]:
    """Process numbers of the server and then of the workers, as soon as all exist."""
    deadline = time.monotonic() + 10
    while len(found := synthetic.family(token)) < 1 + count:
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    server = synthetic.server_of(found)
    return [server, *(pid for pid in found if pid != server)]


def error_within_a_second(loader: Loader) -> WorkerError:
    start = time.monotonic()
    with pytest.raises(WorkerError) as caught:  # noqa: PT012
        while True:
            list(loader)
    assert time.monotonic() - start < 1
    return caught.value


def explode() -> None:
    raise KeyError("boom")


class StrangeError(Exception):
    """Pickles, but cannot be made again from its arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def explode_strangely() -> None:
    raise StrangeError(1, 2)


@dataclass(frozen=True)
class BadRecord(Numbers):
    """A source that raises ``error`` at record 11."""

    error: type[Exception] = RecordError

    def read(self, key: SampleKey) -> Sample:
        if key.index == 11:
            raise self.error("part-00001 at byte 99: expected 12 bytes, found 4")
        return super().read(key)


class LocalError(Exception):
    """An error of the user's own."""


def wrong_shape(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample.replace(image=np.zeros(3, np.float32)) if sample.key.index == 30 else sample


@pytest.mark.parametrize(
    "pipeline",
    [
        numbers(At((11, 30, 31), explode)),
        numbers(At((30,), explode_strangely)),
        numbers(wrong_shape),
        numbers(source=BadRecord()),
        numbers(source=BadRecord(error=LocalError)),
        numbers(At((5,), lambda: os.read(999, 1)), workers=1, samples_per_message=1),
    ],
    ids=["stage", "strange", "shape", "record", "own", "os"],
)
def test_an_exception_is_the_serial_executors_and_comes_when_its_batch_is_due(pipeline):
    want, expected = first_error(serial(pipeline))
    got, error = first_error(pipeline)
    assert got == want
    assert type(error) is type(expected)
    assert str(error) == str(expected)
    assert "Traceback in worker" in error.__notes__[0]
    assert "pipeline.process" in error.__notes__[0]
    if type(expected.__cause__) in (KeyError, OSError):
        assert type(error.__cause__) is type(expected.__cause__)


def test_the_first_failing_record_is_named_even_if_a_later_one_fails_sooner():
    with serial(numbers()).loader() as loader:
        indices = next(iter(loader)).indices.tolist()

    def slow_failure() -> None:
        time.sleep(0.3)
        explode()

    pipeline = numbers(At((indices[1],), slow_failure), At((indices[6],), explode), samples_per_message=2)
    with pipeline.loader() as loader, pytest.raises(StageError, match=rf"record {indices[1]} "):
        next(iter(loader))


def test_an_error_does_not_wait_for_records_after_it():
    with serial(numbers()).loader() as loader:
        indices = next(iter(loader)).indices.tolist()
    pipeline = numbers(At((indices[0],), explode), At((indices[6],), Sleep(60)), samples_per_message=2)
    with pipeline.loader() as loader, pytest.raises(StageError, match=rf"record {indices[0]} "):
        next(iter(loader))


@dataclass(frozen=True)
class Unopenable(Numbers):
    """Opens in the process that made it only."""

    error: type[Exception] = RecordError
    home: int = 0

    def open(self) -> None:
        if os.getpid() != self.home:
            raise self.error("photos: no such directory")


def test_what_setting_up_raises_on_purpose_is_raised_as_it_is(gone):
    with numbers(source=Unopenable(home=os.getpid())).loader() as loader:
        with pytest.raises(RecordError, match=r"^photos: no such directory") as caught:
            next(iter(loader))
        assert not gone(1)
    assert "in open" in caught.value.__notes__[0]


def test_what_setting_up_raises_by_accident_is_a_worker_error(gone):
    with numbers(source=Unopenable(error=ValueError, home=os.getpid())).loader() as loader:
        with pytest.raises(WorkerError, match="could not be set up: ValueError: photos: no such") as caught:
            next(iter(loader))
        assert not gone(1)
    assert "in open" in caught.value.__cause__.__notes__[0]


def test_a_killed_worker_is_named_with_signal_and_record(gone):
    with numbers(At((11,), Sleep(60))).loader() as loader:
        next(iter(loader))
        deadline = time.monotonic() + 10
        while 11 not in (busy := [record(loader, number) for number in range(2)]) or not loader._executor.pids:
            assert time.monotonic() < deadline
            loader._executor._prefetcher.receive()
            time.sleep(0.01)
        workers = loader._executor.pids
        victim = busy.index(11)
        os.kill(workers[victim], signal.SIGKILL)
        error = error_within_a_second(loader)
        assert not gone(1)
        assert loader_is_done(loader, error)
    assert f"worker {victim} (pid {workers[victim]}) was killed by SIGKILL while processing record 11 of" in str(error)
    assert "memory limit" in str(error)


def record(loader: Loader, worker: int) -> int | None:
    busy = loader._executor._prefetcher.crew.memory.progress(worker)
    return busy and busy[1]


def loader_is_done(loader: Loader, error: WorkerError) -> bool:
    with pytest.raises(WorkerError) as caught:
        next(iter(loader))
    return caught.value is error


def test_workers_killed_at_random_times(token, gone):
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    draw = random.Random(seed)
    for _ in range(5):
        pipeline = numbers(At(ALL, Sleep(0.003)), workers=draw.choice([1, 2, 3]))
        with pipeline.loader() as loader:
            _, *workers = wait_for_workers(token, pipeline.workers)
            if draw.random() < 0.7:
                next(iter(loader))
            time.sleep(draw.random() * 0.1)
            os.kill(draw.choice(workers), signal.SIGKILL)
            assert "was killed by SIGKILL" in str(error_within_a_second(loader))
            assert not gone(1)


def test_a_worker_that_exits_by_itself():
    with numbers(At((11,), lambda: os._exit(7))).loader() as loader:
        with pytest.raises(WorkerError, match=r"worker \d \(pid \d+\) exited with code 7 while processing record 11 "):
            list(loader)


def test_native_code_that_crashes():
    with numbers(At((11,), lambda: os.kill(os.getpid(), signal.SIGSEGV))).loader() as loader:
        with pytest.raises(WorkerError, match=r"was killed by SIGSEGV while processing record 11 .*native code"):
            list(loader)


@pytest.mark.parametrize("set_up", [False, True])
def test_a_killed_server(token, gone, set_up):
    with numbers(At(ALL, Sleep(0.003))).loader() as loader:
        if set_up:
            next(iter(loader))
        os.kill(synthetic.server_of(synthetic.family(token)), signal.SIGKILL)
        error = error_within_a_second(loader)
        assert not gone(1)
    assert "server" in str(error)
    assert "was killed by SIGKILL" in str(error)


@pytest.mark.parametrize("action", [Sleep(60), hold_the_interpreter], ids=["sleeps", "holds the interpreter"])
@pytest.mark.parametrize("end", ["close", "kill the server"])
def test_a_stage_that_never_returns_is_ended(token, gone, action: Callable[[], None], end: str):
    loader = numbers(At(ALL, action)).loader()
    server = wait_for_workers(token)[0]
    time.sleep(0.05)
    start = time.monotonic()
    if end == "close":
        loader.close()
        assert not synthetic.family(token)
    else:
        os.kill(server, signal.SIGKILL)
        assert not gone(1)
        loader.close()
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("which", ["worker", "server"])
def test_a_stopped_process_is_ended(token, gone, which):
    loader = numbers(At(ALL, Sleep(0.01))).loader()
    next(iter(loader))
    os.kill(wait_for_workers(token)[-1 if which == "worker" else 0], signal.SIGSTOP)
    start = time.monotonic()
    loader.close()
    assert time.monotonic() - start < 4
    assert not synthetic.family(token)


def test_interrupts_do_not_reach_workers(token):
    with numbers(At(ALL, Sleep(0.002))).loader() as loader:
        for pid in wait_for_workers(token):
            os.kill(pid, signal.SIGINT)
        assert len(list(loader)) == 7


def test_closed_loaders_say_so():
    loader = numbers().loader()
    loader.close()
    with pytest.raises(DataError, match="it was closed"):
        loader._executor.take()
    loader.seek(1, 1)
    with pytest.raises(DataError, match="it was closed"):
        list(loader)
