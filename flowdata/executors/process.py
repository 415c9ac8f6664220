"""Worker processes that prepare batches ahead: the same bytes as the serial executor delivers, sooner."""

from __future__ import annotations

import logging
import pickle
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import DataError
from flowdata.executors.budget import Settling, check_memory, most_workers
from flowdata.executors.crew import Crew
from flowdata.executors.groups import drawers_between
from flowdata.executors.job import PipelineJob
from flowdata.executors.naps import Naps
from flowdata.executors.rows import without
from flowdata.executors.serial import PlanCursor
from flowdata.executors.slots import Lease, SlotLayout
from flowdata.executors.stats import GroupStats, LoaderStats, Tally, counter_words, settled, summarize
from flowdata.executors.worker import FAILED, FAILURE, TASK, Message, unpack_error
from flowdata.failures import BadSample
from flowdata.loader import Position
from flowdata.sample import Batch, Specs
from flowdata.sharding import ShardSpec, split_range

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline

_WINDOW_S = 2.0  # for which workers and consumer are watched before their number changes
_log = logging.getLogger(__name__)
_SEARCH_S = 0.2  # far longer than a message is on its way; only a worker's death is followed by such a wait


class ProcessExecutor:
    """Prepare batches in worker processes, ``prefetch_batches`` ahead, and deliver them in order.

    Finished arrays are written straight into slots of shared memory, and a delivered batch is a set of views of its
    slot; when the last view of it dies, the slot is used again. A consumer that keeps many batches gets copies of its
    own beyond half of the slots, so keeping all of them is slow but never stops the workers. Ragged values travel by
    pickle.

    An exception in a worker is raised by ``take`` when its batch is due, with the worker's traceback as a note, and
    ends the workers, as does the death of one; every later ``take`` raises it again.

    Args:
        pipeline: What to run; ``workers``, ``prefetch_batches`` and ``samples_per_message`` are its fields.
        shard: Which part of each global batch.
        specs: Specs of the values in a batch.
        tally: Where to count the time spent waiting.

    Raises:
        ConfigError: the pipeline cannot be pickled, or there is too little memory.
    """

    def __init__(self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, tally: Tally) -> None:
        self._pipeline, self._shard, self._specs, self._tally = pipeline, shard, specs, tally
        self._settling = [Settling(most) for most in most_workers(pipeline)]  # of each group
        self._automatic = any(group.workers == "auto" for group in pipeline.groups)
        self._window = time.monotonic(), LoaderStats()
        self._ended = np.zeros(
            (sum(each.most for each in self._settling), counter_words(len(pipeline.step_names))), np.int64
        )
        self._failure: BaseException | None = None
        self._position = Position()
        self._prefetcher: _Prefetcher | None = None
        self._only_waiting = False
        self._start()

    def _start(self) -> _Prefetcher:
        most = [each.most for each in self._settling]
        prefetcher = _Prefetcher(self._pipeline, self._shard, self._specs, self._position, most)
        # Also when the user forgets to close, and at exit.
        self._end_workers = weakref.finalize(self, prefetcher.crew.stop)
        prefetcher.crew.resize([each.count for each in self._settling])
        self._prefetcher = prefetcher
        self._tally.clock.move(prefetcher.crew.memory.consumer_words)
        return prefetcher

    def _end(self) -> None:
        if self._prefetcher is not None:
            self._tally.clock.move()
            if running := self._running():
                self._ended += settled(running.crew.memory.all_counters())
        self._prefetcher = None
        self._end_workers()

    def group_stats(self) -> tuple[GroupStats, ...]:
        """The pipeline's groups; queued are the samples in their pipes."""
        counters = self._ended
        if prefetcher := self._running():
            counters = counters + prefetcher.crew.memory.all_counters()
        groups = []
        start = 0
        for number, (group, workers) in enumerate(zip(self._pipeline.groups, self._settling, strict=True)):
            own = counters[start : start + workers.most]
            start += workers.most
            queued = prefetcher.queued(number) if prefetcher else 0
            groups.append(
                summarize(
                    own,
                    self._pipeline.step_names,
                    self._tally.clock,
                    steps=group.steps,
                    queued=queued,
                    active=workers.count,
                )
            )
        return tuple(groups)

    def _running(self) -> _Prefetcher | None:
        return None if self._prefetcher is None or self._prefetcher.crew.stopped else self._prefetcher

    def _settle(self, prefetcher: _Prefetcher) -> None:
        """Look, every few seconds, how many workers are needed."""
        since, before = self._window
        now = time.monotonic()
        if now - since < _WINDOW_S:
            return
        after = self._tally.snapshot(self.group_stats())
        self._window = now, after
        if not before.batches:
            return  # from here on it is measured: the start of the workers is no work
        part, had = after - before, [each.count for each in self._settling]
        for settling, group, stats in zip(self._settling, self._pipeline.groups, part.groups, strict=True):
            if group.workers == "auto":
                settling.observe(now - since, sum(each.busy_seconds for each in stats.workers), part.wait_seconds)
        if (counts := [each.count for each in self._settling]) != had:
            text = " + ".join(f"{each.count} of at most {each.most}" for each in self._settling)
            _log.info("process executor: workers: auto is %s now", text)
            prefetcher.crew.resize(counts)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers, once the first batch has come."""
        return self._prefetcher.crew.pids if self._prefetcher else []

    def take(self) -> Batch:
        """The next batch, waiting for it if need be."""
        if self._failure is not None:
            raise self._failure
        self._only_waiting = False
        try:
            prefetcher = self._prefetcher or self._start()
            prefetcher.receive()
            self._tally.ready += prefetcher.ready
            if not prefetcher.is_due():
                self._wait(prefetcher)
            batch = prefetcher.pop()
            self._position = prefetcher.position
            if self._automatic:
                self._settle(prefetcher)
        except _FromWorkers as error:
            self._failure = error.original
            self._end()
            raise self._failure from self._failure.__cause__
        except BaseException:
            # Ctrl-C or a signal handler's exception may have struck anywhere, with a message half noted. It must not
            # cost a batch or hang a later call, so that one starts again with new workers. Mostly it strikes while
            # nothing happens, and nothing is lost.
            if not self._only_waiting:
                self._end()
            raise
        return batch

    def _wait(self, prefetcher: _Prefetcher) -> None:
        self._tally.clock.start()
        try:
            prefetcher.crew.begin_to_wait()
            naps, nap = Naps(prefetcher.missing), 0.0
            while not prefetcher.is_due():
                self._only_waiting = True
                time.sleep(nap)
                prefetcher.crew.wait(prefetcher.patience)
                self._only_waiting = False
                prefetcher.receive()
                nap = naps.until_next_look(prefetcher.missing)
                if self._pipeline.sample_deadline is not None:
                    prefetcher.crew.end_stuck(self._pipeline.sample_deadline)
        finally:
            self._tally.clock.stop()

    def seek(self, position: Position) -> None:
        """Give up what was prepared, unless it is what is wanted, and prepare from ``position`` on."""
        self._position = position
        if self._prefetcher is not None:
            self._prefetcher.seek(position)

    def close(self) -> None:
        """End the workers; batches that were taken stay valid."""
        self._failure = self._failure or DataError("Loader: it was closed; ask the pipeline for a new one")
        self._end()


class _FromWorkers(Exception):
    """Wraps what the workers, rather than this process, raised."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original)
        self.original = original


