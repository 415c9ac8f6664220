"""What a loader counts while it runs, and how: the snapshots that users read, and the counters beneath them.

``loader.stats`` is a :class:`LoaderStats`, a frozen snapshot. The difference of two is what happened in between::

    before = loader.stats
    ...                                      # take batches
    part = loader.stats - before
    group = part.groups[0]
    group.quantile(0.95), group.busy, group.slowest_stage.name

Each worker counts in words of its own, for the process executor in shared memory, so that counting needs no lock and
takes less than a microsecond of a sample's time. A worker's time is spent in three ways: *busy*; waiting while the
consumer waits as well (*input*: there is too little to do, or it has not come yet); waiting while the consumer does not
(*output*: all that may be prepared ahead is ready, the consumer is slower).
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupStats", "LoaderStats", "StageStats", "WorkerStats"]

# -- snapshots -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageStats:
    """One step of a sample's way: ``read`` for the source, or a stage.

    Args:
        name: Its name within the pipeline.
        seconds: Time spent in it, over all workers.
    """

    name: str
    seconds: float

    def __sub__(self, earlier: StageStats) -> StageStats:
        return StageStats(self.name, self.seconds - earlier.seconds)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What one worker did with its time.

    Args:
        samples: Samples that it has made, bad ones included.
        busy_seconds: From getting something to do until there was no more.
        input_seconds: Waiting for something to do while the consumer waited, too.
        output_seconds: Waiting for the consumer to take what is ready.
    """

    samples: int
    busy_seconds: float
    input_seconds: float
    output_seconds: float

    @property
    def busy(self) -> float:
        """Part of the time that it was busy, 0 to 1."""
        return self.busy_seconds / max(self.busy_seconds + self.input_seconds + self.output_seconds, 1e-9)

    def __sub__(self, earlier: WorkerStats) -> WorkerStats:
        return WorkerStats(
            self.samples - earlier.samples,
            self.busy_seconds - earlier.busy_seconds,
            self.input_seconds - earlier.input_seconds,
            self.output_seconds - earlier.output_seconds,
        )


@dataclass(frozen=True)
class GroupStats:
    """Stages that the same workers run, one after the other for each sample.

    Args:
        stages: Source and stages of the group, in order; what their times leave of ``service_seconds`` went into
            copies into the batch.
        workers: One for each worker.
        service_seconds: Time spent on samples, over all workers; busy time beyond it went into messages.
        histogram: Samples by service time, in logarithmic buckets; read it by :meth:`quantile`.
        queued: Samples that waited for a worker at the time of the snapshot.
        active: How many of the workers there were at that time; fewer than all with ``workers: auto``.
    """

    stages: tuple[StageStats, ...]
    workers: tuple[WorkerStats, ...]
    service_seconds: float
    histogram: tuple[int, ...]
    queued: int
    active: int

    @property
    def samples(self) -> int:
        """Samples that went through the group, bad ones included."""
        return sum(each.samples for each in self.workers)

    @property
    def mean_seconds(self) -> float:
        """Mean service time of a sample."""
        return self.service_seconds / max(self.samples, 1)

    @property
    def busy(self) -> float:
        """Part of the workers' time that they were busy, 0 to 1."""
        busy = sum(each.busy_seconds for each in self.workers)
        return busy / max(busy + self.input_seconds + self.output_seconds, 1e-9)

    @property
    def input_seconds(self) -> float:
        """Time that the workers waited for something to do, summed."""
        return sum(each.input_seconds for each in self.workers)

    @property
    def output_seconds(self) -> float:
        """Time that the workers waited for the consumer, summed."""
        return sum(each.output_seconds for each in self.workers)

    @property
    def slowest_stage(self) -> StageStats:
        """The one that took the most time."""
        return max(self.stages, key=lambda each: each.seconds)

    def quantile(self, q: float) -> float:
        """Service time in seconds that the part ``q`` of all samples does not exceed, to an eighth; 0 of none."""
        counts = np.array(self.histogram)
        total = int(counts.sum())
        if total == 0:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(counts), max(q * total, 1)))
        return _bucket_seconds(min(bucket, len(counts) - 1))

    def __sub__(self, earlier: GroupStats) -> GroupStats:
        return GroupStats(
            tuple(a - b for a, b in zip(self.stages, earlier.stages, strict=True)),
            tuple(a - b for a, b in zip(self.workers, earlier.workers, strict=True)),
            self.service_seconds - earlier.service_seconds,
            tuple(a - b for a, b in zip(self.histogram, earlier.histogram, strict=True)),
            self.queued,
            self.active,
        )


