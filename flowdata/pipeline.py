"""The description of a pipeline: what to read, in which order, through which stages, in batches of which size.

A :class:`Pipeline` runs nothing. Everything it says is a pure function of its fields, so that any number of
processes on any number of hosts agree on every batch without talking to each other.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from flowdata.batch_transforms import BATCH_TRANSFORMS, BatchTransform, as_batch_transform
from flowdata.errors import ConfigError, DataError, StageError
from flowdata.failures import OnError
from flowdata.plan import EpochPlan, LastBatch, plan_epoch, steps
from flowdata.sample import Array, Batch, Sample, SampleKey, Specs
from flowdata.seeding import NO_STREAM, sample_rng, streams
from flowdata.sharding import ShardSpec, split_range
from flowdata.sources.base import Source
from flowdata.sources.function import as_source
from flowdata.sources.order import Indices, Order, Sequential
from flowdata.stages import Cut, Stage, StageFunction, as_stage, describe, narrowed, shown_names, stage_names

if TYPE_CHECKING:
    from flowdata.executors.stats import StepTimes
    from flowdata.loader import Loader

ExecutorName = Literal["serial", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that the same workers do.

    Args:
        steps: Their positions in :attr:`Pipeline.step_names`.
        workers: Number of workers, see :class:`Pipeline`.
    """

    steps: range
    workers: int | Literal["auto"]