@dataclass(slots=True, eq=False)
class _Preparing:
    """A batch that workers are filling, or that is full and waits for its turn.

    ``pending`` holds the first row of each chunk that is not finished, ``ragged`` for each row the values that are
    not in the slot (None for a row that was left out), ``bad`` the reports by chunk, ``failure`` the first row that
    failed, who processed it and the packed exception. A batch that is not ``wanted`` any more only keeps its slot
    until the workers have let go of it.
    """

    position: Position
    indices: NDArray[np.int64]
    global_size: int
    slot: int | None
    pending: set[int]
    ragged: list[tuple[Any, ...] | None]
    bad: list[tuple[int, list[BadSample]]] = field(default_factory=list)
    failure: tuple[int, str, bytes] | None = None
    wanted: bool = True

    @property
    def due(self) -> bool:
        """Whether nothing can change any more what the consumer gets: all rows, or the first error of them."""
        if self.failure is None:
            return not self.pending
        return all(first > self.failure[0] for first in self.pending)


@dataclass(frozen=True, slots=True)
class _Task:
    """A chunk of a batch."""

    batch: _Preparing
    first: int
    count: int


class _Search:
    """Which tasks nobody has had for a while: a message, or a claim, may only be on its way."""

    def __init__(self) -> None:
        self.deaths = 0  # up to which the search has come to its end
        self._after = 0
        self._since: dict[int, float] = {}
        self._clean_since: float | None = None

    def interrupt(self) -> None:
        """It cannot be seen just now what is missing."""
        self._since, self._clean_since = {}, None

    def look(self, missing: set[int], deaths: int) -> list[int]:
        """The tickets that were missing in every look for ``_SEARCH_S`` seconds; ends after as long without any."""
        now = time.monotonic()
        self._since = {ticket: self._since.get(ticket, now) for ticket in missing}
        if missing or deaths != self._after:
            self._after, self._clean_since = deaths, None
        elif self._clean_since is None:
            self._clean_since = now
        elif now - self._clean_since > _SEARCH_S:
            self.deaths, self._clean_since = deaths, None
        return [ticket for ticket, since in self._since.items() if now - since > _SEARCH_S]


