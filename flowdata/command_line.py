"""What the subcommands of ``flowdata`` share: kinds of arguments, options that several have, progress."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr if that is a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return

    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    yield line


def int_from(least: int) -> Callable[[str], int]:
    """A kind of argument: an integer that is at least ``least``."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer >= {least}, got {value}")
        return value

    parse.__name__ = "integer"  # argparse names the type so when int() refuses the text
    return parse


def quality(text: str) -> int:
    """A kind of argument: a JPEG quality."""
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a JPEG quality from 1 to 100, got {value}")
    return value


def tolerance(text: str) -> float:
    """A kind of argument: a difference, 0 or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number >= 0, got {text}")
    return value


def add_command(
    group: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
) -> argparse.ArgumentParser:
    """Add a subcommand that runs ``run``."""
    parser = group.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def add_allow_imports(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-imports``."""
    parser.add_argument(
        "--allow-imports", action="store_true", help="let the file import modules: sources and stages as module:Class"
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="write into a directory that is not empty")
