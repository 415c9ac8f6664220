"""A pipeline cut into groups: how chunks of samples go from the workers of one to those of the next.

A chunk keeps its ticket from the first group to the last, whose worker answers. In between it lies in a *drawer*; a
table in shared memory has, for each drawer, the ticket of the chunk in it. There are twice as many drawers between two
groups as these have workers; a worker that finds none free waits, so no group gets far ahead of the next one. The
consumer has no part in this: a worker puts the task into the next group's pipe itself.

A sample that is bad, or that a stage failed on, is settled by the group that noticed, and what came of it travels on
in its place; so the first failing record of a batch is the same as without cuts.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flowdata.errors import DataError, StageError
from flowdata.executors.drawers import DRAWER_BYTES, Scratch, get, put
from flowdata.executors.rows import stand_in, store
from flowdata.executors.slots import SlotMemory
from flowdata.executors.stats import ConsumerClock, Meter, StepTimes, now_ns
from flowdata.executors.worker import DONE, FAILED, FAILURE, TASK, Assignment, Message, next_task, pack_error
from flowdata.failures import BadSample
from flowdata.pipeline import Pipeline
from flowdata.sample import Array, Sample, SampleKey, Specs

_POLL_S = 0.0005


def drawers_between(workers: Sequence[int]) -> tuple[int, ...]:
    """How many drawers there are after each group but the last, for so many workers in each."""
    return tuple(2 * (one + other) for one, other in pairwise(workers))


@dataclass(slots=True)
class _Unfinished:
    """A sample on its way."""

    data: dict[str, Any]
    origin: str


@dataclass(slots=True)
class _Finished:
    """What :func:`flowdata.executors.rows.prepare` returns for a sample whose row of the batch is written."""

    ragged: dict[str, Any] | None
    report: BadSample | None


@dataclass(slots=True)
class _Failed:
    """The payload of a message ``FAILED``."""

    payload: bytes


_Outcome = _Unfinished | _Finished | _Failed


class _Cabinet:
    """The drawers between two groups."""

    def __init__(self, memory: SlotMemory, descriptor: int, cut: int) -> None:
        self._tickets, self._descriptor, self._cut = memory.drawer_tickets(cut), descriptor, cut
        self._first = memory.layout.drawer_number(cut)
        self._scratch = Scratch()

    def _offset(self, drawer: int) -> int:
        return (self._first + drawer) * DRAWER_BYTES

    def take(self, ticket: int) -> list[_Outcome] | None:
        """What lies there for a task, valid until the next one is taken; None if the task was given up."""
        for drawer, each in enumerate(self._tickets):
            if each == ticket:
                outcomes: list[_Outcome] = get(self._descriptor, self._offset(drawer), self._scratch)
                return outcomes
        return None

    def free(self, ticket: int) -> None:
        """Let others use the drawer of a task."""
        for drawer, each in enumerate(self._tickets):
            if each == ticket:
                self._tickets[drawer] = 0

    def reserve(self, ticket: int) -> int | None:
        """A free drawer, from now on for this task; None if there is none just now.

        The lock is gone with the process that holds it.
        """
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._cut)
        except OSError:
            return None
        try:
            for drawer, each in enumerate(self._tickets):
                if each == 0:
                    self._tickets[drawer] = ticket
                    return drawer
            return None
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._cut)

    def put(self, drawer: int, outcomes: list[_Outcome]) -> None:
        put(self._descriptor, self._offset(drawer), outcomes)


class GroupWorker:
    """A worker of one group of a pipeline; :meth:`run` is its life."""

    def __init__(self, pipeline: Pipeline, assignment: Assignment) -> None:
        self._pipeline, self._assignment = pipeline, assignment
        self._group = pipeline.groups[assignment.group]
        self._last = assignment.forward is None
        self._memory = memory = SlotMemory(assignment.memory, assignment.layout)
        group, descriptor = assignment.group, assignment.memory
        self._before = None if group == 0 else _Cabinet(memory, descriptor, group - 1)
        self._after = None if self._last else _Cabinet(memory, descriptor, group)
        self._specs: Specs = pipeline.output_specs()
        self._meter = Meter(
            memory.counters(assignment.number),
            len(pipeline.step_names),
            ConsumerClock(memory.consumer_words) if group == 0 else None,
        )

    def run(self) -> None:
        """Do tasks until there are no more."""
        number = self._assignment.number
        while task := next_task(self._assignment.tasks, self._meter, self._memory, number):
            slot, first, count, ticket = TASK.unpack(task)
            self._memory.claim(number, ticket)
            outcomes = self._chunk(slot, first, count, ticket)
            self._memory.clear_progress(number)
            if outcomes is None:
                Message(DONE, ticket).send(self._assignment.results)
            elif self._last:
                self._answer(outcomes, ticket)
            elif not self._hand_over(outcomes, slot, first, ticket, task):
                Message(DONE, ticket).send(self._assignment.results)
            if self._before is not None:
                self._before.free(ticket)
            self._memory.claim(number, 0)

    def _chunk(self, slot: int, first: int, count: int, ticket: int) -> list[_Outcome] | None:
        """Take samples through the group; None when nobody wants them any more."""
        if self._memory.ticket(slot, first) != ticket:
            return None
        before: Sequence[_Outcome | None] | None = [None] * count
        if self._before is not None:
            before = self._before.take(ticket)
        if before is None:
            assert self._memory.ticket(slot, first) != ticket, "only what was given up has no drawer"
            return None
        epoch, *indices = self._memory.header(slot)[: 1 + first + count].tolist()
        arrays = dict(self._memory.arrays(self._memory.slot_bytes(slot), self._memory.layout.rows))
        outcomes: list[_Outcome] = []
        for row, each in enumerate(before, first):
            if self._memory.ticket(slot, first) != ticket:
                return None
            self._memory.set_progress(self._assignment.number, slot, row)
            start = now_ns()
            rows = {name: array[row, ...] for name, array in arrays.items()}
            try:
                outcome = self._advance(each, SampleKey(epoch, indices[row]), rows, self._meter.steps)
            except BaseException as error:
                outcomes.append(_Failed(FAILURE.pack(row, self._assignment.number, os.getpid()) + pack_error(error)))
                break
            self._meter.sample(start)
            outcomes.append(outcome)
        return outcomes

    def _advance(self, before: _Outcome | None, key: SampleKey, rows: dict[str, Array], steps: StepTimes) -> _Outcome:
        if isinstance(before, (_Finished, _Failed)):
            return before
        pipeline, numbers = self._pipeline, self._group.steps
        try:
            if before is None:
                sample, numbers = pipeline.read(key, steps), numbers[1:]
            else:
                sample = Sample(key, before.data, before.origin)
            if not self._last:
                sample = pipeline.advance(sample, numbers, steps)
                return _Unfinished(sample.data, sample.origin)
            sample.rows = rows
            sample = pipeline.advance(sample, numbers, steps).select(tuple(self._specs))
            return _Finished(store(sample, self._specs, rows), None)
        except DataError as error:
            return _Finished(*stand_in(pipeline, key, error, self._specs, rows, steps))

    def _answer(self, outcomes: list[_Outcome], ticket: int) -> None:
        carried = tuple(name for name, spec in self._specs.items() if not spec.fixed)
        ragged: list[tuple[Any, ...] | None] = []
        bad: list[BadSample] = []
        for each in outcomes:
            if isinstance(each, _Failed):
                Message(FAILED, ticket, each.payload).send(self._assignment.results)
                return
            assert isinstance(each, _Finished), "the last group finishes samples"
            if each.report is not None:
                bad.append(each.report)
            ragged.append(None if each.ragged is None else tuple(each.ragged[name] for name in carried))
        worth_telling = bad or (carried and ragged)
        Message(DONE, ticket, pickle.dumps((ragged, bad), protocol=5) if worth_telling else b"").send(
            self._assignment.results
        )

    def _hand_over(self, outcomes: list[_Outcome], slot: int, first: int, ticket: int, task: bytes) -> bool:
        """Give a chunk to the next group; false if nobody wants it any more."""
        assert self._after is not None, "there is a next group"
        assert self._assignment.forward is not None, "there is a next group"
        start = now_ns()
        drawer = self._after.reserve(ticket)
        while drawer is None:
            time.sleep(_POLL_S)
            if self._memory.ticket(slot, first) != ticket:
                return False
            self._memory.beat(self._assignment.number)  # it waits, but it is not stuck
            drawer = self._after.reserve(ticket)
        self._meter.blocked(start)
        try:
            self._after.put(drawer, outcomes)
        except Exception as error:
            stage = self._pipeline.step_names[self._group.steps[-1]]
            refused = StageError(
                f"cut after {stage}: samples cannot be handed to the next group ({type(error).__name__}: {error}); cut "
                f"where they hold nothing but arrays, or do without"
            )
            failed = FAILURE.pack(first, self._assignment.number, os.getpid()) + pack_error(refused)
            self._after.put(drawer, [_Failed(failed)])
        os.write(self._assignment.forward, task)
        return True
