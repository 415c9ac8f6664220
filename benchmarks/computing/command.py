"""The arguments of ``benchmarks/compute.py`` and what it prints."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.status import Status

from benchmarks.computing import report
from benchmarks.computing.harness import SideFailed, SideMissing
from benchmarks.computing.measure import Options, measure
from benchmarks.computing.sizes import CHANNELS_LAST, COMPILED, FULL, OURS, PARTS, QUICK, SIDES, TORCH
from benchmarks.computing.targets import judge
from flowdata.bench.environment import environment
from flowdata.bench.harness import MAX_OTHER_CPU
from flowdata.resources import usable_cpus

SCHEMA = 1
PEERS = (TORCH, CHANNELS_LAST, COMPILED)
PACKAGES = ("torch", "onednn-cpu-gomp", "threadpoolctl", "mpich", "mpi4py")


def parser(description: str) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    result.add_argument("--rounds", type=positive, default=7, help="interleaved rounds that count (%(default)s)")
    result.add_argument("--seconds", type=float, help="least length of a timed stretch (2; for layers and ops 0.5)")
    result.add_argument("--max-repeats", type=int, help="disturbed rounds of a figure to measure again (2 per round)")
    result.add_argument("--threads", type=positive, default=usable_cpus(), help="threads of every side (%(default)s)")
    sides = sorted({side for each in SIDES.values() for side in each} - {OURS})
    result.add_argument(
        "--without", action="append", default=[], choices=sides, metavar="SIDE", help=f"leave out, repeatable: {sides}"
    )
    result.add_argument("--quick", action="store_true", help="tiny sizes, two short rounds: does it work at all?")
    result.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    return result


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def packages() -> dict[str, str]:
    """Versions of what the figures depend on, where it is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def about_machine() -> dict[str, Any]:
    """The environment block of a result."""
    result = environment()
    return {**result, "packages": {**result["packages"], **packages()}}


def main(argv: Sequence[str] | None = None, description: str = "") -> int:
    arguments = parser(description)
    args = arguments.parse_args(argv)
    if unknown := [name for name in args.parts if name not in PARTS]:
        arguments.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    console = report.console()
    without = list(args.without)
    if importlib.util.find_spec("torch") is None:
        console.print("PyTorch is not installed: its columns and every ratio are left out (pip install torch)")
        without += PEERS
    elif args.quick:
        console.print("--quick: nothing is compiled, and sizes are not those of the targets", style="dim")
        without.append(COMPILED)
    sizes = QUICK if args.quick else FULL
    rounds = min(args.rounds, 2) if args.quick else args.rounds
    settings = {"threads": args.threads, "rounds": rounds, "quick": args.quick, "max_other_cpu": MAX_OTHER_CPU}
    result: dict[str, Any] = {"schema": SCHEMA, "environment": about_machine(), "settings": settings}
    parts: dict[str, Any] = {}
    for name in args.parts or PARTS:
        repeats = args.max_repeats if args.max_repeats is not None else (0 if args.quick else 2 * rounds)
        seconds = args.seconds or (0.05 if args.quick else 0.5 if name in ("layers", "overhead") else 2.0)
        options = Options(rounds, seconds, repeats, args.threads, tuple(without))
        try:
            with console.status(f"{name}: starting the sides") as status:
                parts[name] = measure(name, sizes[name], options, partial(_show, status, name))
        except (SideFailed, SideMissing) as error:
            print(f"compute.py: {name}: {error}", file=sys.stderr)
            return 1
        console.print(f"[bold]{name}[/]: {parts[name]['does']}", highlight=False, soft_wrap=True)
        console.print(report.table_of(parts[name]))
        for line in report.notes(parts[name], MAX_OTHER_CPU):
            console.print(f"[dim]·[/] {line}", highlight=False, soft_wrap=True)
        console.print()
        rows = judge(parts)
        if args.json:  # after every part, so that the figures of an hour survive whatever comes next
            write_json(args.json, {**result, "parts": parts, "targets": report.plain_verdicts(rows, args.quick)})
    if rows:
        console.print(report.verdicts(rows, args.quick))
    return 0 if all(part["check"] is None or part["check"]["equal"] for part in parts.values()) else 1


def _show(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
