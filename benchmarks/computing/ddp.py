"""Data-parallel steps: the sides, the figures and the arguments of ``benchmarks/ddp_step.py``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.computing import report
from benchmarks.computing.command import about_machine, positive, write_json
from benchmarks.computing.harness import Side, SideFailed, interleave, watch_others
from benchmarks.computing.measure import LOSS_TOLERANCE, speeds
from benchmarks.computing.targets import Target, Verdict
from benchmarks.computing.thread_times import COMPUTE
from flowdata.bench.harness import MAX_OTHER_CPU, spread

SCHEMA = 1
RANKS = 2
COMMUNICATION = "flowdist-reduce"
DDP, ALONE, ALLREDUCES = "flownn DDP", "without communication", "its allreduces alone"
TORCH, CHANNELS_LAST = "torch DDP", "torch DDP channels-last"
FULL = {"batch": 8, "image": 112, "classes": 1000}
QUICK = {"batch": 4, "image": 64, "classes": 10}

STEP = Target("ddp", f"step beside the same {ALONE} + {ALLREDUCES}", 1.06, "cost")
SPEED = Target("ddp", "step", 1.0, peer=TORCH, side=DDP)
THREADS = Target("ddp", "CPU time of any thread but compute and communication", 0.01, "share")
CORES = Target("ddp", "a rank alone on the machine", 1.05, "cores")


def ours(ranks: int, sizes: Mapping[str, Any]) -> Side:
    """Our ranks, started by flowrun with one compute thread each."""
    options = ("-n", str(ranks), "--omp-threads", "1", "--quiet", "-m")
    return Side(
        DDP,
        "benchmarks.computing.ddp_rank",
        [json.dumps({"library": "flownn", "sizes": sizes})],
        threads=1,
        ranks=ranks,
        launcher=(sys.executable, "-P", "-m", "flowrun", *options),
    )


def peer(ranks: int, sizes: Mapping[str, Any], folder: str) -> Side:
    """PyTorch's ranks, with one compute thread each."""
    spec = {"library": "torch", "sizes": sizes, "meet": os.path.join(folder, "meet")}
    return Side(
        TORCH,
        "benchmarks.computing.ddp_rank",
        [json.dumps(spec)],
        threads=1,
        ranks=ranks,
        launcher=(sys.executable, "-P", "-m", "benchmarks.computing.spawn", str(ranks)),
    )


class Steps:
    """Something that all ranks of a side do together, and what their threads had of it.

    Args:
        side: Whose.
        call: Which of its calls.
        seconds: Least length of a timed stretch.
    """

    def __init__(self, side: Side, call: str, seconds: float) -> None:
        self._side, self._call = side, call
        self._run(2)
        self._count = max(2, math.ceil(seconds / self._run(2)))
        self.answers: list[list[dict[str, Any]]] = []

    def _run(self, count: int) -> float:
        """Seconds of the slowest rank."""
        self.last: list[dict[str, Any]] = self._side.ask("run", call=self._call, count=count)
        return float(max(each["seconds"] for each in self.last))

    def __call__(self) -> float:
        seconds = self._run(self._count)
        self.answers.append(self.last)
        return seconds

    def most_threads(self) -> dict[str, float]:
        """By thread the largest share of a rank's CPU time, of the medians over the stretches."""
        ranks = list(zip(*self.answers, strict=True))
        found: dict[str, float] = {}
        for rank, answers in enumerate(ranks):
            for name in sorted({name for answer in answers for name in answer["threads"]}):
                values = spread([answer["threads"].get(name, 0.0) for answer in answers])
                assert values is not None, "there is a stretch"
                known = name in (COMPUTE, COMMUNICATION)
                label = name if known else f"{name} (rank {rank})"
                found[label] = max(found.get(label, 0.0), values["median"])
        return found

    def cores(self) -> dict[str, float] | None:
        """Processors that a rank had: the busiest rank of each stretch."""
        return spread([max(rank["cores"] for rank in answer) for answer in self.answers])


