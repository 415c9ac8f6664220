"""Sides in processes of their own, measured in interleaved rounds on a machine that is watched meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flowdata.errors import DataError

MAX_OTHER_CPU = 0.05  # share of the machine that other processes may have in a round that counts
_PACKAGE = Path(__file__).resolve().parents[1]
END_S = 10.0  # a side's time to end once its input has ended


class SideFailed(DataError):
    """A side of the comparison ended without an answer; the message has the end of what it printed."""


class SideMissing(DataError):
    """A side cannot run here; the message says why."""


@dataclass(frozen=True)
class SideSpec:
    """How to start one side.

    Args:
        name: What the report calls it.
        module: Module for ``python -m``; it calls :func:`flowdata.bench.protocol.serve`.
        spec: What the module is told.
        python: Interpreter to run it.
    """

    name: str
    module: str
    spec: Mapping[str, Any]
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class Measurement:
    """One timed stretch of one side.

    Args:
        images_per_second: Images that the consumer took, by the wall clock.
        cpu_ms_per_image: User and system time of the side's processes, all of them.
        pss_mib: Memory of all of them, shared pages counted once (PSS); None where the system does not tell.
        first_batch_s: From opening the loader to the first batch, libraries loaded.
        wait_share: Part of the time that the consumer waited for a batch.
        others_cpu: Share of the machine's processors that processes of nobody's side had meanwhile.
        workers: What the side's workers did, where it says so: shares of their time that they were ``busy``, waited for
            something to do (``input``) and for the consumer (``output``), and time per sample.
    """

    images_per_second: float
    cpu_ms_per_image: float
    pss_mib: float | None
    first_batch_s: float
    wait_share: float
    others_cpu: float
    workers: dict[str, Any] | None = None


@dataclass(frozen=True)
class Timing:
    """How long to measure.

    Args:
        seconds: Least length of a timed stretch.
        batches: Least number of batches in it.
        warmup_batches: Batches before the clock starts, at least.
        warmup_s: Seconds before the clock starts, at least.
        step_s: What the consumer does with each batch: nothing for so many seconds, as while a device computes.
    """

    seconds: float = 2.0
    batches: int = 4
    warmup_batches: int = 6
    warmup_s: float = 1.0
    step_s: float = 0.0

    def warmup(self) -> dict[str, Any]:
        """The part that a side is told when it is started."""
        return {"warmup_batches": self.warmup_batches, "warmup_s": self.warmup_s, "step_s": self.step_s}


class Runner:
    """A started side.

    Args:
        side: What to start.
        timing: How long to warm up.
        extra: More for its specification.

    Raises:
        SideMissing: it cannot run here.
        SideFailed: it ended without an answer.
    """

    def __init__(self, side: SideSpec, timing: Timing, extra: Mapping[str, Any]) -> None:
        self._side = side
        self._folder = tempfile.TemporaryDirectory(prefix="flowdata-bench-")
        folder = Path(self._folder.name)
        spec = folder / "spec.json"
        spec.write_text(json.dumps({**side.spec, **timing.warmup(), **extra}))
        # The interpreter may be of another environment: of ours it sees this package and nothing beside it.
        (folder / "path").mkdir()
        (folder / "path" / "flowdata").symlink_to(_PACKAGE, target_is_directory=True)
        path = [str(folder / "path")]
        if side.python == sys.executable and "PYTHONPATH" in os.environ:
            path.append(os.environ["PYTHONPATH"])
        self._errors = (folder / "stderr").open("w+b")
        self._process = subprocess.Popen(
            [side.python, "-P", "-m", side.module, str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            process_group=0,  # it is ended with everything that it started
        )
        try:
            self.ready: dict[str, Any] = self._answer("ready")
            self.steady: dict[str, Any] = self._answer("steady")
        except BaseException:
            self.close(grace_s=0.0)
            raise

    def _answer(self, kind: str) -> dict[str, Any]:
        assert self._process.stdout is not None, "it is a pipe"
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            end = "\n".join(lines[-12:]) or f"it printed nothing; exit code {self._process.returncode}"
            raise SideFailed(f"bench: the side {self._side.name!r} failed:\n{end}")
        message = json.loads(line)
        if "missing" in message:
            raise SideMissing(message["missing"])
        answer: dict[str, Any] = message[kind]
        return answer

    def measure(self, timing: Timing) -> Measurement:
        """Time one stretch."""
        assert self._process.stdin is not None, "it is a pipe"
        machine, own = machine_cpu_seconds(), family_cpu_seconds(self._process.pid)
        start = time.perf_counter()
        self._process.stdin.write(json.dumps({"seconds": timing.seconds, "batches": timing.batches}).encode() + b"\n")
        self._process.stdin.flush()
        measured = self._answer("measured")
        seconds = time.perf_counter() - start
        used = family_cpu_seconds(self._process.pid) - own
        others = machine_cpu_seconds() - machine - used
        return Measurement(
            measured["images"] / measured["seconds"],
            1e3 * used / measured["images"],
            _pss_mib(self._process.pid),
            self.steady["first_batch_s"],
            measured["waited_s"] / measured["seconds"],
            max(0.0, others) / (seconds * (os.cpu_count() or 1)),
            measured["workers"],
        )

    def close(self, grace_s: float = END_S) -> None:
        """Let it end, and after so many seconds end what is left of it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        end_group(self._process, grace_s)
        self._errors.close()
        self._folder.cleanup()


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Wait so many seconds for a process to end; then end what is left of it and of what it started.

    Args:
        process: The leader of a process group of its own.
        grace_s: Seconds to wait.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def started(side: SideSpec, timing: Timing, **extra: Any) -> Iterator[Runner]:
    """The side, with full queues."""
    runner = Runner(side, timing, extra)
    try:
        yield runner
    except BaseException:
        runner.close(grace_s=0.0)
        raise
    runner.close()