@dataclass(frozen=True)
class LoaderStats:
    """Counts since the loader was opened.

    Args:
        batches: Batches taken by the consumer.
        samples: Samples in them, of this shard.
        bad: Samples that were left out or replaced.
        wait_seconds: Time the consumer spent waiting for a batch (for the serial executor: making it).
        first_batch_seconds: From opening the loader to its first batch; None before that.
        ready: Sum over all batches of how many were finished when the consumer asked for one; see :attr:`mean_ready`.
        groups: The pipeline's stages by who runs them.
    """

    batches: int = 0
    samples: int = 0
    bad: int = 0
    wait_seconds: float = 0.0
    first_batch_seconds: float | None = None
    ready: int = 0
    groups: tuple[GroupStats, ...] = ()

    @property
    def mean_ready(self) -> float:
        """Finished batches that the consumer found when it asked for one, on average: at most ``prefetch_batches``."""
        return self.ready / max(self.batches, 1)

    def __sub__(self, earlier: LoaderStats) -> LoaderStats:
        return replace(
            self,
            batches=self.batches - earlier.batches,
            samples=self.samples - earlier.samples,
            bad=self.bad - earlier.bad,
            wait_seconds=self.wait_seconds - earlier.wait_seconds,
            ready=self.ready - earlier.ready,
            groups=tuple(a - b for a, b in zip(self.groups, earlier.groups, strict=True)),
        )


# -- counting --------------------------------------------------------------------------------------------------------

Words: TypeAlias = "memoryview | array[int]"  # of signed 64-bit integers
now_ns = time.perf_counter_ns  # the same clock in all processes of a machine

CONSUMER_WORDS = 2
_WAITED, _WAITING_SINCE = range(CONSUMER_WORDS)

# A worker's words; after them one for each stage and then the histogram.
_SAMPLES, _SERVICE, _BUSY, _INPUT, _OUTPUT, _SINCE, _CONSUMER_WAITED, _STAGES = range(8)

# Buckets of the histogram: four to each doubling, from 1 us to 18 min; the first and the last take what is beyond.
_FIRST_BUCKET = 10 << 2
_BUCKETS = (40 << 2) - _FIRST_BUCKET


def counter_words(stages: int) -> int:
    """Words that a :class:`Meter` needs; ``stages`` includes the source."""
    return _STAGES + stages + _BUCKETS


def _bucket_seconds(bucket: int) -> float:
    """Middle of a bucket."""
    octave, quarter = divmod(bucket + _FIRST_BUCKET, 4)
    return (4.5 + quarter) * 2.0 ** (octave - 2) * 1e-9


class ConsumerClock:
    """How long the consumer has waited, in words that workers read to tell their two kinds of waiting apart."""

    def __init__(self, words: Words | None = None) -> None:
        self._words: Words = array("q", bytes(8 * CONSUMER_WORDS)) if words is None else words

    def move(self, words: Words | None = None) -> None:
        """Go on in other memory; by default in memory of this process."""
        old, self._words = self._words, array("q", bytes(8 * CONSUMER_WORDS)) if words is None else words
        for number in range(CONSUMER_WORDS):
            self._words[number] = old[number]

    def start(self) -> None:
        """The consumer begins to wait."""
        self._words[_WAITING_SINCE] = now_ns()

    def stop(self) -> None:
        """It has waited long enough."""
        waited = now_ns() - self._words[_WAITING_SINCE]
        self._words[_WAITING_SINCE] = 0
        self._words[_WAITED] += waited

    def waited(self, now: int) -> int:
        """Nanoseconds in all, up to ``now``."""
        since = self._words[_WAITING_SINCE]
        return self._words[_WAITED] + (max(0, now - since) if since else 0)

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.waited(now_ns()) * 1e-9


class StepTimes:
    """Nanoseconds spent in each step of the samples' way, and which step is under way."""

    __slots__ = ("current", "ns")

    def __init__(self, count: int) -> None:
        self.ns = [0] * count
        self.current = 0


