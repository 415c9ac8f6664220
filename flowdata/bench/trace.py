"""What each process did when: a pipeline whose reads and stages write that down, and the result for Perfetto."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowdata.pipeline import Pipeline
from flowdata.sample import Sample, SampleKey, Specs
from flowdata.sources.base import Source
from flowdata.stages import Cut, Stage, as_stage, narrowed, stage_name

READ = 0  # number of the read; stages follow
MAX_EVENTS = 20_000

_EVENT = struct.Struct("<HHIIQQQ")  # step, whether it waited, epoch, index; start, wall and CPU time in ns
_SUFFIX = ".events"
_THREAD = getattr(resource, "RUSAGE_THREAD", None)

_open: dict[tuple[str, int], int] = {}  # descriptor by folder and process


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one sample.

    Args:
        pid: Process that did it.
        step: 0 for the read, k for stage k.
        waited: Whether the process gave up the processor meanwhile: it slept or waited for a device.
        epoch: Epoch of the sample.
        index: Position of its record in the data set.
        start: Seconds on the clock of ``time.perf_counter``.
        wall: Seconds from beginning to end.
        cpu: Seconds of CPU time.
    """

    pid: int
    step: int
    waited: bool
    epoch: int
    index: int
    start: float
    wall: float
    cpu: float


class _Stopwatch:
    """Writes an event when its block ends without an exception."""

    __slots__ = ("_cpu", "_folder", "_key", "_start", "_step", "_switches")

    def __init__(self, folder: str, step: int, key: SampleKey) -> None:
        self._folder, self._step, self._key = folder, step, key

    def __enter__(self) -> None:
        self._switches = _voluntary_switches()
        self._cpu = time.thread_time_ns()
        self._start = time.perf_counter_ns()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        wall = time.perf_counter_ns() - self._start
        cpu = time.thread_time_ns() - self._cpu
        waited = _THREAD is None or _voluntary_switches() > self._switches
        if kind is None:
            place = self._folder, os.getpid()
            if place not in _open:
                _open[place] = os.open(
                    Path(place[0]) / f"{place[1]}{_SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
                )
            # At once and whole: a worker is killed when its consumer has had enough.
            event = _EVENT.pack(self._step, waited, self._key.epoch, self._key.index, self._start, wall, cpu)
            os.write(_open[place], event)


def _voluntary_switches() -> int:
    """How often this thread gave up the processor; being pushed off it by others does not count."""
    return 0 if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw


@dataclass(frozen=True)
class TracedSource:
    """A source whose reads are written down."""

    source: Source
    folder: str

    def open(self) -> None:
        """Open the source."""
        self.source.open()

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    def __len__(self) -> int:
        """That of the source."""
        return len(self.source)

    def output_spec(self) -> Specs:
        """That of the source."""
        return self.source.output_spec()

    def fingerprint(self) -> str:
        """That of the source."""
        return self.source.fingerprint()

    def read(self, key: SampleKey) -> Sample:
        """Read, and write down how long it took."""
        with _Stopwatch(self.folder, READ, key):
            return self.source.read(key)


@dataclass(frozen=True)
class TracedStage:
    """A stage whose calls are written down; it has the name, and so the random stream, of the stage inside."""

    stage: Stage
    step: int
    folder: str

    @property
    def stage_name(self) -> str:
        """That of the stage."""
        return stage_name(self.stage)

    @property
    def draws(self) -> bool:
        """That of the stage."""
        return getattr(self.stage, "draws", True)

    def output_spec(self, specs: Specs) -> Specs:
        """That of the stage."""
        return self.stage.output_spec(specs)

    def narrowed(self, following: Sequence[Any]) -> TracedStage:
        """That of the stage, traced as well."""
        inside = [each.stage if isinstance(each, TracedStage) else each for each in following]
        return replace(self, stage=narrowed(self.stage, inside))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        with _Stopwatch(self.folder, self.step, sample.key):
            return self.stage(sample, rng)


def traced(pipeline: Pipeline, folder: Path) -> Pipeline:
    """The same pipeline; its processes write what they do into files in ``folder``."""
    place = os.fspath(folder)
    stages: list[Stage | Cut] = []
    numbers = itertools.count(READ + 1)
    for each in pipeline.stages:
        stages.append(each if isinstance(each, Cut) else TracedStage(as_stage(each), next(numbers), place))
    return replace(pipeline, source=TracedSource(pipeline.source, place), stages=stages)


def read_events(folder: Path, since: float = 0.0) -> list[Event]:
    """The events of all processes that began after ``since``, by time."""
    events = []
    for path in folder.glob(f"*{_SUFFIX}"):
        data = path.read_bytes()
        whole = len(data) // _EVENT.size * _EVENT.size  # the last one may have been cut off with its process
        for step, waited, epoch, index, start, wall, cpu in _EVENT.iter_unpack(data[:whole]):
            events.append(Event(int(path.stem), step, bool(waited), epoch, index, start / 1e9, wall / 1e9, cpu / 1e9))
    return sorted((each for each in events if each.start >= since), key=lambda each: each.start)


def write_trace(events: Sequence[Event], names: Sequence[str], path: Path) -> int:
    """Write events in the format that https://ui.perfetto.dev and chrome://tracing open, compressed.

    One row per process; a slice per sample, with its steps inside. Of many events, the first of each process are kept.

    Returns:
        Number of slices written.
    """
    pids = sorted({each.pid for each in events})
    rows: list[dict[str, Any]] = []
    origin = min((each.start for each in events), default=0.0)

    def microseconds(seconds: float) -> float:
        return round(seconds * 1e6, 3)

    for number, pid in enumerate(pids):
        own = [each for each in events if each.pid == pid][: MAX_EVENTS // len(pids)]
        first = min(each.step for each in own)  # the read, unless it is a worker of a later group
        common = {"pid": pid, "tid": pid}
        rows.append({"ph": "M", "name": "process_name", **common, "args": {"name": f"worker {number}"}})
        samples: dict[tuple[int, int], list[Event]] = {}
        for each in own:
            samples.setdefault((each.epoch, each.index), []).append(each)
        for (epoch, index), steps in samples.items():
            if steps[0].step != first:
                continue  # it was begun before the time that is looked at
            start, end = steps[0].start, max(each.start + each.wall for each in steps)
            rows.append({
                "ph": "X", "cat": "sample", "name": f"sample {index}", **common, "ts": microseconds(start - origin),
                "dur": microseconds(end - start), "args": {"epoch": epoch, "index": index},
            })  # fmt: skip
            rows += [
                {
                    "ph": "X", "cat": "step", "name": names[each.step], **common,
                    "ts": microseconds(each.start - origin), "dur": microseconds(each.wall),
                    "args": {"cpu_us": microseconds(each.cpu), "waited": each.waited},
                }
                for each in steps
            ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"traceEvents": rows, "displayTimeUnit": "ms"}, file)
    return sum(each["ph"] == "X" for each in rows)
