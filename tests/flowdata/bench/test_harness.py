"""Sides in processes of their own: how they are started, measured, watched and ended."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

from flowdata.bench import harness, protocol
from flowdata.bench.environment import environment
from flowdata.bench.harness import SideFailed, SideMissing, SideSpec, Timing, run_rounds, spread, started
from flowdata.bench.run import Options, bench
from flowdata.errors import ConfigError
from flowdata.pipeline import Pipeline
from flowdata.resources import usable_cpus
from flowdata.sample import Sample
from flowdata.stages import Cut
from tests.flowdata.bench.pipelines import AskServer, DependsOnProcess, SlowFiles, small

SHORT = Timing(seconds=0.2, batches=2, warmup_batches=6, warmup_s=0.0)
Ours = Callable[[str, Pipeline], SideSpec]


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    def make(name: str, pipeline: Pipeline) -> SideSpec:
        path = tmp_path / f"{name}.pickle"
        path.write_bytes(cloudpickle.dumps(pipeline))
        return SideSpec(name, "flowdata.bench.ours", {"pipeline": str(path), "path": sys.path})

    return make


def fails(sample: object, rng: object) -> object:
    raise RuntimeError("this stage is broken")


def keeps(sample: Sample, rng: object) -> Sample:
    return sample


def test_a_rate_is_that_of_the_clock(ours: Ours) -> None:
    pipeline = small(SlowFiles(), AskServer(0.01), workers=2)  # 2 workers, 10 ms and a little each
    with started(ours("ours", pipeline), SHORT) as runner:
        found = runner.measure(replace(SHORT, seconds=0.5))
        assert runner.steady["shape"] == [16, 8, 8, 3]
        assert runner.steady["dtype"] == "float32"
    assert 90 < found.images_per_second <= 220
    assert 0 <= found.cpu_ms_per_image < 10  # counted in hundredths of a second
    assert found.wait_share > 0.9
    assert found.workers is not None
    assert found.workers["busy"] > 0.7
    assert found.workers["steps_us"]["ask_server"] >= 10_000
    if sys.platform == "linux":
        assert found.pss_mib is not None
        assert 20 < found.pss_mib < 1000


def test_the_consumers_time_is_waited(ours: Ours) -> None:
    timing = replace(SHORT, step_s=0.05)
    with started(ours("ours", small(SlowFiles(), workers=1)), timing) as runner:
        found = runner.measure(timing)
    assert found.images_per_second <= 16 / 0.05
    assert found.wait_share < 0.5
    assert found.workers is not None
    assert found.workers["output"] > found.workers["input"]


def test_nothing_is_left_behind(ours: Ours) -> None:
    with started(ours("ours", small(SlowFiles(), workers=2)), SHORT) as runner:
        family = harness._family(runner._process.pid)
        folder = Path(runner._folder.name)
        assert len(family) == 4  # the side, the server, two workers
        assert folder.exists()
    _, alive = psutil.wait_procs(family, timeout=3)
    assert not alive
    assert not folder.exists()
    gc.collect()


def test_a_side_that_fails_says_why(ours: Ours) -> None:
    broken = small(SlowFiles(), fails)
    with pytest.raises(SideFailed, match="this stage is broken"), started(ours("ours", broken), SHORT):
        pass
    with pytest.raises(SideFailed, match="this stage is broken"):
        run_rounds([ours("ours", broken)], 1, SHORT, needed=("ours",))


def test_a_side_that_is_not_needed_is_left_out(ours: Ours) -> None:
    said: list[str] = []
    sides = [ours("ours", small(SlowFiles())), ours("other", small(SlowFiles(), fails))]
    rounds = run_rounds(sides, 2, SHORT, max_repeats=0, needed=("ours",), say=said.append)
    assert "this stage is broken" in "\n".join(said)
    assert list(rounds.dropped) == ["other"]
    assert [list(each["sides"]) for each in rounds.rounds] == [["ours"], ["ours"]]


def test_an_interpreter_without_the_peer(tmp_path: Path) -> None:
    if importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None:
        pytest.skip("DALI is installed here")
    with pytest.raises(SideMissing, match="DALI is not installed; run: pip install"):
        harness.Runner(SideSpec("dali", "flowdata.bench.peers.dali", {"work": {}}), SHORT, {})


def test_the_order_alternates_and_disturbed_rounds_are_repeated_so_often(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "MAX_OTHER_CPU", -1.0)  # never quiet
    sides = [ours("a", small(SlowFiles())), ours("b", small(SlowFiles()))]
    rounds = run_rounds(sides, 2, SHORT, max_repeats=1)
    assert rounds.repeated == 1
    assert rounds.disturbed == 2
    assert [each["order"] for each in rounds.rounds] == [["b", "a"], ["a", "b"]]
    ratio = rounds.ratio("a", "b")
    assert ratio is not None
    assert ratio["least"] <= ratio["median"] <= ratio["largest"]


def test_other_processes_are_noticed(ours: Ours) -> None:
    pids = [os.fork() for _ in range(usable_cpus())]
    if 0 in pids:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pass
        os._exit(0)
    try:
        with started(ours("ours", small(SlowFiles(seconds=0.002))), SHORT) as runner:
            found = runner.measure(replace(SHORT, seconds=0.5))
    finally:
        for pid in pids:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    assert found.others_cpu > 0.5 * usable_cpus() / (os.cpu_count() or 1)


def test_bytes_that_depend_on_the_process_make_the_result_invalid() -> None:
    result = bench(small(SlowFiles(), DependsOnProcess(), workers=2), Options(rounds=1, timing=SHORT, max_repeats=0))
    assert result["valid"] is False
    assert list(result["digests"]) == ["serial", "1", "2"]


@pytest.mark.parametrize(
    "change",
    [
        {"workers": "auto"},
        {"executor": "serial"},
        {"executor": "thread", "workers": 2},
        {"stages": (Cut(1), AskServer(0.0), keeps)},
    ],
)
def test_every_way_to_run_a_pipeline_can_be_measured(change: dict[str, object]) -> None:
    pipeline = replace(small(SlowFiles(), AskServer(0.0), keeps), **change)
    result = bench(pipeline, Options(rounds=1, timing=SHORT, max_repeats=0))
    assert result["valid"]
    assert [each["name"] for each in result["steps"]] == ["read", "ask_server", f"{__name__}:keeps"]
    assert [each["steps"] for each in result["groups"]][-1][-1] == f"{__name__}:keeps"
    assert ("as configured" in result["digests"]) is ("executor" not in change)
    assert result["skipped"].keys() == {"limit"}
    assert result["verdict"]["workers"]["busy"] > 0


def test_unknown_peers_are_refused() -> None:
    with pytest.raises(ConfigError, match="dali, torch, spdl, got ffcv"):
        bench(small(SlowFiles()), Options(against=("torch", "ffcv")))


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "largest": 3.0}
    assert spread([]) is None


def test_the_environment_names_what_figures_depend_on() -> None:
    found = environment()
    assert found["usable_cpus"] > 0
    assert found["cpus"] >= found["usable_cpus"]
    assert set(found["packages"]) == {"flowstack", "numpy", "opencv-python-headless"}


def test_a_side_keeps_no_batch_while_it_asks_for_the_next() -> None:
    """One that is kept would count as the side's memory, and be a slot that the workers cannot fill."""
    made: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def batches() -> Iterator[dict[str, np.ndarray]]:
        while True:
            alive.append(sum(each() is not None for each in made))
            image = np.zeros((2, 3, 4, 4), np.float32)
            made.append(weakref.ref(image))
            batch = {"image": image}
            del image
            yield batch
            del batch

    some = batches()
    first = [next(some)]
    protocol._warm_up(first, some, {"warmup_s": 0.0, "warmup_batches": 6, "digest_batches": 2})
    protocol._measure(some, {"seconds": 0.0, "batches": 4}, 0.0)
    assert alive == [0] * 10
