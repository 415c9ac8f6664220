"""What the workers of a pipeline do."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

from flowdata.executors.groups import GroupWorker
from flowdata.executors.rows import prepare
from flowdata.executors.slots import SlotMemory
from flowdata.executors.stats import ConsumerClock, Meter, now_ns
from flowdata.executors.worker import DONE, FAILED, FAILURE, TASK, Assignment, Message, next_task, pack_error
from flowdata.failures import BadSample
from flowdata.pipeline import Pipeline
from flowdata.sample import Array, SampleKey


@dataclass(frozen=True)
class PipelineJob:
    """Take the samples of batches through a pipeline, into the batches' slots."""

    pipeline: Pipeline

    owner: ClassVar[str] = "process executor"
    parts: ClassVar[str] = "pipeline: source and stages"
    alternative: ClassVar[str] = "executor: serial"
    unit: ClassVar[str] = "record"

    def open(self) -> None:
        """Load the source's index."""
        self.pipeline.source.open()

    def work(self, assignment: Assignment) -> None:
        """Process chunks of samples."""
        if len(self.pipeline.groups) > 1:
            return GroupWorker(self.pipeline, assignment).run()
        number, tasks, results, descriptor, layout, *_ = assignment
        memory = SlotMemory(descriptor, layout)
        specs = self.pipeline.output_specs()
        carried = tuple(name for name in specs if name not in layout.specs)
        rows_of_slot: dict[int, list[dict[str, Array]]] = {}
        headers = [memory.header(slot) for slot in range(layout.slots)]
        meter = Meter(
            memory.counters(number), len(self.pipeline.step_names), ConsumerClock(memory.consumer_words)
        )  # fmt: skip
        while task := next_task(tasks, meter, memory, number):
            slot, first, count, ticket = TASK.unpack(task)
            memory.claim(number, ticket)
            if slot not in rows_of_slot:
                arrays = dict(memory.arrays(memory.slot_bytes(slot), layout.rows))
                rows_of_slot[slot] = [{name: arrays[name][row, ...] for name in arrays} for row in range(layout.rows)]
            epoch, *indices = headers[slot][: 1 + first + count].tolist()
            ragged: list[tuple[Any, ...] | None] = []
            bad: list[BadSample] = []
            message = None
            for row in range(first, first + count):
                if memory.ticket(slot, first) != ticket:
                    break
                memory.set_progress(number, slot, row)
                rows = rows_of_slot[slot][row]
                start = now_ns()
                try:
                    values, report = prepare(self.pipeline, SampleKey(epoch, indices[row]), specs, rows, meter.steps)
                except BaseException as error:
                    message = Message(FAILED, ticket, FAILURE.pack(row, number, os.getpid()) + pack_error(error))
                    break
                meter.sample(start)
                if report is not None:
                    bad.append(report)
                ragged.append(None if values is None else tuple(values[name] for name in carried))
            memory.clear_progress(number)
            if message is None:
                worth_telling = bad or (carried and ragged)
                message = Message(DONE, ticket, pickle.dumps((ragged, bad), protocol=5) if worth_telling else b"")
            message.send(results)
            memory.claim(number, 0)  # until now a task is in the pipe, claimed or answered: none gets lost
