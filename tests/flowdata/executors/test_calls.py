"""A pool of calls: any value there and back, in order, and what goes wrong."""

from __future__ import annotations

import os
import signal
import time
from collections import namedtuple
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from flowdata.errors import ConfigError, DataError, WorkerError
from flowdata.executors import platform
from flowdata.executors.calls import CallJob, CallPool
from tests.flowdata.executors import synthetic

Point = namedtuple("Point", "x y")


@dataclass
class Names(CallJob):
    owner: ClassVar[str] = "calls"
    parts: ClassVar[str] = "calls: the function"
    alternative: ClassVar[str] = "a plain call"
    unit: ClassVar[str] = "call"


@dataclass
class Do(Names):
    """Call the argument, a function of the worker's number."""

    worker: int = -1

    def prepare(self, worker: int) -> None:
        self.worker = worker

    def call(self, argument: Any) -> Any:
        return argument(self.worker)


@dataclass
class Echo(Names):
    def call(self, argument: Any) -> Any:
        return argument


def run(job: CallJob, arguments: list[Any], *, workers: int = 2, ahead: int = 4) -> list[Any]:
    pool = CallPool(job, workers=workers, ahead=ahead)
    results, left = [], list(enumerate(arguments))
    while left or pool.waiting:
        while left and not pool.full:
            number, argument = left.pop(0)
            pool.submit(argument, epoch=0, number=number)
        value, error = pool.take(30)
        results.append(value if error is None else error)
    pool.stop()
    return results


VALUES = [
    None,
    {"a": [1, 2.5, "text"], "b": (b"bytes", {3})},
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(20)[::2],
    np.zeros((0, 3), np.float32),
    [np.arange(n, dtype=np.int32) for n in (1, 1000, 3)],
    Point(np.ones(2), "y"),
    np.random.default_rng(0).random(300_000),
    np.array(["text", None], object),
]


@pytest.mark.parametrize("features", [platform.features, frozenset()], ids=["special calls", "fallbacks"])
def test_any_value_comes_back_in_order(features: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "features", features)
    for ahead in (1, 3):
        results = run(Echo(), VALUES, ahead=ahead)
        for got, want in zip(results, VALUES, strict=True):
            assert type(got) is type(want)
            np.testing.assert_equal(got, want)
            if isinstance(want, np.ndarray):
                assert got.dtype == want.dtype
                assert got.flags.writeable


def test_taken_results_stay_when_drawers_are_used_again() -> None:
    arguments = [np.full(1000, n) for n in range(40)]
    for got, want in zip(run(Echo(), arguments, ahead=2), arguments, strict=True):
        np.testing.assert_array_equal(got, want)


def test_all_workers_work() -> None:
    def who(worker: int) -> tuple[int, int]:
        time.sleep(0.05)
        return worker, os.getpid()

    results = run(Do(), [who] * 12, workers=3, ahead=6)
    assert {worker for worker, _ in results} == {0, 1, 2}
    assert len({pid for _, pid in results}) == 3
    assert os.getpid() not in {pid for _, pid in results}


def test_an_exception_is_the_result_of_its_call_only() -> None:
    def fail(worker: int) -> None:
        raise KeyError("boom")

    results = run(
        Do(), [lambda worker: 1, fail, lambda worker: 2, lambda worker: lambda: None, lambda worker: (x for x in "")]
    )
    assert results[0] == 1
    assert results[2] == 2
    assert callable(results[3])
    assert isinstance(results[1], KeyError)
    [note] = results[1].__notes__
    assert "Traceback in worker" in note
    assert "in fail" in note
    assert isinstance(results[4], TypeError)  # a generator cannot be pickled


def test_failing_preparation_is_told_by_every_call() -> None:
    class Bad(Echo):
        def prepare(self, worker: int) -> None:
            raise ValueError("not today")

    results = run(Bad(), [1, 2], workers=1)
    assert [str(error) for error in results] == ["not today", "not today"]


def test_timeout() -> None:
    pool = CallPool(Do(), workers=1, ahead=2)
    pool.submit(lambda worker: time.sleep(0.6) or "late", epoch=0, number=7)
    with pytest.raises(TimeoutError, match=r"calls: call 7 was not ready after 0\.05 s"):
        pool.take(0.05)
    assert pool.take() == ("late", None)
    pool.stop()


def test_death_of_a_worker() -> None:
    pool = CallPool(Do(), workers=2, ahead=4)
    pool.submit(lambda worker: os.kill(os.getpid(), signal.SIGSEGV), epoch=3, number=5)
    message = (
        r"calls: worker . \(pid \d+\) was killed by SIGSEGV while processing call 5 of epoch 3; "
        "native code crashed: run the call with a plain call to find where"
    )
    start = time.monotonic()
    with pytest.raises(WorkerError, match=message):
        pool.take()
    assert time.monotonic() - start < 5
    pool.stop()
    with pytest.raises(DataError, match="were ended or belong to the parent process"):
        pool.submit(1, epoch=0, number=0)


def test_forgotten_pools_and_their_workers_go(gone: Any, token: str) -> None:
    pool = CallPool(Do(), workers=2, ahead=2)
    pool.submit(lambda worker: worker, epoch=0, number=0)
    pool.take()
    assert set(pool.pids) < set(synthetic.family(token))
    pool.submit(lambda worker: time.sleep(60), epoch=0, number=1)
    del pool
    assert not gone(2)


def test_what_cannot_be_pickled_is_said() -> None:
    with pytest.raises(
        ConfigError, match=r"calls: the function travel to the workers by pickle, which failed.*a plain call"
    ):
        run(Do(worker=(x for x in "")), [])  # type: ignore[arg-type]
    pool = CallPool(Echo(), workers=1, ahead=1)
    with pytest.raises(TypeError):
        pool.submit((x for x in ""), epoch=0, number=0)
    pool.submit(5, epoch=0, number=0)
    assert pool.take() == (5, None)
    pool.stop()


def test_files_are_closed() -> None:
    run(Echo(), [1])
    before = len(os.listdir("/proc/self/fd"))
    run(Echo(), [1, 2])
    assert len(os.listdir("/proc/self/fd")) == before
