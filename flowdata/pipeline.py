"""The description of a pipeline: what to read, in which order, through which stages, in batches of which size.

A :class:`Pipeline` runs nothing. Everything it says is a pure function of its fields, so that any number of
processes on any number of hosts agree on every batch without talking to each other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from flowdata.errors import ConfigError, DataError, StageError
from flowdata.failures import OnError
from flowdata.plan import EpochPlan, LastBatch, plan_epoch, steps
from flowdata.sample import Array, Batch, Sample, SampleKey, Specs
from flowdata.seeding import NO_STREAM, sample_rng
from flowdata.sharding import ShardSpec, split_range
from flowdata.sources.base import Source
from flowdata.sources.order import Indices, Order, Sequential
from flowdata.stages import BATCH_STAGES, STAGES, BatchStage, Stage, StageFunction, as_stage, describe, stage_names

if TYPE_CHECKING:
    from flowdata.loader import Loader


@dataclass(frozen=True)
class Pipeline:
    """Source, order, stages and batches; iterate over it with :meth:`loader`.

    Args:
        source: Where the records come from.
        stages: Stages, or callables ``(sample, rng) -> sample``, applied in this order.
        collate: Batch stages, applied in this order to what a rank gets of a batch, when it is delivered.
        batch_size: Samples in a *global* batch, over all ranks.
        order: Order of the records within an epoch.
        seed: Seed of order and augmentation, 0 or more.
        last_batch: What happens to an epoch's remainder: ``keep`` it as a smaller batch, ``drop`` it, or ``wrap``
            around to the epoch's first samples to fill it.
        group_by_aspect_ratio: Put only images of one ``height // width`` into a batch, so that little is lost when they
            get a common size. Each group of images has a remainder of its own. The source must know its images' sizes.
        outputs: Names that reach the batch; by default all arrays that the last stage leaves (a parsed record is
            no array).
        executor: ``serial`` (in the calling process) or ``process`` (worker processes).
        workers: Worker processes of this rank, for the ``process`` executor.
        prefetch_batches: Batches being prepared or waiting at any time, for the ``process`` executor.
        samples_per_message: Samples that a worker takes at a time.
        on_error: What a *bad* sample does, one with damaged or missing data: ``raise`` ends the epoch, ``skip`` leaves
            the sample out, so that its batch is shorter, ``replace`` puts the next good record in its place. No other
            sample changes. A mistake in a stage ends the epoch in any case.
        quarantine: File to list skipped and replaced records in, one JSON object a line, see
            :class:`flowdata.failures.BadSample`; without one they are logged.
        max_worker_restarts: Workers that may die, and be replaced and their samples made again, before it is an error.
        sample_deadline: Seconds that a worker may take for a sample while the consumer waits; then it is killed, and
            replaced like any that dies. None for ever.
        max_bad_fraction: Part of a shard's epoch that may be bad before it is an error all the same, 0 to 1.

    Raises:
        ConfigError: a field is out of range or the stages do not fit together.
    """

    source: Source
    stages: Sequence[Stage | StageFunction] = ()
    _: KW_ONLY
    batch_size: int
    collate: Sequence[BatchStage] = ()
    order: Order = field(default_factory=Sequential)
    seed: int = 0
    last_batch: LastBatch = "keep"
    group_by_aspect_ratio: bool = False
    outputs: tuple[str, ...] | None = None
    executor: Literal["serial", "process"] = "serial"
    workers: int = 1
    prefetch_batches: int = 4
    samples_per_message: int = 8
    max_worker_restarts: int = 3
    sample_deadline: float | None = None
    on_error: OnError = "raise"
    quarantine: str | os.PathLike[str] | None = None
    max_bad_fraction: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(as_stage(each) for each in self.stages))
        object.__setattr__(self, "collate", tuple(self.collate))
        given: Any
        for given in self.stages:
            if type(given) in BATCH_STAGES.values():
                raise ConfigError(f"pipeline: {given!r} takes whole batches and belongs into collate")
        for given in self.collate:
            if not isinstance(given, BatchStage) or type(given) in STAGES.values():
                raise ConfigError(f"pipeline: expected batch stages in collate, got {given!r}")
        for name, least in {
            "batch_size": 1, "seed": 0, "workers": 1, "prefetch_batches": 1, "samples_per_message": 1,
            "max_worker_restarts": 0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"pipeline: expected {name} to be an integer >= {least}, got {value!r}")
        if self.group_by_aspect_ratio and not hasattr(self.source, "aspect_groups"):
            raise ConfigError(
                f"pipeline: group_by_aspect_ratio needs a source that knows the sizes of its images, such as "
                f"COCOSource, got {type(self.source).__name__}"
            )
        if self.sample_deadline is not None and not self.sample_deadline > 0:
            raise ConfigError(
                f"pipeline: expected sample_deadline in seconds > 0 or none, got {self.sample_deadline!r}"
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError(f"pipeline: expected max_bad_fraction from 0 to 1, got {self.max_bad_fraction!r}")
        for name, allowed in {
            "last_batch": ("keep", "drop", "wrap"), "executor": ("serial", "process"), "on_error": get_args(OnError),
        }.items():  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ConfigError(f"pipeline: expected {name} to be one of {', '.join(allowed)}, "
                                  f"got {getattr(self, name)!r}")  # fmt: skip

    # -- what a sample becomes ---------------------------------------------------------------------------------------

    @cached_property
    def _named_stages(self) -> tuple[tuple[str, Stage], ...]:
        stages = tuple(as_stage(each) for each in self.stages)
        return tuple(zip(stage_names(stages), stages, strict=True))

    @cached_property
    def _specs(self) -> Specs:
        specs = self.source.output_spec()
        for name, each in self._named_stages:
            specs = _output_spec(name, each, specs)
        arrays = {name: spec for name, spec in specs.items() if not spec.dtype.hasobject}
        if self.outputs is None:
            return arrays
        if missing := [name for name in self.outputs if name not in specs]:
            raise ConfigError(f"outputs: no stage produces {', '.join(missing)}; there is {', '.join(arrays)}")
        if objects := [name for name in self.outputs if name not in arrays]:
            raise ConfigError(f"outputs: {', '.join(objects)} is no array and cannot be part of a batch; "
                              f"there is {', '.join(arrays) or 'nothing yet: add a decoder stage'}")  # fmt: skip
        return {name: arrays[name] for name in self.outputs}

    @cached_property
    def _collate_specs(self) -> tuple[Specs, ...]:
        """The specs before each batch stage, and after the last."""
        found = [self._specs]
        for name, each in zip(stage_names(tuple(self.collate)), self.collate, strict=True):
            found.append(_output_spec(name, each, found[-1]))
        return tuple(found)

    def sample_specs(self) -> Specs:
        """Name to spec of every value of a sample that becomes part of a batch: what executors put together."""
        return dict(self._specs)

    def output_specs(self) -> Specs:
        """Name to spec of every value in a delivered batch, without the batch axis.

        A value whose shape is not fixed is a list of arrays, unless a batch stage has made one array of them.
        """
        return dict(self._collate_specs[-1])

    def collated(self, batch: Batch) -> Batch:
        """Take a batch of samples through the batch stages.

        Raises:
            StageError: a batch stage raised; the message names it.
        """
        names = stage_names(tuple(self.collate))
        for name, each, specs in zip(names, self.collate, self._collate_specs, strict=False):
            try:
                batch = each(batch, specs)
            except Exception as error:
                raise _stage_error(name, f"batch {batch.step} of epoch {batch.epoch}", error) from error
        return batch

    def process(self, key: SampleKey, rows: Mapping[str, Array] | None = None) -> Sample:
        """Read one record and take it through all stages: the definition of what a sample is.

        Args:
            key: Which sample.
            rows: Memory for finished arrays, see :meth:`flowdata.sample.Sample.destination`.

        Raises:
            RecordError: the record cannot be read.
            StageError: a stage raised; the message names stage and record.
        """
        sample = self.source.read(key)
        sample.rows = rows or {}
        for name, each in self._named_stages:
            try:
                draws = getattr(each, "draws", True)  # a random stream costs more than some stages
                sample = each(sample, sample_rng(self.seed, key.epoch, key.index, name) if draws else NO_STREAM)
            except Exception as error:
                raise _stage_error(name, f"record {key.index} ({sample.origin})", error) from error
        return sample.select(tuple(self._specs))

    # -- which samples a batch holds ---------------------------------------------------------------------------------

    def steps_per_epoch(self) -> int:
        """Global batches in an epoch: the same on every rank."""
        groups = self._groups()
        lengths = [len(self.source)] if groups is None else np.unique(groups, return_counts=True)[1].tolist()
        return sum(steps(length, self.batch_size, self.last_batch) for length in lengths)

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """The global batches of epoch ``epoch``."""
        permutation = self.order.permutation(self.seed, epoch, len(self.source))
        return plan_epoch(permutation, self.batch_size, self.last_batch, self._groups())

    def _groups(self) -> Indices | None:
        return self.source.aspect_groups() if self.group_by_aspect_ratio else None  # type: ignore[attr-defined]

    def batch_indices(self, plan: EpochPlan, step: int, shard: ShardSpec) -> tuple[Indices, int]:
        """One shard's part of global batch ``step`` of a plan, and the number of samples in the global batch."""
        batch = plan.batch(step)
        part = split_range(len(batch), shard.count, shard.index)
        return batch[part.start : part.stop], len(batch)

    # -- running it --------------------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Digest of what decides the delivered bytes: data set, stages, order, seed and batch size.

        Executor, workers and prefetching are not part of it; neither is the number of ranks.
        """
        stages = [(name, describe(each)) for name, each in self._named_stages]
        parts = (
            self.source.fingerprint(),
            stages,
            self.order,
            self.seed,
            self.batch_size,
            self.last_batch,
            self.group_by_aspect_ratio,
            self.outputs,
            [describe(each) for each in self.collate],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def loader(self, shard: ShardSpec | None = None) -> Loader:
        """Start delivering batches; use it in a ``with`` statement or call ``close``.

        Args:
            shard: Which rank's part of each global batch to deliver; all of it by default.
        """
        from flowdata.loader import Loader

        return Loader(self, shard or ShardSpec())


def _output_spec(name: str, stage: Stage | BatchStage, specs: Specs) -> Specs:
    try:
        return stage.output_spec(specs)
    except KeyError as error:
        raise ConfigError(f"{name}: needs the value {error}, which no earlier stage produces; "
                          f"there is {', '.join(specs) or 'nothing'}") from None  # fmt: skip


def _stage_error(name: str, what: str, error: Exception) -> StageError:
    """What escaped from a stage, with where it happened."""
    kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
    wrapped = StageError(f"stage {name}, {what}: {kind}{error}")
    wrapped.stage = name
    wrapped.summary_only = getattr(error, "summary_only", False)
    return wrapped
