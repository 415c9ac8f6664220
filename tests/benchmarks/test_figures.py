"""Figures, targets and tables from numbers written by hand."""

from __future__ import annotations

import doctest
import importlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from benchmarks.computing import report
from benchmarks.computing.answering import timed
from benchmarks.computing.harness import Rounds, interleave
from benchmarks.computing.measure import speeds
from benchmarks.computing.sizes import CHANNELS_LAST, FULL, OURS, PARTS, PORTABLE, QUICK, SIDES, TORCH
from benchmarks.computing.targets import TARGETS, Target, Verdict, judge, measured, plain
from benchmarks.computing.thread_times import shares


@pytest.mark.parametrize("name", ["report", "sizes", "targets", "thread_times"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"benchmarks.computing.{name}"))
    assert result.attempted
    assert not result.failed


# -- rounds ----------------------------------------------------------------------------------------------------------


class Scene:
    """Sides whose figures are counted up, and a machine whose quiet is given in advance."""

    def __init__(self, others: list[float]) -> None:
        self.asked: list[str] = []
        self._others = iter(others)

    def side(self, name: str) -> Callable[[], float]:
        def figure() -> float:
            self.asked.append(name)
            return float(len(self.asked))

        return figure

    def watch(self) -> Callable[[], float]:
        return lambda: next(self._others)


def test_every_side_is_measured_once_a_round_in_alternating_order() -> None:
    scene = Scene([0.0, 0.0, 0.0])
    found = interleave({name: scene.side(name) for name in "abc"}, 3, max_repeats=0, watch=scene.watch)
    assert "".join(scene.asked) == "abccbaabc"
    assert found.values == {"a": [1.0, 6.0, 7.0], "b": [2.0, 5.0, 8.0], "c": [3.0, 4.0, 9.0]}
    assert (found.repeated, found.disturbed) == (0, 0)


def test_a_disturbed_round_is_measured_again_until_the_repeats_are_used_up() -> None:
    scene, said = Scene([0.06, 0.05, 0.2, 0.3]), []
    found = interleave({"a": scene.side("a")}, 2, max_repeats=2, watch=scene.watch, say=said.append)
    assert found.values == {"a": [2.0, 4.0]}  # 0.05 is quiet enough; the last round counts, for want of repeats
    assert found.others_cpu == [0.05, 0.3]
    assert (found.repeated, found.disturbed) == (2, 1)
    assert [text.endswith("again") for text in said] == [True, False, True, False]


def test_a_speed_is_the_median_of_the_ratios_within_rounds() -> None:
    found = speeds(Rounds({"flownn": [1.0, 2.0, 4.0], "torch": [3.0, 2.0, 8.0]}))
    assert found["flownn"]["torch"] == {"median": 2.0, "least": 1.0, "largest": 3.0}
    assert found["torch"]["flownn"] == {"median": 0.5, "least": 1 / 3, "largest": 1.0}


def test_the_time_of_a_call_is_that_of_all_calls_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def call() -> None:
        nonlocal now
        now += 0.002

    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr("time.process_time", lambda: 2 * now)
    found = timed(call, seconds=0.1, least=1)
    assert found["calls"] % 4 == 0  # a chunk is longer than one call
    assert found["seconds"] == pytest.approx(0.002)
    assert found["cpu_seconds"] == pytest.approx(0.004)
    assert 0.1 <= found["calls"] * 0.002 < 0.12
    assert timed(call, seconds=0.0, least=100)["calls"] == 100


def test_shares_of_threads_that_come_and_go() -> None:
    found = shares({1: 1.0, 2: 5.0, 9: 3.0}, {1: 7.0, 2: 5.0, 3: 2.0}, {1: "compute", 3: "gone"})
    assert found == {"compute": 0.75, "thread 2": 0.0, "gone": 0.25}
    assert shares({1: 1.0}, {1: 1.0}, {1: "compute"}) == {"compute": 0.0}


# -- targets ---------------------------------------------------------------------------------------------------------


def spread(median: float) -> dict[str, float]:
    return {"median": median, "least": 0.9 * median, "largest": 1.1 * median}


def training_part(seconds: dict[str, float], peaks: dict[str, int], equal: bool = True) -> dict[str, Any]:
    figure = {
        "seconds": {side: spread(value) for side, value in seconds.items()},
        "cores": dict.fromkeys(seconds, spread(2.0)),
        "speed": {
            side: {peer: spread(seconds[peer] / seconds[side]) for peer in seconds if peer != side} for side in seconds
        },
        "rounds": {side: [value] for side, value in seconds.items()},
        "others_cpu": [0.0],
        "repeated": 1,
        "disturbed": 0,
    }
    return {
        "does": "a step",
        "sizes": {},
        "samples": ("images", 16),
        "sides": {side: {"kernels": "onednn 3.2.0"} for side in seconds},
        "skipped": {"torch.compile": "there is no C++ compiler"},
        "check": {
            "equal": equal,
            "parameters": dict.fromkeys(seconds, 11_689_512),
            "losses": dict.fromkeys(seconds, 6.9),
            "tolerance": 1e-4,
        },
        "figures": {"step": figure},
        "peak_bytes": peaks,
    }


RESNET = training_part(
    {OURS: 0.5, PORTABLE: 2.0, TORCH: 0.62, CHANNELS_LAST: 0.55}, {OURS: 1100, TORCH: 1000, CHANNELS_LAST: 900}
)


