"""Workers that die or get stuck are replaced, and the delivered bytes are those of an undisturbed run."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
import time

import numpy as np
import pytest

from flowdata.errors import ConfigError, WorkerError
from flowdata.executors.slots import SlotMemory
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import Sample
from tests.conftest import Campaign
from tests.flowdata.executors import synthetic
from tests.flowdata.executors.synthetic import At, Sleep, content, epochs, numbers, serial

ALL = tuple(range(53))


def undisturbed(count: int = 3) -> list[tuple[object, ...]]:
    with serial(numbers()).loader() as loader:
        return epochs(loader, count)


class Once:
    """Do something the first time any worker gets here, over all of them: the mark is a file."""

    def __init__(self, mark: object, action: object) -> None:
        self.mark, self.action = str(mark), action

    def __call__(self) -> None:
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self.action()  # type: ignore[operator]


class Die:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> None:
        os.kill(os.getpid(), self.number)


def leave() -> None:
    os._exit(3)


@pytest.mark.parametrize("action", [Die(signal.SIGKILL), Die(signal.SIGTERM), leave], ids=["KILL", "TERM", "exit"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_dead_worker_is_replaced_and_its_samples_made_again(tmp_path, caplog, action, workers) -> None:
    pipeline = numbers(At((11,), Once(tmp_path / "mark", action)), workers=workers, max_worker_restarts=1)
    with caplog.at_level(logging.WARNING), pipeline.loader() as loader:
        assert epochs(loader, 3) == undisturbed()
    assert (tmp_path / "mark").exists()
    [record] = caplog.records
    assert "while processing record 11 of epoch 0; a new worker takes its place" in record.getMessage()


def test_a_sample_that_kills_every_worker_is_named(caplog) -> None:
    pipeline = numbers(At((11,), Die(signal.SIGKILL)), max_worker_restarts=2)
    with pipeline.loader() as loader, pytest.raises(WorkerError) as caught:
        list(loader)
    assert "was killed by SIGKILL while processing record 11 of epoch 0" in str(caught.value)
    assert "; 2 had been replaced already (max_worker_restarts)" in str(caught.value)
    assert len(caplog.records) == 2


def test_a_stuck_sample_meets_its_deadline(tmp_path, caplog) -> None:
    pipeline = numbers(
        At((11,), Once(tmp_path / "mark", Sleep(60))), max_worker_restarts=1, sample_deadline=0.3
    )  # fmt: skip
    start = time.monotonic()
    with pipeline.loader() as loader:
        assert epochs(loader, 1) == undisturbed(1)
    assert time.monotonic() - start < 10
    assert "did not get on for 0." in caplog.text
    with pytest.raises(WorkerError, match=r"did not get on for .* more than sample_deadline, and was killed while"):
        next(iter(numbers(At(ALL, Sleep(60)), sample_deadline=0.3).loader()))


def test_slow_samples_within_the_deadline_are_left_alone() -> None:
    pipeline = numbers(At(ALL, Sleep(0.02)), sample_deadline=0.5, max_worker_restarts=0, samples_per_message=30)
    with pipeline.loader() as loader:
        assert epochs(loader, 1) == undisturbed(1)


def test_a_consumer_that_pauses_does_not_let_deadlines_pass() -> None:
    with numbers(sample_deadline=0.2, prefetch_batches=1).loader() as loader:
        got = []
        for batch in loader:
            got.append(content(batch))
            time.sleep(0.3 if batch.step < 3 else 0)
    assert got == undisturbed(1)


def test_arguments() -> None:
    with pytest.raises(ConfigError, match="max_worker_restarts to be an integer >= 0"):
        numbers(max_worker_restarts=-1)
    with pytest.raises(ConfigError, match="sample_deadline in seconds > 0 or none, got 0"):
        numbers(sample_deadline=0)


def test_seeking_while_workers_die() -> None:
    """What was given up stays given up, also when it was lost on the way."""
    want = undisturbed(2)
    with numbers(At(ALL, Sleep(0.002)), max_worker_restarts=20).loader() as loader:
        rng = random.Random(0)
        next(iter(loader))
        for _ in range(12):
            with contextlib.suppress(ProcessLookupError):  # it was killed before, which nobody has looked at yet
                os.kill(rng.choice(loader._executor.pids), signal.SIGKILL)  # type: ignore[attr-defined]
            step = rng.randrange(7)
            loader.seek(0, step)
            assert content(next(iter(loader))) == want[step]


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_chaos(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random worker is hit at a random time: the bytes are the undisturbed ones, or the documented error comes."""
    monkeypatch.setenv(synthetic.TOKEN, f"chaos-{os.getpid()}")
    want = undisturbed()
    for rng in campaign(200, 6):
        hit = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
        restarts = rng.choice([0, 1, 5])
        pipeline = numbers(
            At(ALL, Sleep(0.004)), workers=rng.choice([1, 2, 3]), samples_per_message=rng.choice([1, 3, 8]),
            prefetch_batches=rng.choice([1, 2, 4]), max_worker_restarts=restarts, sample_deadline=2.0,
        )  # fmt: skip
        disturb(pipeline, rng, hit, want)


def disturb(pipeline: Pipeline, rng: random.Random, hit: int, want: list[tuple[object, ...]]) -> None:
    start = time.monotonic()
    got: list[tuple[object, ...]] = []
    times = 1 + (rng.random() < 0.3)
    with pipeline.loader() as loader:
        threading.Thread(target=strike, args=(loader, rng, hit, times), daemon=True).start()
        try:
            for _ in range(3):
                got += [content(batch) for batch in loader]
        except WorkerError as error:
            assert pipeline.max_worker_restarts < times
            assert "worker" in str(error)  # noqa: PT017
            assert got == want[: len(got)]
            return
        finally:
            assert time.monotonic() - start < 20
    assert got == want


def strike(loader: Loader, rng: random.Random, hit: int, times: int) -> None:
    for _ in range(times):
        time.sleep(rng.uniform(0, 0.4))
        executor = loader._executor
        pids = executor.pids  # type: ignore[attr-defined]
        if pids:
            try:
                os.kill(rng.choice(pids), hit)
            except ProcessLookupError:
                continue


class DieUnclaimed:
    """A stage that, where it arrives, lets the first worker that reads task 2 die before it can claim it."""

    def __init__(self, mark: object) -> None:
        self.mark = str(mark)

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        claim, once = SlotMemory.claim, Once(self.mark, Die(signal.SIGKILL))

        def claim_or_die(memory: SlotMemory, worker: int, ticket: int) -> None:
            if ticket == 2:
                once()
            claim(memory, worker, ticket)

        SlotMemory.claim = claim_or_die  # type: ignore[method-assign]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_was_read_but_never_claimed_is_found(tmp_path, workers: int) -> None:
    pipeline = numbers(DieUnclaimed(tmp_path / "mark"), workers=workers, max_worker_restarts=1)
    start = time.monotonic()
    with pipeline.loader() as loader:
        assert epochs(loader, 2) == undisturbed(2)
    assert (tmp_path / "mark").exists()
    assert time.monotonic() - start < 10