# -- the machine -----------------------------------------------------------------------------------------------------


def machine_cpu_seconds() -> float:
    """CPU time of the whole machine that was not idle."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def family_cpu_seconds(pid: int) -> float:
    """CPU seconds of a process with all its descendants, and of the ones that they have waited for."""
    total = 0.0
    for process in _family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _pss_mib(pid: int) -> float | None:
    total = 0
    for process in _family(pid):
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            return None
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        total += int(found[1]) if found else 0
    return total / 1024


# -- rounds ----------------------------------------------------------------------------------------------------------


@dataclass
class Rounds:
    """What the rounds gave.

    Args:
        rounds: One entry per round that counts: order, measurements by side, share of other processes, whether quiet.
        repeated: Rounds that were measured again because the machine was not quiet.
        about: What each side said of itself.
        dropped: Sides that cannot run here or failed, and why.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def disturbed(self) -> int:
        """Rounds that count although the machine was not quiet."""
        return sum(not each["quiet"] for each in self.rounds)

    def values(self, side: str, figure: str) -> list[float]:
        """A figure of a side, round by round; empty where there is none."""
        return [each["sides"][side][figure] for each in self.rounds if each["sides"][side][figure] is not None]

    def summary(self, side: str, figure: str) -> dict[str, float] | None:
        """Median and spread of a figure."""
        return spread(self.values(side, figure))

    def ratio(self, side: str, to: str, figure: str = "images_per_second") -> dict[str, float] | None:
        """Median and spread of the ratio of a figure of two sides within a round."""
        pairs = [(each["sides"][side][figure], each["sides"][to][figure]) for each in self.rounds]
        return spread([a / b for a, b in pairs if a is not None and b])


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, least and largest."""
    if not values:
        return None
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def run_rounds(
    sides: Sequence[SideSpec],
    rounds: int,
    timing: Timing,
    *,
    max_repeats: int = 14,
    needed: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Rounds:
    """Measure every side once a round, in alternating order, and again what other processes disturbed.

    Args:
        sides: What to compare.
        rounds: Rounds that count.
        timing: Length of the stretches.
        max_repeats: Rounds that may be repeated; later ones count, marked as disturbed.
        needed: Sides without which there is nothing to compare; others are left out when they cannot run.
        say: Takes a line about each round.

    Raises:
        SideFailed: a needed side failed.
    """
    result = Rounds()
    choices: dict[str, str] = {}
    while len(result.rounds) < rounds:
        here = [side for side in sides if side.name not in result.dropped]
        order = here if (len(result.rounds) + result.repeated) % 2 == 0 else here[::-1]
        measured: dict[str, Measurement] = {}
        for side in order:
            extra = {"choice": choices[side.name]} if side.name in choices else {}
            try:
                with started(side, timing, **extra) as runner:
                    measured[side.name] = runner.measure(timing)
                    result.about[side.name] = runner.ready | runner.steady
            except (SideMissing, SideFailed) as error:
                if side.name in needed:
                    raise
                result.dropped[side.name] = str(error).strip().splitlines()[-1]
                say(f"{side.name}: skipped: {result.dropped[side.name]}")
                for each in result.rounds:
                    each["sides"].pop(side.name, None)
                continue
            if choice := runner.ready.get("choice"):
                choices[side.name] = choice
        others = max(each.others_cpu for each in measured.values())
        quiet = others <= MAX_OTHER_CPU
        again = not quiet and result.repeated < max_repeats
        figures = "  ".join(f"{name} {each.images_per_second:.0f}" for name, each in sorted(measured.items()))
        say(f"round {len(result.rounds) + 1}: {figures}  others {others:.0%} CPU{'  -> again' if again else ''}")
        if again:
            result.repeated += 1
            continue
        result.rounds.append({
            "order": [side.name for side in order if side.name in measured],
            "others_cpu": others,
            "quiet": quiet,
            "sides": {name: asdict(each) for name, each in measured.items()},
        })  # fmt: skip
    return result
