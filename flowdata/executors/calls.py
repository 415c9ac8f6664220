"""Any function of any argument, called in worker processes; results come back in the order of the calls.

It serves what does not fit slots of arrays: values of any type and size. Arguments and results are pickled into
*drawers*, one for each call under way: parts of one sparse unnamed file that all processes read and write. A worker
copies a result in, the consumer copies it out into memory of its own, and the drawer is free for another call. So a
worker never waits for the consumer, results that nobody takes cost no more than their drawers, and what was taken
belongs to the consumer alone.
"""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

from flowdata.executors.crew import Crew
from flowdata.executors.drawers import DRAWER_BYTES, get, put
from flowdata.executors.slots import SlotLayout, SlotMemory
from flowdata.executors.worker import DONE, FAILED, FAILURE, TASK, Assignment, Message, pack_error, unpack_error

__all__ = ["CallJob", "CallPool"]

_HEADER_WORDS = 2  # in a drawer's slot: epoch and number of the call, for messages


class CallJob(ABC):
    """What the workers of a :class:`CallPool` do. It travels to them by pickle.

    ``owner``, ``parts``, ``alternative`` and ``unit`` are its names in messages, see `flowdata.executors.worker.Job`.
    """

    owner: ClassVar[str]
    parts: ClassVar[str]
    alternative: ClassVar[str]
    unit: ClassVar[str]

    @abstractmethod
    def call(self, argument: Any) -> Any:
        """The result for one argument."""

    def prepare(self, worker: int) -> None:  # noqa: B027
        """Called in each worker, with its number, before its first call."""

    def open(self) -> None:  # noqa: B027
        """Nothing to load that workers could share."""

    def work(self, assignment: Assignment) -> None:
        """Answer calls until there are no more."""
        number, tasks, results, descriptor, layout, *_ = assignment
        memory = SlotMemory(descriptor, layout)
        prepared = False
        while task := os.read(tasks, TASK.size):
            slot, _, _, ticket = TASK.unpack(task)
            memory.set_progress(number, slot, 0)
            try:
                if not prepared:
                    self.prepare(number)
                    prepared = True
                put(descriptor, _start(slot), self.call(get(descriptor, _start(slot))))
                message = Message(DONE, ticket)
            except BaseException as error:
                message = Message(FAILED, ticket, FAILURE.pack(0, number, os.getpid()) + pack_error(error))
            memory.clear_progress(number)
            message.send(results)


def _start(slot: int) -> int:
    """Offset of a drawer; slots and progress words come before the first."""
    return (1 + slot) * DRAWER_BYTES


@dataclass(slots=True, eq=False)
class _Call:
    """A call under way: its drawer, and what came of it."""

    number: int
    slot: int
    answer: Message | None = None


class CallPool:
    """Worker processes that answer calls, up to ``ahead`` of them at a time.

    Whoever is free takes the next call. After an exception out of `take` other than `TimeoutError`, such as Ctrl-C, the
    pool's state is unknown: `stop` it. It also stops when it is forgotten, and at exit.

    Args:
        job: What the workers do.
        workers: Number of worker processes.
        ahead: Calls that may be under way, or answered and not taken.

    Raises:
        ConfigError: the job cannot be pickled.
    """

    def __init__(self, job: CallJob, *, workers: int, ahead: int) -> None:
        self._job = job
        self._crew = Crew(job, SlotLayout(ahead, _HEADER_WORDS - 1, workers, {}))
        self._free = list(range(ahead))
        self._queue: deque[_Call] = deque()
        self._calls: dict[int, _Call] = {}  # by ticket
        self._ticket = 0
        self.stop = weakref.finalize(self, self._crew.stop)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers, once the first answer has come."""
        return self._crew.pids

    @property
    def waiting(self) -> int:
        """Calls whose results were not taken yet."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a result must be taken before the next call."""
        return not self._free

    def submit(self, argument: Any, *, epoch: int, number: int) -> None:
        """Start a call. Epoch and number say in messages which it was.

        Raises:
            DataError: the pool was stopped, or this is a forked child of its owner.
        """
        assert self._free, "take a result first"
        self._crew.check()
        slot = self._free[-1]
        put(self._crew.descriptor, _start(slot), argument)
        self._free.pop()
        self._crew.memory.header(slot)[:_HEADER_WORDS] = epoch, number
        call = _Call(number, slot)
        self._queue.append(call)
        self._ticket += 1
        self._calls[self._ticket] = call
        self._crew.send([TASK.pack(slot, 0, 1, self._ticket)])

    def take(self, seconds: float | None = None) -> tuple[Any, BaseException | None]:
        """Wait for the oldest call: its result and None, or None and what it raised, with the worker's traceback.

        Args:
            seconds: How long to wait; None for as long as it takes.

        Raises:
            WorkerError: a worker died, or could not be set up.
            TimeoutError: no answer has come in time.
            DataError: the pool was stopped, or this is a forked child of its owner.
        """
        call = self._queue[0]
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            for message in self._crew.receive():
                self._calls.pop(message.ticket).answer = message
            if call.answer is not None:
                break
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"{self._job.owner}: {self._job.unit} {call.number} was not ready after {seconds} s")
            self._crew.wait(left)
        self._queue.popleft()
        self._free.append(call.slot)
        payload = call.answer.payload
        if call.answer.kind == FAILED:
            _, worker, pid = FAILURE.unpack_from(payload)
            return None, unpack_error(payload[FAILURE.size :], f"worker {worker} (pid {pid})")
        return get(self._crew.descriptor, _start(call.slot)), None