def test_verdicts_of_a_training_part() -> None:
    rows = judge({"resnet18": RESNET})
    assert [(row.target.peer, row.target.kind, row.reached, row.stretched) for row in rows] == [
        (TORCH, "speed", False, False),  # 1.24 x
        (CHANNELS_LAST, "speed", True, False),  # 1.1 x, the stretch is 1.2 x
        (TORCH, "memory", True, False),  # 1.1 x exactly
        (TORCH, "speed", True, False),  # the portable kernels: 0.31 x
    ]
    assert [measured(row) for row in rows] == ["1.24 x", "1.10 x", "1.10 x", "0.31 x"]
    assert plain(rows[0])["value"] == pytest.approx(1.24)
    assert plain(rows[0])["reached"] is False


def test_what_was_not_measured_has_no_verdict() -> None:
    part = training_part({OURS: 0.5, TORCH: 0.6}, {OURS: 1000})
    assert [row.reached for row in judge({"resnet18": part})] == [False, None, None, None]
    assert judge({}) == []


def test_unequal_work_has_no_verdict() -> None:
    part = training_part({OURS: 0.5, TORCH: 0.6}, {OURS: 1000, TORCH: 1000}, equal=False)
    assert {row.reached for row in judge({"mlp": part})} == {None}


def test_seconds_are_compared_with_the_limit_itself() -> None:
    figures = {
        "a + b": {"seconds": {OURS: spread(4.1e-6)}},
        "(a * b).sum().backward()": {"seconds": {OURS: spread(2e-5)}},
    }
    rows = judge({"overhead": {"check": None, "figures": figures}})
    assert [(measured(row), row.reached) for row in rows] == [("4.1 µs", False), ("20.0 µs", True)]


def test_the_targets_are_those_that_were_promised() -> None:
    """The table of targets for training on the CPU, written down a second time."""
    limits = {(each.part, each.figure, each.kind, each.side, each.peer): each.limit for each in TARGETS}
    for part in ("resnet18", "resnet50"):
        assert limits.pop((part, "step", "speed", OURS, CHANNELS_LAST)) == 1.0
        assert limits.pop((part, "step", "speed", OURS, TORCH)) == 1.25
        assert limits.pop((part, "step", "memory", OURS, TORCH)) == 1.1
    for part in ("mlp", "transformer"):
        assert limits.pop((part, "step", "speed", OURS, TORCH)) == 1.0
        assert limits.pop((part, "step", "memory", OURS, TORCH)) == 1.1
    assert limits.pop(("resnet18", "step", "speed", PORTABLE, TORCH)) == 0.3
    assert limits.pop(("overhead", "a + b", "seconds", OURS, "")) == 4e-6
    assert limits.pop(("overhead", "(a * b).sum().backward()", "seconds", OURS, "")) == 25e-6
    assert not limits


def test_every_part_has_sides_and_sizes() -> None:
    assert set(SIDES) == set(FULL) == set(QUICK) == set(PARTS)
    for part in PARTS:
        assert FULL[part].keys() == QUICK[part].keys()
        assert OURS in SIDES[part]


# -- tables ----------------------------------------------------------------------------------------------------------


def text_of(*things: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, str))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_training_part_has_a_row_per_side() -> None:
    rows = text_of(report.table_of(RESNET)).splitlines()
    assert len(rows) == 1 + 4
    assert rows[1].split() == "flownn 500 ms 450 ms – 550 ms 32.0 2.00 0".split()
    assert rows[3].split() == "torch 620 ms 558 ms – 682 ms 25.8 2.00 1.24 x 0 1.10 x".split()


def test_a_part_of_many_figures_has_a_row_per_figure() -> None:
    part = RESNET | {"figures": dict.fromkeys(["forward", "backward"], RESNET["figures"]["step"])}
    head, *rows = text_of(report.table_of(part)).splitlines()
    assert head.split("  ")[-1].strip() == "vs torch channels-last"
    assert [row.split()[0] for row in rows] == ["forward", "backward"]
    assert rows[0].split()[-3:] == ["4.00", "1.24", "1.10"]
    assert "±10%" in rows[0]


def test_notes_say_what_is_missing_and_what_was_disturbed() -> None:
    text = text_of(*report.notes(RESNET, 0.05))
    assert "flownn computes with onednn 3.2.0" in text
    assert "torch.compile: left out: there is no C++ compiler" in text
    assert "11,689,512 parameters" in text
    assert "1 rounds were measured again" in text
    assert "of 1 rounds" not in text
    part = training_part({OURS: 1.0, TORCH: 1.0}, {}, equal=False)
    part["figures"]["step"] |= {"disturbed": 1, "repeated": 0}
    text = text_of(*report.notes(part, 0.05))
    assert "NOT THE SAME WORK" in text
    assert "in 1 of 1 rounds other processes took more than 5%" in text


def test_the_verdict_in_words() -> None:
    target = Target("resnet18", "step", 1.0, peer=TORCH, stretch=1.2)
    rows = [Verdict(target, value) for value in (1.0, 0.99, 1.3, None)]
    lines = text_of(report.verdicts(rows, quick=False)).splitlines()[1:]
    ends = ["1.00 x ✓ reached", "0.99 x ✗ missed", "1.30 x ✓ reached, also the stretch 1.2 x", "- not measured"]
    assert [" ".join(line.split()).partition("≥ 1.00 x ")[2] for line in lines] == ends
    quick = text_of(report.verdicts(rows, quick=True))
    assert "no verdict" in quick
    assert "reached" not in quick
    most = [Verdict(replace(target, kind="cost", limit=1.06), value) for value in (1.06, 1.07)]
    assert [row.reached for row in most] == [True, False]
