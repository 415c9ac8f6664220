"""What a loader counts: the arithmetic on a clock of the test's own, then each executor."""

from __future__ import annotations

import os
import signal
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest

from flowdata.executors import stats
from flowdata.executors.stats import ConsumerClock, GroupStats, Meter, counter_words, settled, summarize
from flowdata.loader import Loader
from tests.flowdata.executors.synthetic import At, Sleep, noise, numbers

ALL = tuple(range(53))
EXECUTORS = ["serial", "thread", "process"]


class Clock:
    """Nanoseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 10**9

    def __call__(self) -> int:
        return self.now

    def pass_by(self, ns: int) -> None:
        self.now += ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(stats, "now_ns", clock)
    return clock


def meter_of(consumer: ConsumerClock, names: tuple[str, ...] = ("read",)) -> tuple[Meter, array[int]]:
    words = array("q", bytes(8 * counter_words(len(names))))
    return Meter(words, len(names), consumer), words


def group_of(words: array[int], consumer: ConsumerClock, names: tuple[str, ...] = ("read",)) -> GroupStats:
    return summarize(np.array([words]), names, consumer)


@pytest.mark.parametrize("ns", [1_024, 1_500, 40_000, 1_000_000, 3 * 10**9, 300 * 10**9])
def test_quantiles_are_right_to_an_eighth(clock: Clock, ns: int) -> None:
    consumer = ConsumerClock()
    meter, words = meter_of(consumer)
    times = np.linspace(ns, 3 * ns, 200).astype(int).tolist()
    for each in times:
        start = clock.now
        clock.pass_by(each)
        meter.sample(start)
    group = group_of(words, consumer)
    assert group.samples == sum(group.histogram) == 200
    assert group.service_seconds == pytest.approx(sum(times) * 1e-9)
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        assert group.quantile(q) == pytest.approx(np.quantile(times, q) * 1e-9, rel=0.126)


@pytest.mark.parametrize(("ns", "bucket"), [(0, 0), (700, 0), (2**40, -1), (2**50, -1)])
def test_what_is_beyond_the_buckets_is_in_the_outermost(clock: Clock, ns: int, bucket: int) -> None:
    consumer = ConsumerClock()
    meter, words = meter_of(consumer)
    start = clock.now
    clock.pass_by(ns)
    meter.sample(start)
    assert group_of(words, consumer).histogram[bucket] == 1


def test_no_samples_have_no_quantile() -> None:
    consumer = ConsumerClock()
    assert group_of(meter_of(consumer)[1], consumer).quantile(0.5) == 0.0


def test_waiting_is_input_while_the_consumer_waits_and_output_while_it_does_not(clock: Clock) -> None:
    consumer = ConsumerClock()
    meter, words = meter_of(consumer, ("read", "decode"))

    def seconds() -> tuple[float, float, float]:
        [worker] = group_of(words, consumer, ("read", "decode")).workers
        return round(worker.busy_seconds, 9), round(worker.input_seconds, 9), round(worker.output_seconds, 9)

    meter.begin_to_wait()
    clock.pass_by(10**9)
    assert seconds() == (0, 0, 1)  # also while it lasts
    consumer.start()
    clock.pass_by(2 * 10**9)
    assert seconds() == (0, 2, 1)
    meter.end_waiting()
    clock.pass_by(4 * 10**9)
    assert seconds() == (4, 2, 1)
    consumer.stop()
    meter.steps.ns[1] += 3 * 10**9
    meter.begin_to_wait()
    clock.pass_by(8 * 10**9)
    meter.end_waiting()
    assert seconds() == (4, 2, 9)
    group = group_of(words, consumer, ("read", "decode"))
    assert [(each.name, each.seconds) for each in group.stages] == [("read", 0), ("decode", 3)]
    assert group.slowest_stage.name == "decode"
    assert group.busy == pytest.approx(4 / 15)
    assert consumer.seconds == 6
    assert settled(np.array([words])).tolist() != [words.tolist()]  # when the wait began is nothing to add up


def test_a_clock_moves_on_in_other_memory(clock: Clock) -> None:
    consumer = ConsumerClock()
    consumer.start()
    clock.pass_by(10**9)
    memory = memoryview(bytearray(16)).cast("q")
    consumer.move(memory)
    clock.pass_by(10**9)
    assert ConsumerClock(memory).seconds == 2
    consumer.stop()
    consumer.move()
    memory[0] = 0
    assert consumer.seconds == 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_slow_stage_is_named(executor: str) -> None:
    with numbers(At(ALL, Sleep(0.003)), executor=executor, prefetch_batches=2).loader() as loader:
        list(loader)
        got = loader.stats
    [group] = got.groups
    assert [each.name for each in group.stages] == ["read", f"{noise.__module__}:noise", f"{At.__module__}:At"]
    assert group.slowest_stage.name == f"{At.__module__}:At"
    assert group.samples >= got.samples == 53
    assert got.batches == 7
    assert group.quantile(0.5) > 0.0026  # the middle of a bucket
    assert group.mean_seconds > 0.003
    inside = sum(each.seconds for each in group.stages)
    assert 53 * 0.003 < inside < group.service_seconds < sum(each.busy_seconds for each in group.workers)
    assert got.first_batch_seconds is not None
    assert got.first_batch_seconds > 0.003
    assert got.wait_seconds > 0
    assert got.mean_ready <= 2
    asdict(got)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_slow_consumer_is_waited_for(executor: str) -> None:
    with numbers(executor=executor).loader() as loader:
        batches = iter(loader)
        next(batches)
        time.sleep(0.05)
        before = loader.stats
        for _ in range(4):
            time.sleep(0.05)
            next(batches)
        part = loader.stats - before
    [group] = part.groups
    assert part.batches == 4
    assert part.wait_seconds < 0.1
    assert group.output_seconds > 0.15 * len(group.workers)
    assert group.output_seconds > 10 * group.input_seconds
    assert group.busy < 0.5
    if executor != "serial":
        assert part.mean_ready == 4


def test_workers_without_enough_to_do_wait_for_input() -> None:
    pipeline = numbers(At(ALL, Sleep(0.01)), prefetch_batches=1, samples_per_message=8)
    with pipeline.loader() as loader:
        list(loader)
        [group] = loader.stats.groups
    assert group.input_seconds > 0.2  # one worker at a time has the only batch
    assert group.input_seconds > 3 * group.output_seconds


def test_counts_outlive_workers_and_loader() -> None:
    with numbers(max_worker_restarts=5).loader() as loader:
        list(loader)
        before = loader.stats.groups[0].samples
        os.kill(loader._executor.pids[0], signal.SIGKILL)  # type: ignore[attr-defined]
        list(loader)
        assert loader.stats.groups[0].samples > before
        restart(loader)
        assert loader.stats.groups[0].samples > before
        list(loader)
        last = loader.stats
    assert last.groups[0].samples >= last.samples == 3 * 53
    assert loader.stats.groups[0].samples >= last.groups[0].samples
    assert loader.stats.wait_seconds == pytest.approx(last.wait_seconds)


def restart(loader: Loader) -> None:
    """End the workers as an interrupted ``take`` does."""
    loader._executor._end()  # type: ignore[attr-defined]
