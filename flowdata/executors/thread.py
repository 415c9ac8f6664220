"""Worker threads that prepare batches ahead, in the calling process: where worker processes cannot be had.

They share the interpreter with the consumer, so they help as far as stages release its lock, which image codecs and
large array operations do. Nothing has to be pickled, and nothing is protected: a stage that crashes takes all along,
and one that never returns cannot be ended.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from array import array
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import DataError, WorkerError
from flowdata.executors.budget import most_threads
from flowdata.executors.rows import prepare, without
from flowdata.executors.serial import PlanCursor
from flowdata.executors.stats import GroupStats, Meter, Tally, counter_words, now_ns, summarize
from flowdata.failures import BadSample
from flowdata.loader import Position
from flowdata.sample import Batch, SampleKey, Specs
from flowdata.sharding import ShardSpec

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline

THREAD_NAME = "flowdata-worker"
_STOP_S = 1.0  # for threads to end by themselves
_log = logging.getLogger(__name__)


class ThreadExecutor:
    """Prepare batches in worker threads, ``prefetch_batches`` ahead, and deliver them in order.

    An exception in a worker is raised by ``take`` when its batch is due, and that batch stays the next one.

    Args:
        pipeline: What to run; ``workers``, ``prefetch_batches`` and ``samples_per_message`` are its fields.
        shard: Which part of each global batch.
        specs: Specs of the values in a batch.
        tally: Where to count the time spent waiting.
    """

    def __init__(self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, tally: Tally) -> None:
        self._pipeline, self._specs, self._tally = pipeline, specs, tally
        self._cursor = PlanCursor(pipeline, shard)
        self._position = Position()
        self._queue: deque[_Filling] = deque()
        self._failure: BaseException | None = None
        self._only_waiting = False
        self._owner = os.getpid()
        steps = len(pipeline.step_names)
        self._counters = [array("q", bytes(8 * counter_words(steps))) for _ in range(most_threads(pipeline))]
        self._shared = shared = _Shared(pipeline, specs, len(self._counters))
        meters = [Meter(words, steps, tally.clock) for words in self._counters]
        threads = [
            threading.Thread(target=_work, args=(shared, number, meter), name=f"{THREAD_NAME}-{number}", daemon=True)
            for number, meter in enumerate(meters)
        ]
        self._hand_out()
        for thread in threads:
            thread.start()
        self._stop = weakref.finalize(self, _end, shared, threads)  # also when it is forgotten, and at exit

    def take(self) -> Batch:
        """The next batch, waiting for it if need be."""
        if self._failure is not None:
            raise self._failure
        if os.getpid() != self._owner:
            raise DataError("Loader: its threads belong to the parent process; open a new loader")
        self._only_waiting = False
        try:
            self._hand_out()
            batch = self._queue[0]
            self._tally.ready += sum(not each.pending for each in self._queue)
            if not batch.due:
                self._wait(batch)
            if batch.failures:
                raise batch.failures[min(batch.failures)]
            delivered = self._deliver(batch)
            self._queue.popleft()
            self._position = self._queue[0].position if self._queue else self._cursor.position
            self._hand_out()
        except BaseException:
            # Ctrl-C may have struck anywhere, with a batch half handed out. While nothing happens, nothing is lost.
            if not self._only_waiting:
                self._give_up()
            raise
        return delivered

    def _wait(self, batch: _Filling) -> None:
        deadline = self._pipeline.sample_deadline
        patience = None if deadline is None else deadline / 4
        since = now_ns() * 1e-9
        self._tally.clock.start()
        try:
            while not batch.due:
                self._only_waiting = True
                self._shared.wait(patience)
                self._only_waiting = False
                if deadline is not None:
                    self._refuse_stuck(deadline, since)
        finally:
            self._tally.clock.stop()

    def _refuse_stuck(self, deadline: float, waiting_since: float) -> None:
        """Give up when a worker has not got on for ``deadline`` seconds of waiting."""
        for number, busy in enumerate(self._shared.busy):
            if busy is None:
                continue
            key, since, meter = busy
            stuck = now_ns() * 1e-9 - max(since, waiting_since)
            if stuck > deadline:
                step = self._pipeline.step_names[meter.steps.current]
                self._failure = WorkerError(
                    f"thread executor: worker {number} did not get on for {stuck:.1f} s, which is more than "
                    f"sample_deadline, while processing record {key.index} of epoch {key.epoch}, stage {step}; a "
                    f"thread cannot be killed: use executor: process, which replaces such a worker"
                )
                raise self._failure

    def _hand_out(self) -> None:
        """Start batches while fewer than ``prefetch_batches`` are on their way."""
        chunk = self._pipeline.samples_per_message
        while len(self._queue) < self._pipeline.prefetch_batches:
            position, indices, global_size = self._cursor.next()
            size = len(indices)
            arrays: dict[str, Any] = {
                name: np.empty((size, *spec.fixed_shape), spec.dtype) if spec.fixed else [None] * size
                for name, spec in self._specs.items()
            }
            starts = range(0, size, chunk)
            batch = _Filling(position, indices, global_size, arrays, np.ones(size, np.bool_), set(starts))
            self._queue.append(batch)
            for first in starts:
                self._shared.tasks.put((batch, range(first, min(first + chunk, size))))

    def _deliver(self, batch: _Filling) -> Batch:
        arrays, indices = batch.arrays, batch.indices
        if not batch.kept.all():
            arrays, indices = without(arrays, batch.kept), indices[batch.kept]
        bad = tuple(batch.bad[row] for row in sorted(batch.bad))
        return Batch(arrays, indices, batch.position.epoch, batch.position.step, batch.global_size, bad)

    def seek(self, position: Position) -> None:
        """Give up what was prepared, unless it is what is wanted, and prepare from ``position`` on."""
        if position != self._position:
            self._position = position
            self._give_up()

    def _give_up(self) -> None:
        for batch in self._queue:
            batch.wanted = False
        self._queue.clear()
        self._cursor.position = self._position

    def group_stats(self) -> tuple[GroupStats, ...]:
        """One group; queued are the samples that no thread has taken yet."""
        queued = self._shared.tasks.qsize() * self._pipeline.samples_per_message
        return (summarize(np.array(self._counters), self._pipeline.step_names, self._tally.clock, queued=queued),)

    def close(self) -> None:
        """End the threads; batches that were taken stay valid."""
        self._failure = self._failure or DataError("Loader: it was closed; ask the pipeline for a new one")
        self._give_up()
        self._stop()


@dataclass(slots=True, eq=False)
class _Filling:
    """A batch that workers are filling, or that is full and waits for its turn.

    ``pending`` holds the first row of each chunk that is not finished, ``bad`` and ``failures`` what came of some rows.
    Each worker writes entries of its own, in single operations, so there is no lock; ``pending`` is changed last.
    """

    position: Position
    indices: NDArray[np.int64]
    global_size: int
    arrays: dict[str, Any]
    kept: NDArray[np.bool_]
    pending: set[int]
    bad: dict[int, BadSample] = field(default_factory=dict)
    failures: dict[int, BaseException] = field(default_factory=dict)
    wanted: bool = True

    @property
    def due(self) -> bool:
        """Whether nothing can change any more what the consumer gets: all rows, or the first error of them."""
        pending = tuple(self.pending)
        return not pending or (bool(self.failures) and min(pending) > min(tuple(self.failures)))


class _Shared:
    """What consumer and workers share; workers know nothing of the executor, so that it can be forgotten."""

    def __init__(self, pipeline: Pipeline, specs: Specs, workers: int) -> None:
        self.pipeline, self.specs = pipeline, specs
        self.busy: list[tuple[SampleKey, float, Meter] | None] = [None] * workers
        self.tasks: SimpleQueue[tuple[_Filling, range] | None] = SimpleQueue()
        self.stopping = False
        self._finished = threading.Event()

    def wake(self) -> None:
        """Say that a chunk is finished."""
        self._finished.set()

    def wait(self, seconds: float | None) -> None:
        """Sleep until a chunk is finished, or for so long; look at the batches afterwards."""
        self._finished.wait(seconds)
        self._finished.clear()


def _work(shared: _Shared, number: int, meter: Meter) -> None:
    """The life of a worker."""
    while True:
        meter.begin_to_wait()
        task = shared.tasks.get()
        meter.end_waiting()
        if task is None:
            return
        batch, rows = task
        for row in rows:
            if shared.stopping or not batch.wanted:
                break
            try:
                _fill(shared, batch, row, number, meter)
            except BaseException as error:
                batch.failures[row] = error
                break
        shared.busy[number] = None
        batch.pending.discard(rows.start)
        shared.wake()
        del batch, task  # nothing is kept alive while there is nothing to do


def _fill(shared: _Shared, batch: _Filling, row: int, number: int, meter: Meter) -> None:
    """Put a sample into its row of a batch."""
    start = now_ns()
    key = SampleKey(batch.position.epoch, int(batch.indices[row]))
    shared.busy[number] = key, start * 1e-9, meter
    arrays, specs = batch.arrays, shared.specs
    rows = {name: arrays[name][row, ...] for name, spec in specs.items() if spec.fixed}
    ragged, report = prepare(shared.pipeline, key, specs, rows, meter.steps)
    if report is not None:
        batch.bad[row] = report
    if ragged is None:
        batch.kept[row] = False
    else:
        for name, value in ragged.items():
            arrays[name][row] = value
    meter.sample(start)


def _end(shared: _Shared, threads: list[threading.Thread]) -> None:
    """End the threads; one that is stuck in a sample stays until the process ends."""
    shared.stopping = True
    for _ in threads:
        shared.tasks.put(None)
    deadline = time.monotonic() + _STOP_S
    for thread in threads:
        if thread is not threading.current_thread():  # which may be the one that collects the garbage
            thread.join(max(0.0, deadline - time.monotonic()))
    if stuck := [thread.name for thread in threads if thread.is_alive() and thread is not threading.current_thread()]:
        _log.warning("%s: still busy with a sample after %s s; it ends with the process", ", ".join(stuck), _STOP_S)