class Meter:
    """Counts what one worker does.

    Args:
        words: Its :func:`counter_words` words, which nobody else writes.
        stages: Number of steps, the source included.
        consumer: The consumer's clock; None for a worker who gets what it does from other workers, so that all waiting
            for it is for input.
    """

    def __init__(self, words: Words, stages: int, consumer: ConsumerClock | None) -> None:
        self._words, self._consumer = words, consumer
        self._histogram = _STAGES + stages - _FIRST_BUCKET
        self.steps = StepTimes(stages)  # since the last wait
        words[_SINCE] = 0

    def begin_to_wait(self) -> None:
        """There is nothing to do."""
        words, now = self._words, now_ns()
        if (since := words[_SINCE]) > 0:
            words[_BUSY] += now - since
        times = self.steps.ns
        for number, each in enumerate(times):
            if each:
                words[_STAGES + number] += each
                times[number] = 0
        words[_CONSUMER_WAITED] = self._waited(now)
        words[_SINCE] = -now

    def end_waiting(self) -> None:
        """There is something to do."""
        words, now = self._words, now_ns()
        missing, late = _split(now + words[_SINCE], self._waited(now) - words[_CONSUMER_WAITED])
        words[_INPUT] += missing
        words[_OUTPUT] += late
        words[_SINCE] = now

    def _waited(self, now: int) -> int:
        return now if self._consumer is None else self._consumer.waited(now)

    def blocked(self, start: int) -> None:
        """Since ``start`` it could not get rid of what it had done."""
        spent = now_ns() - start
        self._words[_OUTPUT] += spent
        self._words[_SINCE] += spent  # that was no time of being busy

    def end(self) -> None:
        """The worker leaves, with nothing left to do."""
        self.begin_to_wait()
        self._words[_SINCE] = 0

    def sample(self, start: int) -> None:
        """A sample is done that was begun at ``start``, by :func:`now_ns`."""
        spent = now_ns() - start
        words = self._words
        words[_SAMPLES] += 1
        words[_SERVICE] += spent
        octave = min(max(spent.bit_length(), 11), 40)  # spent is 1xx... in binary: the bits xx are the quarter
        quarter = min(max(spent >> (octave - 3), 4), 7) - 4
        words[self._histogram + ((octave - 1) << 2) + quarter] += 1


def _split(waited: int, by_consumer: int) -> tuple[int, int]:
    missing = min(max(by_consumer, 0), waited)
    return missing, waited - missing


def summarize(
    counters: NDArray[np.int64],
    names: Sequence[str],
    consumer: ConsumerClock,
    *,
    steps: range | None = None,
    queued: int = 0,
    active: int | None = None,
) -> GroupStats:
    """The snapshot of a group.

    Args:
        counters: Its workers' words, shape (workers, words).
        names: Names of its steps.
        consumer: The consumer's clock.
        steps: Which steps are the group's; all by default.
        queued: Samples that wait for a worker.
        active: Workers that there are; all by default.
    """
    now = now_ns()
    steps = range(len(names)) if steps is None else steps
    waited = now if steps.start else consumer.waited(now)
    workers = []
    for row in counters.tolist():
        busy, missing, late, since = row[_BUSY], row[_INPUT], row[_OUTPUT], row[_SINCE]
        if since > 0:
            busy += max(0, now - since)
        elif since < 0:
            more = _split(max(0, now + since), waited - row[_CONSUMER_WAITED])
            missing, late = missing + more[0], late + more[1]
        workers.append(WorkerStats(row[_SAMPLES], busy * 1e-9, missing * 1e-9, late * 1e-9))
    total = counters.sum(axis=0).tolist()
    return GroupStats(
        tuple(StageStats(names[number], total[_STAGES + number] * 1e-9) for number in steps),
        tuple(workers),
        total[_SERVICE] * 1e-9,
        tuple(total[_STAGES + len(names) :]),
        queued,
        len(workers) if active is None else active,
    )


def settled(counters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counters of workers that have ended, for adding those of their successors."""
    counters = counters.copy()
    counters[:, [_SINCE, _CONSUMER_WAITED]] = 0
    return counters


class Tally:
    """The consumer's side: what it took and how long it waited, up to now."""

    def __init__(self) -> None:
        self._opened = now_ns()
        self.clock = ConsumerClock()
        self.batches = self.samples = self.bad = self.ready = 0
        self._first: float | None = None

    def took(self, samples: int, bad: int) -> None:
        """Count a batch."""
        if self._first is None:
            self._first = (now_ns() - self._opened) * 1e-9
        self.batches += 1
        self.samples += samples
        self.bad += bad

    def snapshot(self, groups: tuple[GroupStats, ...]) -> LoaderStats:
        """All of it."""
        return LoaderStats(
            self.batches, self.samples, self.bad, self.clock.seconds, self._first, self.ready, groups
        )  # fmt: skip
