"""Sides in processes of their own, asked in turn, on a machine that is watched meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from flowdata.bench.harness import END_S, MAX_OTHER_CPU, end_group, family_cpu_seconds, machine_cpu_seconds, spread

ROOT = Path(__file__).resolve().parents[2]
START_S = 600.0  # loading libraries and compiling
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SideFailed(Exception):
    """A side ended without an answer; the text has the end of what it said."""


class SideMissing(Exception):
    """A side cannot run here; the text says why."""


class Side:
    """One or several processes that do one side's work.

    Args:
        name: What errors call it.
        module: Module for ``python -m`` which calls :func:`benchmarks.computing.answering.serve`; its first argument
            is the address.
        arguments: Its further arguments.
        threads: Threads that each process may compute with.
        ranks: Processes that will connect.
        launcher: Words in front of the module that start it, where that is not the interpreter.
        environment: Variables to set.

    Raises:
        SideMissing: it cannot run here.
        SideFailed: it ended instead of getting ready.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        threads: int,
        ranks: int = 1,
        launcher: Sequence[str] = (sys.executable, "-P", "-m"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="flow-bench-")
        address = os.path.join(self._folder.name, "socket")
        self._output = open(os.path.join(self._folder.name, "output"), "w+b")
        self._streams: list[TextIO] = []
        path = [str(ROOT), str(ROOT / "launch"), *filter(None, [os.environ.get("PYTHONPATH")])]
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen(ranks)
            server.settimeout(0.1)
            self._process = subprocess.Popen(
                [*launcher, module, address, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                cwd=self._folder.name,
                env={
                    **os.environ,
                    **dict.fromkeys(THREAD_VARIABLES, str(threads)),
                    "PYTHONPATH": os.pathsep.join(path),
                    **(environment or {}),
                },
                process_group=0,  # it is ended with everything that it started
            )
            try:
                self._accept(server, ranks)
            except BaseException:
                self.close(grace_s=0.0)
                raise

    @property
    def pid(self) -> int:
        """The process that the others descend from."""
        return self._process.pid

    def _accept(self, server: socket.socket, ranks: int) -> None:
        deadline = time.monotonic() + START_S
        hellos: list[tuple[dict[str, Any], TextIO]] = []
        while len(hellos) < ranks:
            try:
                channel, _ = server.accept()
            except TimeoutError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._failure() from None
                continue
            channel.settimeout(None)
            with channel:
                stream = channel.makefile("rw", encoding="utf-8")
            self._streams.append(stream)
            hellos.append((self._read(stream), stream))
        if missing := next((hello["missing"] for hello, _ in hellos if "missing" in hello), None):
            raise SideMissing(missing)
        self._streams = [stream for _, stream in sorted(hellos, key=lambda hello: int(hello[0]["rank"]))]

    def _read(self, stream: TextIO) -> dict[str, Any]:
        line = stream.readline()
        if not line:
            raise self._failure()
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise SideFailed(f"the side {self.name!r} failed:\n{message['error']}")
        return message

    def _failure(self) -> SideFailed:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return SideFailed(f"the side {self.name!r} ended without an answer:\n" + "\n".join(lines[-12:]))

    def ask(self, do: str, **arguments: Any) -> list[Any]:
        """Have every process do something; their answers in rank order.

        Raises:
            SideFailed: one of them could not.
        """
        for stream in self._streams:
            with contextlib.suppress(BrokenPipeError):  # reading says why
                stream.write(json.dumps({"do": do, **arguments}) + "\n")
                stream.flush()
        return [self._read(stream)["answer"] for stream in self._streams]

    def close(self, grace_s: float = END_S) -> None:
        """Let it end, and after so many seconds end what is left of it."""
        for stream in self._streams:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        end_group(self._process, grace_s)
        self._output.close()
        self._folder.cleanup()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(grace_s=0.0 if error is not None else END_S)


def watch_others() -> Callable[[], float]:
    """Watch from now on: the result tells which share of the machine's processors went to nobody's side since."""
    own = os.getpid()  # the sides descend from it
    machine, ours, start = machine_cpu_seconds(), family_cpu_seconds(own), time.perf_counter()

    def share() -> float:
        others = (machine_cpu_seconds() - machine) - (family_cpu_seconds(own) - ours)
        return max(0.0, others) / ((time.perf_counter() - start) * (os.cpu_count() or 1))

    return share


@dataclass
class Rounds:
    """What interleaved rounds gave.

    Args:
        values: Figures by side, one a round.
        others_cpu: Share of the processors that other processes had, one a round.
        repeated: Rounds that were measured again because the machine was not quiet.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    others_cpu: list[float] = field(default_factory=list)
    repeated: int = 0

    @property
    def disturbed(self) -> int:
        """Rounds that count although the machine was not quiet."""
        return sum(each > MAX_OTHER_CPU for each in self.others_cpu)

    def ratio(self, above: Callable[[dict[str, float]], float]) -> dict[str, float] | None:
        """Median and spread of something that is computed from the figures of one round."""
        rounds = [dict(zip(self.values, row, strict=True)) for row in zip(*self.values.values(), strict=True)]
        return spread([above(each) for each in rounds])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rounds": self.values,
            "others_cpu": self.others_cpu,
            "repeated": self.repeated,
            "disturbed": self.disturbed,
        }


def interleave(
    measures: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    max_repeats: int,
    watch: Callable[[], Callable[[], float]],
    say: Callable[[str], None] = lambda text: None,
) -> Rounds:
    """Measure every side once a round, in alternating order, and a round again that other processes disturbed.

    Args:
        measures: What measures each side.
        rounds: Rounds that count.
        max_repeats: Rounds that may be repeated; later ones count all the same.
        watch: Begins to watch the machine; what it returns tells the share of other processes since.
        say: Takes a line about each round.
    """
    result = Rounds({name: [] for name in measures})
    while len(result.others_cpu) < rounds:
        names = list(measures)
        if (len(result.others_cpu) + result.repeated) % 2:
            names.reverse()
        others = watch()
        values = {name: measures[name]() for name in names}
        share = others()
        again = share > MAX_OTHER_CPU and result.repeated < max_repeats
        say(f"round {len(result.others_cpu) + 1} of {rounds}: others {share:.0%} CPU{', again' if again else ''}")
        if again:
            result.repeated += 1
            continue
        result.others_cpu.append(share)
        for name, value in values.items():
            result.values[name].append(value)
    return result
