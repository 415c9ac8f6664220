"""The definition of every executor: one process, one sample after the other, in plan order."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowdata.executors.rows import prepare, without
from flowdata.executors.stats import GroupStats, Meter, Tally, counter_words, now_ns, summarize
from flowdata.failures import BadSample
from flowdata.loader import Position
from flowdata.sample import Batch, SampleKey, Specs
from flowdata.sharding import ShardSpec

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline


class PlanCursor:
    """Walks the batches of a pipeline in order, epoch after epoch, keeping the plan of one epoch."""

    def __init__(self, pipeline: Pipeline, shard: ShardSpec) -> None:
        self._pipeline, self._shard = pipeline, shard
        self._steps = pipeline.steps_per_epoch()
        self.position = Position()
        self._planned_epoch = -1

    def next(self) -> tuple[Position, NDArray[np.int64], int]:
        """Position, this shard's indices and the global size of the next batch."""
        position = self.position
        if position.epoch != self._planned_epoch:
            self._plan = self._pipeline.epoch_plan(position.epoch)
            self._planned_epoch = position.epoch
        indices, global_size = self._pipeline.batch_indices(self._plan, position.step, self._shard)
        at_end = position.step + 1 == self._steps
        self.position = Position(position.epoch + 1, 0) if at_end else Position(position.epoch, position.step + 1)
        return position, indices.copy(), global_size  # the consumer may change its copy


class SerialExecutor:
    """Make each batch when it is asked for, in the calling process."""

    def __init__(self, pipeline: Pipeline, shard: ShardSpec, specs: Specs, tally: Tally) -> None:
        self._pipeline, self._specs, self._clock = pipeline, specs, tally.clock
        self._cursor = PlanCursor(pipeline, shard)
        steps = len(pipeline.step_names)
        self._counters = array("q", bytes(8 * counter_words(steps)))
        self._meter = Meter(self._counters, steps, self._clock)
        self._meter.begin_to_wait()

    def seek(self, position: Position) -> None:
        """Continue with ``position``."""
        self._cursor.position = position

    def take(self) -> Batch:
        """Process the samples of the next batch."""
        due = self._cursor.position
        self._meter.end_waiting()
        self._clock.start()
        try:
            return self._make(*self._cursor.next())
        except BaseException:
            self._cursor.position = due  # the loader stays where it is, too
            raise
        finally:
            self._meter.begin_to_wait()
            self._clock.stop()

    def group_stats(self) -> tuple[GroupStats, ...]:
        """One group with one worker, the calling process, which waits while the consumer computes."""
        return (summarize(np.array([self._counters]), self._pipeline.step_names, self._clock),)

    def _make(self, position: Position, indices: NDArray[np.int64], global_size: int) -> Batch:
        arrays: dict[str, Any] = {
            name: np.empty((len(indices), *spec.fixed_shape), spec.dtype) if spec.fixed else [None] * len(indices)
            for name, spec in self._specs.items()
        }
        bad: list[BadSample] = []
        kept = np.ones(len(indices), np.bool_)
        for row, index in enumerate(indices.tolist()):
            rows = {name: arrays[name][row, ...] for name, spec in self._specs.items() if spec.fixed}
            start = now_ns()
            ragged, report = prepare(
                self._pipeline, SampleKey(position.epoch, index), self._specs, rows, self._meter.steps
            )
            self._meter.sample(start)
            if report is not None:
                bad.append(report)
            if ragged is None:
                kept[row] = False
                continue
            for name, value in ragged.items():
                arrays[name][row] = value
        if not kept.all():
            arrays, indices = without(arrays, kept), indices[kept]
        return Batch(arrays, indices, position.epoch, position.step, global_size, tuple(bad))

    def close(self) -> None:
        """Nothing to end: the serial executor owns no process and no shared memory."""
