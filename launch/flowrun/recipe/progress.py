"""What rank 0 shows while it trains: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
    """Receives the state of a run; only rank 0's does something."""

    def line(self, text: str) -> None:
        """One line worth keeping, such as the result of an epoch."""
        ...

    def step(self, done: int, total: int, text: str) -> None:
        """Where training is: ``done`` of ``total`` steps, and the current figures."""
        ...

    def close(self) -> None: ...


class SilentReporter:
    """For every rank but 0, whose lines would only repeat rank 0's."""

    def line(self, text: str) -> None:
        """Ranks other than 0 keep their lines to themselves."""

    def step(self, done: int, total: int, text: str) -> None:
        """Ranks other than 0 draw no bar."""

    def close(self) -> None:
        """Nothing was opened."""


class PlainReporter:
    """Whole lines on standard output: for log files, pipes and continuous integration."""

    def line(self, text: str) -> None:
        """Print the line."""
        print(text, flush=True)

    def step(self, done: int, total: int, text: str) -> None:
        """Print the step and its figures."""
        print(f"step {done}/{total}  {text}", flush=True)

    def close(self) -> None:
        """Nothing was opened: standard output stays."""


class TerminalReporter:
    """A bar that stays at the bottom of the terminal, lines scrolling above it."""

    def __init__(self, terminal: IO[str]) -> None:
        self._terminal = terminal
        self._console = Console(file=terminal, highlight=False, force_terminal=True)
        self._bar = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
            TimeRemainingColumn(), console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)
        self._started = False

    def line(self, text: str) -> None:
        """Print the line above the bar."""
        self._console.print(text, markup=False)

    def step(self, done: int, total: int, text: str) -> None:
        """Move the bar."""
        if not self._started:
            self._bar.start()
            self._started = True
        self._bar.update(self._task, completed=done, total=total, description=text)

    def close(self) -> None:
        """Take the bar away."""
        if self._started:
            self._bar.stop()
        if self._terminal is not sys.stdout:
            self._terminal.close()


def open_reporter(rank: int) -> Reporter:
    """The reporter for this rank: a bar if the launcher's (or this process's) output is a terminal."""
    if rank != 0:
        return SilentReporter()
    if device := os.environ.get("FLOWRUN_TTY"):
        # The launcher sends this process's standard output to a file; the terminal itself is still there.
        # O_NOCTTY: a session leader must not get it as its controlling terminal.
        try:
            return TerminalReporter(os.fdopen(os.open(device, os.O_WRONLY | os.O_NOCTTY), "w"))
        except OSError:
            return PlainReporter()
    return TerminalReporter(sys.stdout) if sys.stdout.isatty() else PlainReporter()


class reporting:
    """``with reporting(rank) as report``: open the rank's reporter and close it whatever happens."""

    def __init__(self, rank: int) -> None:
        self._reporter = open_reporter(rank)

    def __enter__(self) -> Reporter:
        return self._reporter

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reporter.close()
