"""Run a job to its end: show its output, notice the first failure, leave nobody alive."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flowrun import processes
from flowrun.errors import LaunchError
from flowrun.logs import LogFollower, Screen, Tee, last_lines
from flowrun.plan import LaunchPlan
from flowrun.records import Failure, Records, signal_name
from flowrun.report import describe_failure, root_cause

TICK_S = 0.05
SETTLE_S = 0.3  # after the first failure the other ranks may still write their own records
LEFT_BEHIND_S = 1.0  # what processes the ranks started and left get to end by themselves
TIMEOUT_CODE = 124  # as timeout(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """How a job is shown and ended."""

    tee: Tee
    with_prefix: bool
    tail_lines: int = 30
    grace_s: float = 15.0  # between asking a job to end and killing it
    timeout_s: float | None = None
    verbosity: int = 0  # -1 quiet, 0, 1 verbose


def run_job(plan: LaunchPlan, argv: list[str], environment: Mapping[str, str], options: WatchOptions) -> int:
    """Start the engine, watch the job, report its end.

    Returns:
        The exit code for the shell: 0, that of the rank that failed first, 124 after a timeout, 128 + signal when
        flowrun was interrupted.

    Raises:
        LaunchError: the log directory cannot be made or the engine cannot be started.
    """
    try:
        plan.log_dir.mkdir(parents=True)
    except OSError as error:
        raise LaunchError(
            f"cannot make the log directory {plan.log_dir}: {error}; choose one with --log-dir"
        ) from error
    return _Job(plan, argv, environment, options).run()


class _Job:
    def __init__(
        self, plan: LaunchPlan, argv: list[str], environment: Mapping[str, str], options: WatchOptions
    ) -> None:
        self._plan, self._argv, self._environment, self._options = plan, argv, environment, options
        self._started = time.time()
        self._start = time.monotonic()
        self._records = Records(plan.log_dir)
        self._err = Screen(sys.stderr.buffer)
        self._logs = LogFollower(
            plan.log_dir,
            options.tee,
            with_prefix=options.with_prefix,
            out=Screen(sys.stdout.buffer),
            err=self._err,
            stderr_limits=self._records.stderr_limits,
        )
        self._engine: subprocess.Popen[bytes] | None = None
        self._signals: list[int] = []
        self._interrupted_by = 0
        self._failed_at: float | None = None
        self._ending = ""  # "", "failure", "timeout" or "signal"
        self._deadline = float("inf")

    def run(self) -> int:
        self._describe_run()
        with self._catch_signals():
            janitor = processes.Janitor(self._plan.run_id, self._started)
            try:
                self._engine = engine = self._start_engine()
                janitor.tell_engine(engine.pid)
                while engine.poll() is None:
                    self._step(engine)
                    time.sleep(TICK_S)
            finally:
                self._sweep()
                janitor.dismiss()
        self._logs.finish()
        self._records.refresh()
        code = self._conclude(engine.returncode)
        self._write_json("summary.json", {"exit_code": code, "started": self._started, "ended": time.time()})
        return code

    def _start_engine(self) -> subprocess.Popen[bytes]:
        def before_exec() -> None:
            processes.die_with_parent(signal.SIGTERM)

        try:
            with self._engine_log.open("wb") as log:
                return subprocess.Popen(
                    self._argv,
                    env=dict(self._environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
                    preexec_fn=before_exec,
                )
        except OSError as error:
            raise LaunchError(f"cannot start {self._argv[0]}: {error}") from error

    @property
    def _engine_log(self) -> Path:
        return self._plan.log_dir / "engine.log"

    def _step(self, engine: subprocess.Popen[bytes]) -> None:
        self._logs.pump()
        self._records.refresh()
        now = time.monotonic()
        while self._signals:
            self._on_signal(engine, self._signals.pop(0), now)
        if not self._ending:
            timeout = self._options.timeout_s
            if timeout is not None and now - self._start >= timeout:
                self._dump_stacks()
                self._end(engine, "timeout", signal.SIGTERM, now)
            elif self._records.failures():
                self._failed_at = self._failed_at or now
                if now - self._failed_at >= SETTLE_S:
                    self._end(engine, "failure", signal.SIGTERM, now)
        elif now >= self._deadline:
            processes.end_processes(self._plan.run_id, engine.pid)

    def _end(self, engine: subprocess.Popen[bytes], why: str, signum: int, now: float) -> None:
        self._ending = why
        self._deadline = now + self._options.grace_s
        # The engine passes it to the process group of every rank; the local one is that group's first process.
        with suppress(ProcessLookupError):
            os.killpg(engine.pid, signum)

    def _on_signal(self, engine: subprocess.Popen[bytes], signum: int, now: float) -> None:
        if self._ending:
            self._say("killing the job")
            self._deadline = now
            return
        self._interrupted_by = signum
        self._say(
            f"{signal.Signals(signum).name}: asking the ranks to stop, killing them in {self._options.grace_s:g} s "
            "(once more: at once)"
        )
        self._end(engine, "signal", signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM, now)

    def _dump_stacks(self) -> None:
        """Let the ranks of this machine write the stacks of their threads to their logs."""
        ours = processes.processes_of(self._plan.run_id)
        for record in self._records.started.values():
            if record["pid"] in ours:
                with suppress(ProcessLookupError):
                    os.kill(record["pid"], signal.SIGUSR2)
        time.sleep(SETTLE_S)

    def _sweep(self) -> None:
        """Whatever happened: no process and no file of the job stays."""
        run_id = self._plan.run_id
        left = processes.processes_of(run_id)
        if left and not processes.wait_until_none(
            lambda: processes.processes_of(run_id), time.monotonic() + LEFT_BEHIND_S
        ):
            processes.end_processes(run_id, None)
        if self._ending or self._engine is None or self._engine.returncode != 0:
            processes.remove_mpich_leftovers(self._started)

    def _conclude(self, engine_code: int) -> int:
        if self._ending == "signal":
            self._say(f"stopped by {signal.Signals(self._interrupted_by).name}; logs: {self._plan.log_dir}")
            return 128 + self._interrupted_by
        failures = self._failures(engine_code)
        if self._ending == "timeout":
            self._say(
                f"the job took longer than --timeout {self._options.timeout_s:g} s and was ended; the ranks' "
                f"stacks are in {self._plan.log_dir}"
            )
            return TIMEOUT_CODE
        if failures:
            root = root_cause(failures)
            self._err.write(
                [
                    line.encode(errors="replace")
                    for line in describe_failure(
                        root,
                        failures,
                        self._records.finished(),
                        nprocs=self._plan.nprocs,
                        log_dir=self._plan.log_dir,
                        shown=root.rank in self._options.tee.stderr,
                        tail_lines=self._options.tail_lines,
                    )
                ]
            )
            return root.exit_code
        return self._report_engine(engine_code) if engine_code else 0

    def _failures(self, engine_code: int) -> list[Failure]:
        failures = self._records.failures()
        if engine_code and all(failure.is_echo for failure in failures):
            vanished = self._records.vanished(self._engine_log.read_text(errors="replace"))
            failures = [*failures, vanished] if vanished else failures
        return failures

    def _report_engine(self, code: int) -> int:
        how = f"ended with exit code {code}" if code > 0 else f"was killed by {signal_name(-code)}"
        printed = last_lines(self._engine_log, self._options.tail_lines)
        guess = " (a program that calls MPI_Abort looks like this)" if code > 0 and not printed else ""
        self._say(f"{self._argv[0]} {how} and no rank says why{guess}", always=True)
        self._err.write([f"  {line}".encode() for line in printed])
        self._say(f"logs: {self._plan.log_dir}", always=True)
        return code if code > 0 else 128 - code

    def _describe_run(self) -> None:
        run = {
            "run_id": self._plan.run_id,
            "nprocs": self._plan.nprocs,
            "hosts": {host.name: host.slots for host in self._plan.hosts},
            "command": self._argv,
            "environment": dict(self._plan.settings),
        }
        self._write_json("run.json", run)
        if self._options.verbosity > 0:
            self._say(shlex.join(self._argv))
            self._say(f"logs: {self._plan.log_dir}")

    def _write_json(self, name: str, value: Mapping[str, object]) -> None:
        (self._plan.log_dir / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    def _say(self, text: str, *, always: bool = False) -> None:
        if always or self._options.verbosity >= 0:
            self._err.write([f"flowrun: {text}".encode(errors="replace")])

    @contextmanager
    def _catch_signals(self) -> Iterator[None]:
        def note(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)

        caught = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else: nohup
            caught.append(signal.SIGHUP)
        before = {signum: signal.signal(signum, note) for signum in caught}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
