"""Batches of a pipeline, epoch by epoch, with a position that can be saved and restored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from flowdata.errors import ConfigError, DataError
from flowdata.executors.stats import GroupStats, LoaderStats, Tally
from flowdata.failures import Quarantine, most_bad
from flowdata.sample import Batch
from flowdata.sharding import ShardSpec, split_range

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A global batch: its epoch, and its number within the epoch."""

    epoch: int = 0
    step: int = 0


class Executor(Protocol):
    """How batches get made. ``take`` runs on from epoch to epoch without end; the loader knows where epochs stop."""

    def seek(self, position: Position) -> None:
        """Make ``position`` the batch that the next ``take`` returns; costs nothing if it is that already."""
        ...

    def take(self) -> Batch: ...

    def group_stats(self) -> tuple[GroupStats, ...]:
        """What its workers have done up to now, also after ``close``."""
        ...

    def close(self) -> None: ...


class Loader:
    """Iterate over the batches of one epoch; iterating again gives the next epoch.

    The position counts what the consumer took, never what was prepared ahead, so ``state_dict`` is exact at any
    time: k batches, a new process, ``load_state_dict`` and the remaining batches are the same bytes as one
    uninterrupted run, also with another executor or other numbers of workers and ranks.

    Args:
        pipeline: What to deliver.
        shard: Which part of each global batch.
    """

    def __init__(self, pipeline: Pipeline, shard: ShardSpec) -> None:
        self.pipeline = pipeline
        self.shard = shard
        self._tally = Tally()
        self._position = Position()
        self._closed = False
        specs = pipeline.output_specs()
        pipeline.batch_specs()  # do the batch transforms fit?
        pipeline.source.open()
        self._steps = pipeline.steps_per_epoch()
        if self._steps == 0:
            raise ConfigError(
                f"pipeline: {len(pipeline.source)} records make no batch of {pipeline.batch_size} with last_batch: "
                f"{pipeline.last_batch}; use a smaller batch_size or last_batch: keep"
            )
        per_epoch = len(split_range(len(pipeline.source), shard.count, shard.index))
        self._quarantine = Quarantine(
            None if pipeline.quarantine is None else Path(pipeline.quarantine),
            most_bad(pipeline.max_bad_fraction, per_epoch),
            shard,
        )
        self._executor: Executor
        if pipeline.executor == "process":
            from flowdata.executors.process import ProcessExecutor

            self._executor = ProcessExecutor(pipeline, shard, specs, self._tally)
        elif pipeline.executor == "thread":
            from flowdata.executors.thread import ThreadExecutor

            self._executor = ThreadExecutor(pipeline, shard, specs, self._tally)
        else:
            from flowdata.executors.serial import SerialExecutor

            self._executor = SerialExecutor(pipeline, shard, specs, self._tally)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._steps

    @property
    def stats(self) -> LoaderStats:
        """Counts up to now, as a snapshot; the difference of two says what happened in between."""
        return self._tally.snapshot(self._executor.group_stats())

    @property
    def epoch(self) -> int:
        """Epoch of the next batch."""
        return self._position.epoch

    @property
    def step(self) -> int:
        """Number of the next batch within its epoch."""
        return self._position.step

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch, which is all of it unless a state was loaded or the last loop broke off."""
        epoch = self._position.epoch
        while self._position.epoch == epoch:
            if self._closed:
                raise DataError("Loader: it was closed; ask the pipeline for a new one")
            self._executor.seek(self._position)  # it may be elsewhere after an exception, such as Ctrl-C's
            batch = self.pipeline.transform(self._executor.take())
            step = self._position.step + 1
            self._position = Position(epoch + 1, 0) if step == self._steps else Position(epoch, step)
            self._tally.took(batch.size, len(batch.bad))
            if batch.bad:
                self._quarantine.add(batch.bad)
            yield batch

    def seek(self, epoch: int, step: int = 0) -> None:
        """Continue with batch ``step`` of epoch ``epoch``.

        Raises:
            ValueError: there is no such batch.
        """
        if epoch < 0 or not 0 <= step < self._steps:
            raise ValueError(f"Loader.seek: expected epoch >= 0 and 0 <= step < {self._steps}, got {epoch} and {step}")
        self._position = Position(epoch, step)
        self._executor.seek(self._position)

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is, as a small JSON-able dictionary."""
        return {
            "version": 1,
            "epoch": self._position.epoch,
            "step": self._position.step,
            "pipeline": self.pipeline.fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state_dict` was called.

        Raises:
            ConfigError: the state is of another version, or of a pipeline that would deliver other bytes.
        """
        if state.get("version") != 1:
            raise ConfigError(f"Loader: expected a state of version 1, got {state.get('version')!r}")
        if state["pipeline"] != self.pipeline.fingerprint():
            raise ConfigError(
                "Loader: the state was saved by another pipeline (data set, stages, order, seed or batch size "
                "differ), so the rest of its epoch cannot be continued; use the configuration it was saved with"
            )
        self.seek(state["epoch"], state["step"])

    def close(self) -> None:
        """End workers and free memory; batches that were taken stay valid."""
        if not self._closed:
            self._closed = True
            self._executor.close()
            self._quarantine.close()
            self.pipeline.source.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