@dataclass(frozen=True)
class Pipeline:
    """Source, order, stages and batches; iterate over it with :meth:`loader`.

    Args:
        source: Where the records come from; also a sequence of mappings from names to arrays, such as a data set of
            your own with ``__len__`` and ``__getitem__``.
        stages: Stages, or callables ``(sample, rng) -> sample``, applied in this order. A :class:`Cut` among them lets
            the ``process`` executor run what follows in worker processes of their own; what comes before the first one,
            which includes reading, has ``workers``.
        batch_size: Samples in a *global* batch, over all ranks.
        order: Order of the records within an epoch.
        seed: Seed of order and augmentation, 0 or more.
        last_batch: What happens to an epoch's remainder: ``keep`` it as a smaller batch, ``drop`` it, or ``wrap``
            around to the epoch's first samples to fill it.
        group_by_aspect_ratio: Put only images of one ``height // width`` into a batch, so that little is lost when they
            get a common size. Each group of images has a remainder of its own. The source must know its images' sizes.
        outputs: Names that reach the batch; by default all arrays that the last stage leaves (a parsed record is
            no array).
        batch_transforms: Batch transforms, or callables ``(batch, rng) -> batch``, applied in this order to each
            shard's part when it is delivered, in the calling process; see :mod:`flowdata.batch_transforms`.
        executor: ``serial`` (in the calling process, when asked), ``process`` (worker processes) or ``thread`` (worker
            threads, for where processes cannot be had; they help as far as stages release the interpreter lock).
        workers: Worker processes or threads of this rank. ``auto`` begins with as many as affinity and control group
            allow, divided among the ranks of the machine; processes that the consumer turns out not to need leave
            after a few seconds, and come back if it has to wait. Nothing else depends on their number.
        prefetch_batches: Batches that workers prepare, or have ready, at any time.
        samples_per_message: Samples that a worker takes at a time.
        on_error: What a *bad* sample does, one with damaged or missing data: ``raise`` ends the epoch, ``skip`` leaves
            the sample out, so that its batch is shorter, ``replace`` puts the next good record in its place. No other
            sample changes. A mistake in a stage ends the epoch in any case.
        quarantine: File to list skipped and replaced records in, one JSON object a line, see
            :class:`flowdata.failures.BadSample`; without one they are logged.
        max_worker_restarts: Workers that may die, and be replaced and their samples made again, before it is an error.
        sample_deadline: Seconds that a worker may take for a sample while the consumer waits; then it is killed, and
            replaced like any that dies. A thread cannot be killed: that is an error. None for ever.
        max_bad_fraction: Part of a shard's epoch that may be bad before it is an error all the same, 0 to 1.

    Raises:
        ConfigError: a field is out of range or the stages do not fit together.
    """

    source: Source
    stages: Sequence[Stage | StageFunction | Cut] = ()
    _: KW_ONLY
    batch_size: int
    order: Order = field(default_factory=Sequential)
    seed: int = 0
    last_batch: LastBatch = "keep"
    group_by_aspect_ratio: bool = False
    outputs: tuple[str, ...] | None = None
    batch_transforms: Sequence[BatchTransform | Callable[[Batch, np.random.Generator], Batch]] = ()
    executor: ExecutorName = "serial"
    workers: int | Literal["auto"] = 1
    prefetch_batches: int = 4
    samples_per_message: int = 8
    max_worker_restarts: int = 3
    sample_deadline: float | None = None
    on_error: OnError = "raise"
    quarantine: str | os.PathLike[str] | None = None
    max_bad_fraction: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", as_source(self.source))
        object.__setattr__(self, "batch_transforms", tuple(as_batch_transform(each) for each in self.batch_transforms))
        stages = tuple(each if isinstance(each, Cut) else as_stage(each) for each in self.stages)
        object.__setattr__(self, "stages", stages)
        for each in stages:
            if type(each) in BATCH_TRANSFORMS.values():
                raise ConfigError(f"pipeline: {each!r} changes whole batches and belongs into batch_transforms")
        if any(isinstance(each, Cut) and isinstance(after, Cut) for each, after in pairwise([*stages, Cut()])):
            raise ConfigError("pipeline: expected stages after each cut, up to the next one or the end")
        for name, least in {
            "batch_size": 1, "seed": 0, "workers": 1, "prefetch_batches": 1, "samples_per_message": 1,
            "max_worker_restarts": 0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if name == "workers" and value == "auto":
                continue
            if type(value) is not int or value < least:
                auto = " or auto" if name == "workers" else ""
                raise ConfigError(f"pipeline: expected {name} to be an integer >= {least}{auto}, got {value!r}")
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
            "last_batch": ("keep", "drop", "wrap"), "executor": get_args(ExecutorName), "on_error": get_args(OnError),
        }.items():  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ConfigError(f"pipeline: expected {name} to be one of {', '.join(allowed)}, "
                                  f"got {getattr(self, name)!r}")  # fmt: skip

    # -- what a sample becomes ---------------------------------------------------------------------------------------

    @cached_property
    def _named_stages(self) -> tuple[tuple[str, Stage], ...]:
        stages = tuple(as_stage(each) for each in self.stages if not isinstance(each, Cut))
        return tuple(zip(stage_names(stages), stages, strict=True))

    def at_work(self, numbers: range) -> tuple[tuple[str, Stage], ...]:
        """What runs for some further steps in a row, with their names: each does only what the others of them need."""
        if (found := self._narrowed.get(numbers)) is None:
            named = self._named_stages[numbers.start - 1 : numbers.stop - 1]
            stages = [stage for _, stage in named]
            found = tuple((name, narrowed(stage, stages[place:])) for place, (name, stage) in enumerate(named, 1))
            self._narrowed[numbers] = found
        return found

    @cached_property
    def _narrowed(self) -> dict[range, tuple[tuple[str, Stage], ...]]:
        return {}

    @cached_property
    def _step_specs(self) -> tuple[Specs, ...]:
        """What a sample holds after each of :attr:`step_names`."""
        found = [self.source.output_spec()]
        for name, (_, each) in zip(self.step_names[1:], self._named_stages, strict=True):
            found.append(_output_spec(name, each, found[-1], ", which no earlier stage produces"))
        return tuple(found)

    def specs_at_cuts(self) -> list[Specs]:
        """What a sample holds where it goes from one group to the next."""
        return [self._step_specs[group.steps.stop - 1] for group in self.groups[:-1]]

    @cached_property
    def _specs(self) -> Specs:
        specs = self._step_specs[-1]
        arrays = {name: spec for name, spec in specs.items() if not spec.dtype.hasobject}
        if self.outputs is None:
            return arrays
        if missing := [name for name in self.outputs if name not in specs]:
            raise ConfigError(f"outputs: no stage produces {', '.join(missing)}; there is {', '.join(arrays)}")
        if objects := [name for name in self.outputs if name not in arrays]:
            raise ConfigError(f"outputs: {', '.join(objects)} is no array and cannot be part of a batch; "
                              f"there is {', '.join(arrays) or 'nothing yet: add a decoder stage'}")  # fmt: skip
        return {name: arrays[name] for name in self.outputs}

    def output_specs(self) -> Specs:
        """Name to spec of every value of a sample as the stages leave it."""
        return dict(self._specs)

    @cached_property
    def _named_transforms(self) -> tuple[tuple[str, BatchTransform], ...]:
        transforms = tuple(as_batch_transform(each) for each in self.batch_transforms)
        return tuple(zip(stage_names(transforms), transforms, strict=True))

    @cached_property
    def _batch_specs(self) -> tuple[Specs, ...]:
        """The specs before each batch transform, and after the last."""
        found = [self._specs]
        for name, each in self._named_transforms:
            found.append(_output_spec(name, each, found[-1], " in the batch"))
        return tuple(found)

    def batch_specs(self) -> Specs:
        """Name to spec of every value in a delivered batch, without the batch axis.

        A value whose shape is not fixed is a list of arrays, unless a batch transform has made one array of them.
        """
        return dict(self._batch_specs[-1])

    def transform(self, batch: Batch) -> Batch:
        """Take one shard's part of a batch through the batch transforms.

        Raises:
            StageError: a transform raised; the message names transform and batch.
        """
        before, after = self._batch_specs[:-1], self._batch_specs[-1]
        for (name, each), specs in zip(self._named_transforms, before, strict=True):
            try:
                rng = sample_rng(self.seed, batch.epoch, batch.step, f"batch {name}")
                batch = each(replace(batch, specs=specs), rng)
            except Exception as error:
                where = f"batch transform {name}, epoch {batch.epoch}, step {batch.step}"
                raise _stage_error(name, where, error) from error
        return replace(batch, specs=after)

    @cached_property
    def step_names(self) -> tuple[str, ...]:
        """What happens to a sample, in order: ``read``, then the stages by distinct names for people."""
        return ("read", *shown_names(tuple(each for _, each in self._named_stages)))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The steps by who does them in the ``process`` executor; one group unless stages are cut."""
        starts, workers = [0], [self.workers]
        step = 1
        for each in self.stages:
            if isinstance(each, Cut):
                starts.append(step)
                workers.append(each.workers)
            else:
                step += 1
        ends = [*starts[1:], step]
        return tuple(Group(range(*bounds), count) for *bounds, count in zip(starts, ends, workers, strict=True))

    def process(
        self, key: SampleKey, rows: Mapping[str, Array] | None = None, steps: StepTimes | None = None
    ) -> Sample:
        """Read one record and take it through all stages: the definition of what a sample is.

        Args:
            key: Which sample.
            rows: Memory for finished arrays, see :meth:`flowdata.sample.Sample.destination`.
            steps: Where to say which of :attr:`step_names` is under way, and to add how long each took.

        Raises:
            RecordError: the record cannot be read.
            StageError: a stage raised; the message names stage and record.
        """
        sample = self.read(key, steps)
        sample.rows = rows or {}
        return self.advance(sample, range(1, len(self._named_stages) + 1), steps).select(tuple(self._specs))

    def read(self, key: SampleKey, steps: StepTimes | None = None) -> Sample:
        """The first step of :meth:`process`."""
        before = time.perf_counter_ns()
        if steps is not None:
            steps.current = 0
        sample = self.source.read(key)
        if steps is not None:
            steps.ns[0] += time.perf_counter_ns() - before
        return sample

    def advance(self, sample: Sample, numbers: range, steps: StepTimes | None = None) -> Sample:
        """Some of the further steps of :meth:`process`, by their numbers."""
        clock, stages = time.perf_counter_ns, self.at_work(numbers)
        key, before = sample.key, clock()
        with streams() as stream:
            for number, (name, each) in zip(numbers, stages, strict=True):
                if steps is not None:
                    steps.current = number
                try:
                    draws = getattr(each, "draws", True)  # a random stream costs more than some stages
                    sample = each(sample, stream(self.seed, key.epoch, key.index, name) if draws else NO_STREAM)
                except Exception as error:
                    shown = self.step_names[number]
                    raise _stage_error(shown, f"stage {shown}, record {key.index} ({sample.origin})", error) from error
                if steps is not None:
                    after = clock()
                    steps.ns[number] += after - before
                    before = after
        return sample

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
            [(name, describe(each)) for name, each in self._named_transforms],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def loader(self, shard: ShardSpec | None = None) -> Loader:
        """Start delivering batches; use it in a ``with`` statement or call ``close``.

        Args:
            shard: Which rank's part of each global batch to deliver; all of it by default.
        """
        from flowdata.loader import Loader

        return Loader(self, shard or ShardSpec())


def _output_spec(name: str, part: Stage | BatchTransform, specs: Specs, missing: str) -> Specs:
    try:
        return part.output_spec(specs)
    except KeyError as error:
        raise ConfigError(
            f"{name}: needs the value {error}{missing}; there is {', '.join(specs) or 'nothing'}"
        ) from None


def _stage_error(name: str, where: str, error: Exception) -> StageError:
    """What escaped from a stage or batch transform, with where it happened."""
    kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
    wrapped = StageError(f"{where}: {kind}{error}")
    wrapped.stage = name
    wrapped.summary_only = getattr(error, "summary_only", False)
    return wrapped
