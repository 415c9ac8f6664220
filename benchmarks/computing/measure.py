"""One part from its sides to its figures, as plain values."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.computing.harness import Rounds, Side, SideFailed, SideMissing, interleave, watch_others
from benchmarks.computing.sizes import COMPILED, OURS, SIDES, TRAINING, describe, samples
from flowdata.bench.harness import spread

LOSS_TOLERANCE = 1e-4
PEAK_STEPS = 5


@dataclass(frozen=True)
class Options:
    """How to measure.

    Args:
        rounds: Rounds that count.
        seconds: Least length of a timed stretch.
        max_repeats: Disturbed rounds of a figure to measure again.
        threads: Threads that every side may compute with.
        without: Sides to leave out.
    """

    rounds: int
    seconds: float
    max_repeats: int
    threads: int
    without: tuple[str, ...] = ()


def measure(part: str, sizes: Mapping[str, Any], options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a part.

    Raises:
        SideFailed: this project's side failed, or a peer did after its start.
    """
    skipped: dict[str, str] = {}

    def start(side: str) -> Side:
        spec = json.dumps({"part": part, "side": side, "sizes": sizes})
        return Side(side, "benchmarks.computing.side", [spec], threads=options.threads)

    names = [side for side in SIDES[part] if side not in options.without]
    result: dict[str, Any] = {
        "does": describe(part, dict(sizes)),
        "sizes": sizes,
        "samples": samples(part, dict(sizes)),
    }
    with contextlib.ExitStack() as stack:
        sides: dict[str, Side] = {}
        for name in names:
            try:
                sides[name] = stack.enter_context(start(name))
            except SideMissing as missing:
                skipped[name] = str(missing)
        about = {name: side.ask("about")[0] for name, side in sides.items()}
        calls = about[OURS]["calls"]
        result["check"] = _check(sides, skipped) if part in TRAINING else None
        for name in list(sides):
            if name in skipped:
                sides.pop(name).close()
        result["figures"] = {name: _figure(name, sides, options, say) for name in calls}
        result["sides"] = {name: about[name] for name in sides}
        if part in TRAINING:
            for side in sides.values():
                side.ask("loss")  # it still is a number
    result["peak_bytes"] = _peaks(start, [name for name in sides if name != COMPILED]) if part in TRAINING else {}
    return {**result, "skipped": skipped}


def _check(sides: Mapping[str, Side], skipped: dict[str, str]) -> dict[str, Any]:
    """Give every side our weights: equal work has as many parameters and the same loss."""
    losses: dict[str, float] = {}
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="flow-bench-") as folder:
        path = os.path.join(folder, "weights.npz")
        sides[OURS].ask("save", path=path)
        for name, side in sides.items():
            try:
                side.ask("load", path=path)
                losses[name], counts[name] = side.ask("loss")[0], side.ask("parameters")[0]
            except SideFailed as failed:
                if name != COMPILED:  # which needs a compiler that works
                    raise
                skipped[name] = str(failed).strip().splitlines()[-1]
    differences = [abs(loss - losses[OURS]) for loss in losses.values()]
    equal = len(set(counts.values())) == 1 and max(differences) <= LOSS_TOLERANCE
    return {"parameters": counts, "losses": losses, "tolerance": LOSS_TOLERANCE, "equal": equal}


def _figure(name: str, sides: Mapping[str, Side], options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    for side in sides.values():
        side.ask("warm", name=name, seconds=options.seconds / 2)

    def timer(label: str, side: Side) -> Callable[[], float]:
        def time() -> float:
            answer = side.ask("time", name=name, seconds=options.seconds, least=2)[0]
            cpu[label].append(answer["cpu_seconds"] / answer["seconds"])
            return float(answer["seconds"])

        return time

    rounds = interleave(
        {label: timer(label, side) for label, side in sides.items()},
        options.rounds,
        max_repeats=options.max_repeats,
        watch=watch_others,
        say=lambda text: say(f"{name}: {text}"),
    )
    return {
        "seconds": {side: spread(values) for side, values in rounds.values.items()},
        "cores": {side: spread(values) for side, values in cpu.items()},
        "speed": speeds(rounds),
        **rounds.plain(),
    }


def speeds(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """How many times as fast as each other side a side is, within a round: median and spread."""

    def times(side: str, peer: str) -> Any:
        return rounds.ratio(lambda seconds: seconds[peer] / seconds[side])

    names = list(rounds.values)
    return {side: {peer: times(side, peer) for peer in names if peer != side} for side in names}


def _peaks(start: Callable[[str], Side], names: Sequence[str]) -> dict[str, int]:
    """The most memory of each side, in processes that do nothing but a few steps."""
    peaks = {}
    for name in names:
        with start(name) as side:
            peaks[name] = side.ask("peak", name="step", steps=PEAK_STEPS)[0]
    return peaks
