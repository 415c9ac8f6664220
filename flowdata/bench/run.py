"""One benchmark from a pipeline to a result that is plain values, ready for JSON; docs/benchmarks.md has its fields."""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle

from flowdata.bench.calls import decoder_calls
from flowdata.bench.environment import cpu_capacity, environment
from flowdata.bench.harness import MAX_OTHER_CPU, Rounds, SideSpec, Timing, run_rounds, started
from flowdata.bench.trace import read_events, traced, write_trace
from flowdata.bench.verdict import Model, StepTime, judge, step_times
from flowdata.bench.work import Work, as_plain, first_records, work_of, write_files
from flowdata.errors import ConfigError
from flowdata.executors.budget import most_workers
from flowdata.pipeline import Pipeline
from flowdata.resources import usable_cpus
from flowdata.stages import Cut

SCHEMA = 1
OURS, LIMIT = "flowdata", "limit"
PEERS = ("dali", "torch", "spdl")
MOST_FILES = 2000  # peers and limit read files of their own, which have to be written first
_DIGEST_IMAGES = 256
_READERS = (1, 2, 4, 8)
_FIGURES = ("images_per_second", "cpu_ms_per_image", "pss_mib", "first_batch_s", "wait_share")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        against: Peers, of :data:`PEERS`.
        rounds: Rounds that count.
        timing: Length of the stretches; ``step_s`` stands for the consumer's work.
        max_repeats: Disturbed rounds to repeat; by default two for each round.
        records: Records to use, the first of the data set; all by default, some thousands with peers.
        peer_python: Interpreter by peer, where that is another environment's.
        prefetch: Batches that the peers prepare ahead, as far as they can count so; their defaults without.
        trace: File for a trace.
    """

    against: tuple[str, ...] = ()
    rounds: int = 7
    timing: Timing = field(default_factory=Timing)
    max_repeats: int | None = None
    records: int | None = None
    peer_python: Mapping[str, str] = field(default_factory=dict)
    prefetch: int | None = None
    trace: Path | None = None


def bench(pipeline: Pipeline, options: Options, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measure a pipeline, its peers and its limit, and judge it.

    Args:
        pipeline: What to measure; it runs as it says, epoch after epoch.
        options: How.
        say: Takes a line about what is going on.

    Raises:
        ConfigError: the pipeline is wrong, or an option does not fit it.
        SideFailed: the pipeline itself failed; the message has its error.
    """
    if unknown := [name for name in options.against if name not in PEERS]:
        raise ConfigError(f"bench: expected peers among {', '.join(PEERS)}, got {', '.join(unknown)}")
    records = options.records or (MOST_FILES if options.against else None)
    with tempfile.TemporaryDirectory(prefix="flowdata-bench-") as folder:
        pipeline.source.open()
        try:
            pipeline = replace(first_records(pipeline, records), quarantine=None)
            return _Bench(pipeline, options, Path(folder), say).run()
        finally:
            pipeline.source.close()