class _Prefetcher:
    """The cycle of slots: free, being filled by the crew, held by the consumer, free."""

    def __init__(
        self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, position: Position, workers: Sequence[int]
    ) -> None:
        self._specs = specs
        self._cursor = PlanCursor(pipeline, shard)
        self._cursor.position = position
        self._ahead, self._chunk = pipeline.prefetch_batches, pipeline.samples_per_message
        slots = self._ahead + 2  # the batch that the consumer works on, and the next one while it takes that
        self._most_held = max(2, slots // 2)
        self._held = 0
        self._free = list(range(slots))
        self._released: deque[int] = deque()  # slots whose batches died, in whatever thread
        self._queue: deque[_Preparing] = deque()
        self._tasks: dict[int, _Task] = {}  # by ticket; sent or unsent, not answered
        self._ticket = 0
        self._deadline = pipeline.sample_deadline
        self._search = _Search()
        largest = pipeline.batch_size
        if pipeline.last_batch != "wrap":
            largest = min(largest, len(pipeline.source))
        rows = len(split_range(largest, shard.count, shard.index))
        fixed = {name: spec for name, spec in specs.items() if spec.fixed}
        self._carried = tuple(name for name in specs if name not in fixed)
        layout = SlotLayout(
            slots, rows, sum(workers), fixed, counter_words(len(pipeline.step_names)), drawers_between(workers)
        )
        check_memory(pipeline, layout)
        self.crew = Crew(PipelineJob(pipeline), layout, pipeline.max_worker_restarts, workers)
        self._hand_out()

    @property
    def position(self) -> Position:
        """Position of the batch that :meth:`pop` returns next."""
        return self._queue[0].position if self._queue else self._cursor.position

    @property
    def ready(self) -> int:
        """Batches that are finished."""
        return sum(not each.pending for each in self._queue)

    @property
    def missing(self) -> int:
        """Chunks of the next batch that are not finished."""
        return len(self._queue[0].pending) if self._queue else 0

    def queued(self, group: int) -> int:
        """Samples that wait for a worker of a group, about: chunks may be of different sizes."""
        unsent = len(self.crew.unsent) if group == 0 else 0
        return (self.crew.in_pipe(group) + unsent) * self._chunk

    def is_due(self) -> bool:
        """Whether the next batch, or the error in its place, is there."""
        return bool(self._queue) and self._queue[0].due

    def pop(self) -> Batch:
        """The next batch, which is due.

        Raises:
            _FromWorkers: a worker failed to make it.
        """
        batch = self._queue.popleft()
        if batch.failure is not None:
            _, worker, packed = batch.failure
            raise _FromWorkers(unpack_error(packed, worker))
        delivered = self._deliver(batch)
        self._hand_out()
        return delivered

    def seek(self, position: Position) -> None:
        """Make ``position`` the next batch."""
        if position == self.position:
            return
        for each in self._queue:
            each.wanted = False
            if each.slot is not None:
                for first in each.pending:
                    self.crew.memory.set_ticket(each.slot, first, 0)
        for packed in self.crew.unsent:
            self._finish(TASK.unpack(packed)[-1])
        self.crew.unsent.clear()
        for each in self._queue:
            self._recycle(each)
        self._queue.clear()
        self._cursor.position = position
        self._hand_out()

    def receive(self) -> None:
        """Take note of what the workers have finished and give them more to do.

        Raises:
            _FromWorkers: one of them, or their server, has died or could not be set up.
        """
        try:
            received = self.crew.receive()
        except DataError as error:
            raise _FromWorkers(error) from None
        for message in received:
            self._note(message)
        for ticket in self.crew.lost:
            self._send_again(ticket)
        self.crew.lost.clear()
        if self.crew.replaced > self._search.deaths:
            self._find_lost()
        self._hand_out()

    @property
    def patience(self) -> float | None:
        """Seconds to wait for a message before something has to be looked at."""
        times = [self._deadline / 4] if self._deadline is not None else []
        if self.crew.replaced > self._search.deaths:
            times.append(_SEARCH_S / 4)
        return min(times, default=None)

    def _find_lost(self) -> None:
        """After a death: give away again what is neither in the pipe, nor claimed, nor answered.

        A worker claims a task right after it has read it; one that dies in between takes the task with it. Tasks are
        read in the order of their tickets, so those in the pipe are the last ones.
        """
        if self.crew.between_groups():
            return self._search.interrupt()  # nobody can tell which these are; there are soon none left
        claimed = self.crew.claims()
        unsent = {TASK.unpack(packed)[-1] for packed in self.crew.unsent}
        sent = sorted(self._tasks.keys() - unsent)
        taken = sent[: max(0, len(sent) - self.crew.in_pipe())]
        for ticket in self._search.look({*taken} - claimed, self.crew.replaced):
            self._send_again(ticket)

    def _send_again(self, ticket: int) -> None:
        """Give a task that was lost to another worker, under a new ticket, unless it was answered before."""
        if (task := self._tasks.get(ticket)) is not None:
            if task.batch.wanted:
                del self._tasks[ticket]
                self.crew.send([self._new_task(task)])
            else:
                self._finish(ticket)
                self._recycle(task.batch)
        self.crew.memory.free_drawers(ticket)

    def _new_task(self, task: _Task) -> bytes:
        assert task.batch.slot is not None, "a task is for a batch in a slot"
        self._ticket += 1
        self._tasks[self._ticket] = task
        self.crew.memory.set_ticket(task.batch.slot, task.first, self._ticket)
        return TASK.pack(task.batch.slot, task.first, task.count, self._ticket)

    def _finish(self, ticket: int) -> _Task | None:
        task = self._tasks.pop(ticket, None)
        if task is not None:
            task.batch.pending.discard(task.first)
        return task

    def _hand_out(self) -> None:
        """Start batches while there are free slots and fewer than ``prefetch_batches`` are on their way."""
        while self._released:
            self._free.append(self._released.popleft())
            self._held -= 1
        while len(self._queue) < self._ahead and self._free:
            position, indices, global_size = self._cursor.next()
            size = len(indices)
            batch = _Preparing(position, indices, global_size, None, set(), [()] * size)
            self._queue.append(batch)
            if size == 0:
                continue
            batch.slot = slot = self._free.pop()
            header = self.crew.memory.header(slot)
            header[0] = position.epoch
            header[1 : 1 + size] = indices
            chunks = range(0, size, self._chunk)
            batch.pending.update(chunks)
            self.crew.send([self._new_task(_Task(batch, first, min(self._chunk, size - first))) for first in chunks])

    def _note(self, message: Message) -> None:
        if self.crew.replaced:
            self.crew.memory.free_drawers(message.ticket)  # who should have done it may have died
        task = self._finish(message.ticket)
        if task is None:
            return  # somebody else did it meanwhile
        batch = task.batch
        if not batch.wanted:
            self._recycle(batch)
        elif message.kind == FAILED:
            row, worker, pid = FAILURE.unpack_from(message.payload)
            if batch.failure is None or row < batch.failure[0]:
                batch.failure = row, f"worker {worker} (pid {pid})", message.payload[FAILURE.size :]
        elif message.payload:
            values, bad = pickle.loads(message.payload)
            batch.ragged[task.first : task.first + len(values)] = values
            if bad:
                batch.bad.append((task.first, bad))

    def _recycle(self, batch: _Preparing) -> None:
        """Free the slot of a batch that nobody wants, once no worker writes into it."""
        if batch.slot is not None and not batch.pending:
            self._free.append(batch.slot)
            batch.slot = None

    def _deliver(self, batch: _Preparing) -> Batch:
        size = len(batch.indices)
        arrays: dict[str, Any] = {name: None for name in self._specs}  # in this order
        kept = np.array([row is not None for row in batch.ragged], np.bool_)
        for column, name in enumerate(self._carried):
            arrays[name] = [row[column] for row in batch.ragged if row is not None]
        if batch.slot is None:
            arrays |= {
                name: np.empty((0, *spec.fixed_shape), spec.dtype) for name, spec in self._specs.items() if spec.fixed
            }
        else:
            slot, memory = batch.slot, self.crew.memory
            if not kept.all():
                arrays |= without(dict(memory.arrays(memory.slot_bytes(slot), size)), kept)
                self._free.append(slot)
            elif self._held < self._most_held:
                self._held += 1
                lease = Lease(memory, slot, self._released)
                arrays |= memory.arrays(np.asarray(lease), size)
            else:
                arrays |= {name: array.copy() for name, array in memory.arrays(memory.slot_bytes(slot), size)}
                self._free.append(slot)
        bad = tuple(report for _, reports in sorted(batch.bad, key=itemgetter(0)) for report in reports)
        indices = batch.indices if kept.all() else batch.indices[kept]
        return Batch(arrays, indices, batch.position.epoch, batch.position.step, batch.global_size, bad)