def measure(
    sizes: Mapping[str, Any],
    rounds: int,
    seconds: float,
    max_repeats: int,
    with_torch: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All figures.

    Raises:
        SideFailed: a side failed; the text has its last words.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flow-bench-"))
        say("starting the ranks")
        job = stack.enter_context(ours(RANKS, sizes))
        sides = {DDP: job}
        if with_torch:
            sides[TORCH] = stack.enter_context(peer(RANKS, sizes, folder))
        check = _check(job, sides[TORCH], folder) if with_torch else None
        about = {name: side.ask("about")[0] for name, side in sides.items()}
        say("warming up")
        steps = {
            DDP: Steps(job, "ddp", seconds),
            ALONE: Steps(job, "alone", seconds),
            ALLREDUCES: Steps(job, "allreduces", seconds / 4),
        }
        if with_torch:
            steps[TORCH] = Steps(sides[TORCH], "ddp", seconds)
            steps[CHANNELS_LAST] = Steps(sides[TORCH], "ddp channels-last", seconds)
        found = interleave(steps, rounds, max_repeats=max_repeats, watch=watch_others, say=say)
        for side in sides.values():
            side.ask("close")
    cost = found.ratio(lambda figures: figures[DDP] / (figures[ALONE] + figures[ALLREDUCES]))
    threads, cores = steps[DDP].most_threads(), {name: each.cores() for name, each in steps.items()}
    say("a rank alone")
    with ours(1, sizes) as job:
        single = Steps(job, "alone", seconds)
        one = interleave({"rank": single}, rounds, max_repeats=max_repeats, watch=watch_others, say=say)
        job.ask("close")
    return {
        "sizes": sizes,
        "sides": about,
        "check": check,
        "seconds": {name: spread(values) for name, values in found.values.items()},
        "cores": cores,
        "speed": speeds(found),
        "cost": cost,
        "threads": threads,
        "one_rank": {"cores": single.cores(), "seconds": spread(one.values["rank"]), **one.plain()},
        **found.plain(),
    }


def _check(job: Side, other: Side, folder: str) -> dict[str, Any]:
    """Equal weights must give equal losses on every rank."""
    path = os.path.join(folder, "weights.npz")
    job.ask("save", path=path)
    other.ask("load", path=path)
    losses = {DDP: job.ask("loss"), TORCH: other.ask("loss")}
    equal = all(abs(a - b) <= LOSS_TOLERANCE for a, b in zip(*losses.values(), strict=True))
    return {"losses": losses, "tolerance": LOSS_TOLERANCE, "equal": equal}


def judge(result: Mapping[str, Any]) -> list[Verdict]:
    """A verdict on every target."""
    strangers = [share for name, share in result["threads"].items() if name not in (COMPUTE, COMMUNICATION)]
    same = result["check"] is not None and result["check"]["equal"]
    return [
        Verdict(STEP, result["cost"]["median"]),
        Verdict(SPEED, result["speed"][DDP][TORCH]["median"] if same else None),
        Verdict(THREADS, max(strangers, default=0.0)),
        Verdict(CORES, result["one_rank"]["cores"]["median"]),
    ]


def table_of(result: Mapping[str, Any]) -> Any:
    """A row per side."""
    table = report.new_table()
    for head in ("median", "spread", "cores of a rank", f"{DDP} is"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, seconds in result["seconds"].items():
        speed = result["speed"][DDP].get(name) if name in (TORCH, CHANNELS_LAST) else None
        table.add_row(
            name,
            report.duration(seconds["median"]),
            report.between(seconds),
            f"{result['cores'][name]['median']:.2f}",
            f"{speed['median']:.2f} x" if speed else "",
            style="bold" if name == DDP else "",
        )
    return table


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader has to know beside the table."""
    cost, shares = result["cost"], sorted(result["threads"].items(), key=lambda each: -each[1])
    lines = [
        f"flownn computes with {result['sides'][DDP]['kernels']}",
        f"a step takes {cost['median']:.3f} x ({cost['least']:.3f} – {cost['largest']:.3f}) the time of the same "
        f"{ALONE} + {ALLREDUCES}",
        "CPU time of a rank: " + ", ".join(f"{name} {share:.1%}" for name, share in shares),
    ]
    if check := result["check"]:
        losses = " and ".join(f"{loss:.5f}" for loss in check["losses"][DDP])
        if check["equal"]:
            lines.append(f"the same work: with equal weights loss {losses} on both sides (to {check['tolerance']:g})")
        else:
            lines.append(f"[bold red]NOT THE SAME WORK[/]: losses {check['losses']}")
    return lines + report.disturbances([result, result["one_rank"]], MAX_OTHER_CPU)


def main(argv: Sequence[str] | None = None, description: str = "") -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=7, help="interleaved rounds that count (%(default)s)")
    parser.add_argument("--seconds", type=float, help="least length of a timed stretch (3)")
    parser.add_argument("--max-repeats", type=int, help="disturbed rounds to measure again (2 per round)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two short rounds: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    args = parser.parse_args(argv)
    console = report.console()
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch:
        console.print("PyTorch is not installed: its rows and the ratio are left out (pip install torch)")
    sizes = QUICK if args.quick else FULL
    rounds = min(args.rounds, 2) if args.quick else args.rounds
    repeats = args.max_repeats if args.max_repeats is not None else (0 if args.quick else 2 * rounds)
    seconds = args.seconds or (0.1 if args.quick else 3.0)
    try:
        with console.status("starting the ranks") as status:
            result = measure(sizes, rounds, seconds, repeats, with_torch, status.update)
    except SideFailed as error:
        print(f"ddp_step.py: {error}", file=sys.stderr)
        return 1
    console.print(
        f"training step of ResNet-18, {RANKS} ranks with one compute thread each, batch {sizes['batch']} per rank, "
        f"{sizes['image']}x{sizes['image']} pixels",
        highlight=False,
        soft_wrap=True,
    )
    console.print(table_of(result))
    for line in notes(result):
        console.print(f"[dim]·[/] {line}", highlight=False, soft_wrap=True)
    console.print()
    rows = judge(result)
    console.print(report.verdicts(rows, args.quick))
    if args.json:
        settings = {"ranks": RANKS, "rounds": rounds, "quick": args.quick, "max_other_cpu": MAX_OTHER_CPU}
        about = {"schema": SCHEMA, "environment": about_machine(), "settings": settings}
        write_json(args.json, {**about, **result, "targets": report.plain_verdicts(rows, args.quick)})
    return 0 if result["check"] is None or result["check"]["equal"] else 1
