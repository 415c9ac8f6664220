"""Worker processes that prepare batches ahead: the same bytes as the serial executor delivers, sooner."""

from __future__ import annotations

import pickle
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import DataError
from flowdata.executors.crew import Crew
from flowdata.executors.serial import PlanCursor
from flowdata.executors.slots import Lease, SlotLayout
from flowdata.executors.worker import FAILED, ROW_AND_PID, TASK, Message, PipelineJob, unpack_error
from flowdata.loader import LoaderStats, Position
from flowdata.sample import Batch, Specs
from flowdata.sharding import ShardSpec, split_range

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline


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
        stats: Where to count the time spent waiting.

    Raises:
        ConfigError: the pipeline cannot be pickled, or there is too little memory.
    """

    def __init__(self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, stats: LoaderStats) -> None:
        self._pipeline, self._shard, self._specs, self._stats = pipeline, shard, specs, stats
        self._failure: BaseException | None = None
        self._position = Position()
        self._prefetcher: _Prefetcher | None = None
        self._only_waiting = False
        self._start()

    def _start(self) -> _Prefetcher:
        prefetcher = _Prefetcher(self._pipeline, self._shard, self._specs, self._position)
        # Also when the user forgets to close, and at exit.
        self._end_workers = weakref.finalize(self, prefetcher.crew.stop)
        self._prefetcher = prefetcher
        return prefetcher

    def _end(self) -> None:
        self._prefetcher = None
        self._end_workers()

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
            if not prefetcher.is_due():
                self._wait(prefetcher)
            batch = prefetcher.pop()
            self._position = prefetcher.position
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
        start = time.perf_counter()
        try:
            while not prefetcher.is_due():
                self._only_waiting = True
                prefetcher.crew.wait()
                self._only_waiting = False
                prefetcher.receive()
        finally:
            self._stats.wait_seconds += time.perf_counter() - start

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

    ``pending`` holds the first row of each chunk that is not finished, ``failure`` the first row that failed, who
    processed it and the packed exception. A batch that is not ``wanted`` any more only keeps its slot until the
    workers have let go of it.
    """

    position: Position
    indices: NDArray[np.int64]
    global_size: int
    slot: int | None
    pending: set[int]
    ragged: list[tuple[Any, ...]]
    failure: tuple[int, str, bytes] | None = None
    wanted: bool = True

    @property
    def due(self) -> bool:
        """Whether nothing can change any more what the consumer gets: all rows, or the first error of them."""
        if self.failure is None:
            return not self.pending
        return all(first > self.failure[0] for first in self.pending)


class _Prefetcher:
    """The cycle of slots: free, being filled by the crew, held by the consumer, free."""

    def __init__(self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, position: Position) -> None:
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
        self._in_slot: dict[int, _Preparing] = {}
        largest = pipeline.batch_size
        if pipeline.last_batch != "wrap":
            largest = min(largest, len(pipeline.source))
        rows = len(split_range(largest, shard.count, shard.index))
        fixed = {name: spec for name, spec in specs.items() if spec.fixed}
        self._carried = tuple(name for name in specs if name not in fixed)
        self.crew = Crew(PipelineJob(pipeline), SlotLayout(slots, rows, pipeline.workers, fixed))
        self._hand_out()

    @property
    def position(self) -> Position:
        """Position of the batch that :meth:`pop` returns next."""
        return self._queue[0].position if self._queue else self._cursor.position

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
        self.crew.memory.generation += 1
        for task in self.crew.unsent:
            slot, first, _, _ = TASK.unpack(task)
            self._in_slot[slot].pending.discard(first)
        self.crew.unsent.clear()
        for each in self._queue:
            each.wanted = False
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
        for worker, message in received:
            self._note(worker, message)
        self._hand_out()

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
            self._in_slot[slot] = batch
            memory = self.crew.memory
            header = memory.header(slot)
            header[0] = position.epoch
            header[1 : 1 + size] = indices
            chunks = range(0, size, self._chunk)
            batch.pending.update(chunks)
            self.crew.send(
                [TASK.pack(slot, first, min(self._chunk, size - first), memory.generation) for first in chunks]
            )

    def _note(self, worker: int, message: Message) -> None:
        batch = self._in_slot[message.slot]
        batch.pending.discard(message.first)
        if not batch.wanted:
            self._recycle(batch)
        elif message.kind == FAILED:
            row, pid = ROW_AND_PID.unpack_from(message.payload)
            if batch.failure is None or row < batch.failure[0]:
                batch.failure = row, f"worker {worker} (pid {pid})", message.payload[ROW_AND_PID.size :]
        elif message.payload:
            values = pickle.loads(message.payload)
            batch.ragged[message.first : message.first + len(values)] = values

    def _recycle(self, batch: _Preparing) -> None:
        """Free the slot of a batch that nobody wants, once no worker writes into it."""
        if batch.slot is not None and not batch.pending:
            del self._in_slot[batch.slot]
            self._free.append(batch.slot)
            batch.slot = None

    def _deliver(self, batch: _Preparing) -> Batch:
        size = len(batch.indices)
        arrays: dict[str, Any] = {name: None for name in self._specs}  # in this order
        for column, name in enumerate(self._carried):
            arrays[name] = [row[column] for row in batch.ragged]
        if batch.slot is None:
            arrays |= {
                name: np.empty((0, *spec.fixed_shape), spec.dtype) for name, spec in self._specs.items() if spec.fixed
            }
        else:
            slot, memory = batch.slot, self.crew.memory
            del self._in_slot[slot]
            if self._held < self._most_held:
                self._held += 1
                lease = Lease(memory, slot, self._released)
                arrays |= memory.arrays(np.asarray(lease), size)
            else:
                arrays |= {name: array.copy() for name, array in memory.arrays(memory.slot_bytes(slot), size)}
                self._free.append(slot)
        return Batch(arrays, batch.indices, batch.position.epoch, batch.position.step, batch.global_size)