class _Bench:
    def __init__(self, pipeline: Pipeline, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self._pipeline, self._options, self._folder, self._say = pipeline, options, folder, say
        self._timing = replace(options.timing, warmup_batches=pipeline.prefetch_batches + 2)
        self._count = sum(most_workers(pipeline))
        self._uncut = replace(pipeline, stages=[each for each in pipeline.stages if not isinstance(each, Cut)])
        self._sides = 0
        self._files: list[str] = []

    def run(self) -> dict[str, Any]:
        skipped: dict[str, str] = {}
        work = self._work(skipped)
        sides = [self._ours(OURS, self._pipeline), *self._others(work)]
        does = str(work) if work is not None else " -> ".join(self._pipeline.step_names)
        self._say(f"{len(self._pipeline.source)} records, batches of {self._pipeline.batch_size}: {does}")
        repeats = 2 * self._options.rounds if self._options.max_repeats is None else self._options.max_repeats
        rounds = run_rounds(
            sides, self._options.rounds, self._timing, max_repeats=repeats, needed=(OURS,), say=self._say
        )
        skipped |= rounds.dropped
        names = [side.name for side in sides if side.name not in skipped]
        for name in names[1:]:
            ours, its = ((rounds.about[each]["dtype"], rounds.about[each]["shape"][1:]) for each in (OURS, name))
            if its != ours:
                skipped[name] = f"its samples are {its[0]} {its[1]}, ours {ours[0]} {ours[1]}: not the same work"
        names = [name for name in names if name not in skipped]
        checks = self._worker_counts()
        steps, verdict = self._judge(rounds)
        result = {
            "schema": SCHEMA,
            "valid": checks["equal"],
            "environment": environment(),
            "pipeline": self._about_pipeline(work),
            "timing": {"rounds": self._options.rounds, "max_repeats": repeats, **asdict(self._timing)},
            "sides": {name: self._side(name, rounds) for name in names},
            "ratios": {name: rounds.ratio(OURS, name) for name in names if name != OURS},
            "memory_ratios": {name: rounds.ratio(OURS, name, "pss_mib") for name in names if name not in (OURS, LIMIT)},
            "skipped": skipped,
            "rounds": rounds.rounds,
            "rounds_repeated": rounds.repeated,
            "rounds_disturbed": rounds.disturbed,
            "max_other_cpu": MAX_OTHER_CPU,
            "digests": checks["digests"],
            "scaling": checks["scaling"],
            "groups": _groups([each["sides"][OURS]["workers"]["groups"] for each in rounds.rounds]),
            "steps": [{**asdict(each), "total_us": each.total_us} for each in steps],
            "verdict": verdict,
        }
        if self._options.trace is not None:
            result["trace"] = self._trace(self._options.trace)
        return result

    # -- the sides ---------------------------------------------------------------------------------------------------

    def _work(self, skipped: dict[str, str]) -> Work | None:
        try:
            return work_of(self._pipeline)
        except ConfigError as error:
            for name in (*self._options.against, LIMIT):
                skipped[name] = str(error)
            self._say(f"{', '.join((*self._options.against, LIMIT))}: skipped: {error}")
            return None

    def _ours(self, name: str, pipeline: Pipeline) -> SideSpec:
        return SideSpec(name, "flowdata.bench.ours", self._pickled(pipeline))

    def _pickled(self, pipeline: Pipeline) -> dict[str, Any]:
        self._sides += 1
        path = self._folder / f"pipeline-{self._sides}.pickle"
        path.write_bytes(cloudpickle.dumps(pipeline))
        return {"pipeline": os.fspath(path), "path": sys.path}

    def _others(self, work: Work | None) -> list[SideSpec]:
        if work is None:
            return []
        files = self._folder / "files"
        files.mkdir()
        self._files = write_files(self._pipeline, files, self._options.records or MOST_FILES)
        workers = self._count if self._pipeline.executor != "serial" else 1
        spec = {
            "work": as_plain(work),
            "files": self._files,
            "workers": workers,
            "batch_size": self._pipeline.batch_size,
            "prefetch": self._options.prefetch,
        }
        (self._folder / "calls").mkdir()
        calls = [asdict(each) for each in decoder_calls(self._pipeline, self._files, self._folder / "calls")]
        limit = {**spec, "calls": calls, "workers": max(1, min(workers, int(cpu_capacity())))}
        return [
            *(
                SideSpec(
                    name, f"flowdata.bench.peers.{name}", spec, self._options.peer_python.get(name, sys.executable)
                )
                for name in self._options.against
            ),
            SideSpec(LIMIT, "flowdata.bench.limit", limit),
        ]

    # -- more measurements -------------------------------------------------------------------------------------------

    def _worker_counts(self) -> dict[str, Any]:
        """The same batches by the serial executor and by 1, 2, 4, … workers: equal bytes, and how the rate grows."""
        pipeline, most = self._pipeline, self._count
        if pipeline.executor == "serial":
            most = usable_cpus()
        counts = sorted({*(2**k for k in range(most.bit_length()) if 2**k <= most), most})
        executor = "process" if pipeline.executor == "serial" else pipeline.executor
        runs = {"serial": replace(self._uncut, executor="serial", workers=1)}
        runs |= {str(count): replace(self._uncut, executor=executor, workers=count) for count in counts}
        if len(pipeline.groups) > 1 or pipeline.groups[0].workers == "auto":
            runs["as configured"] = pipeline
        batches = max(2, math.ceil(_DIGEST_IMAGES / pipeline.batch_size))
        digests: dict[str, str] = {}
        scaling: list[dict[str, Any]] = []
        for name, each in runs.items():
            with started(self._ours(name, each), self._timing, digest_batches=batches) as runner:
                digests[name] = runner.steady["digest"]
                rates = [runner.measure(self._timing) for _ in range(min(3, self._options.rounds))]
            rate = statistics.median(each.images_per_second for each in rates)
            if name.isdecimal():
                others = max(each.others_cpu for each in rates)
                scaling.append({"workers": int(name), "images_per_second": rate, "others_cpu": others})
            self._say(f"workers {name}: {rate:.0f} images/s, bytes {digests[name][:12]}")
        for point in scaling:
            point["efficiency"] = point["images_per_second"] / (scaling[0]["images_per_second"] * point["workers"])
        return {"digests": digests, "equal": len(set(digests.values())) == 1, "scaling": scaling}

    def _traced_run(self, pipeline: Pipeline) -> list[Any]:
        folder = self._folder / f"events-{self._sides}"
        folder.mkdir()
        side = self._ours("trace", traced(pipeline, folder))
        with started(side, replace(self._timing, step_s=0.0)) as runner:
            since = time.perf_counter()
            runner.measure(replace(self._timing, batches=1))
        return read_events(folder, since)

    def _judge(self, rounds: Rounds) -> tuple[list[StepTime], dict[str, Any]]:
        pipeline = self._pipeline
        steps = step_times(self._traced_run(replace(self._uncut, executor="process", workers=1)), pipeline.step_names)
        figures = {
            name: statistics.median(rounds.values(OURS, name)) for name in ("images_per_second", "cpu_ms_per_image")
        }
        observed = [each["sides"][OURS]["workers"] for each in rounds.rounds]
        workers = {share: statistics.median(each[share] for each in observed) for share in ("busy", "input", "output")}
        read = next(each for each in steps if each.name == "read")
        step_us = 1e6 * self._timing.step_s / pipeline.batch_size
        cut = pipeline.executor == "process" and len(pipeline.groups) > 1
        groups = tuple(group.steps for group in pipeline.groups) if cut else ()
        model = Model(steps, 1e3 * figures["cpu_ms_per_image"], cpu_capacity(), step_us, groups=groups)
        per_message = min(pipeline.samples_per_message, pipeline.batch_size)
        model = replace(model, ahead=pipeline.prefetch_batches * pipeline.batch_size, per_message=per_message)
        counts: tuple[int, ...] | None = (self._count,)
        if pipeline.executor == "serial":
            counts = None
        elif cut:
            counts = tuple(most_workers(pipeline))
        if read.wait_us > 0.1 * model.worker_us:
            model = replace(model, read_rates=self._read_rates())
        verdict = judge(model, counts, workers["output"], self._worker_keys())
        measured = figures["images_per_second"]
        return steps, {
            **asdict(verdict),
            "yaml": verdict.yaml,
            "images_per_second": measured,
            "predicted_images_per_second": measured * verdict.gain,
            "model_images_per_second": model.rate(counts),
            "workers": workers,
            "cpu_us_per_image": model.cpu_us,
            "hand_over_us": model.around_us,
            "read_rates": {str(count): rate for count, rate in model.read_rates.items()},
        }

    def _worker_keys(self) -> list[str]:
        """The setting that holds the number of workers of each group."""
        cuts = [number for number, each in enumerate(self._pipeline.stages) if isinstance(each, Cut)]
        return ["workers", *(f"stages.{number}.cut.workers" for number in cuts)]

    def _read_rates(self) -> dict[int, float]:
        """Records per second by number of readers, until more of them do not help."""
        rates: dict[int, float] = {}
        for readers in _READERS:
            rates[readers] = self._read_rate(readers)
            enough = 1.2 * rates[readers // 2] if readers > 1 else 0.0
            if rates[readers] < enough:  # look twice: something else may have been in the way
                rates[readers] = max(rates[readers], self._read_rate(readers))
            if rates[readers] < enough:
                break
        return rates

    def _read_rate(self, readers: int) -> float:
        spec = {**self._pickled(self._pipeline), "readers": readers}
        timing = Timing(seconds=1.0, batches=1, warmup_batches=1, warmup_s=0.2)
        with started(SideSpec("reads", "flowdata.bench.reads", spec), timing) as runner:
            return runner.measure(timing).images_per_second

    def _trace(self, path: Path) -> dict[str, Any]:
        events = self._traced_run(self._pipeline)
        slices = write_trace(events, self._pipeline.step_names, path)
        return {"file": os.fspath(path), "slices": slices}

    # -- what is reported --------------------------------------------------------------------------------------------

    def _about_pipeline(self, work: Work | None) -> dict[str, Any]:
        pipeline = self._pipeline
        about: dict[str, Any] = {
            "fingerprint": pipeline.fingerprint(),
            "does": str(work) if work is not None else " -> ".join(pipeline.step_names),
            "records": len(pipeline.source),
            "batch_size": pipeline.batch_size,
            "executor": pipeline.executor,
            "workers": pipeline.workers,
            "prefetch_batches": pipeline.prefetch_batches,
            "samples_per_message": pipeline.samples_per_message,
        }
        if self._files:
            about["mean_bytes"] = statistics.fmean(os.path.getsize(each) for each in self._files)
        return about

    def _side(self, name: str, rounds: Rounds) -> dict[str, Any]:
        about = rounds.about[name]
        figures: dict[str, Any] = {each: rounds.summary(name, each) for each in _FIGURES}
        if name == LIMIT:  # it makes no batches
            figures["first_batch_s"] = figures["wait_share"] = None
        else:
            figures |= {each: about[each] for each in ("shape", "dtype", "mean", "std") if each in about}
        return {**{each: about[each] for each in ("does", "versions", "batches_ahead")}, **figures}


def _groups(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What the workers of each group did: medians over the rounds."""
    groups = []
    for taken in zip(*rounds, strict=True):
        figures = {name: statistics.median(each[name] for each in taken) for name in taken[0] if name != "steps"}
        groups.append({"steps": taken[0]["steps"], **figures, "workers": taken[-1]["workers"]})
    return groups
