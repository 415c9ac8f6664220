"""The verdict names what binds, and its change gives what it predicts: by hand-made times, and measured."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import yaml

from flowdata.bench.harness import SideSpec, Timing, run_rounds
from flowdata.bench.run import Options, bench
from flowdata.bench.trace import Event
from flowdata.bench.verdict import Model, StepTime, judge, step_times
from flowdata.pipeline import Pipeline
from flowdata.resources import usable_cpus
from flowdata.stages import Cut
from tests.flowdata.bench.pipelines import AskServer, SlowFiles, photos, small

SHORT = Timing(seconds=0.6, batches=6, warmup_s=0.2)


def step(name: str, cpu_us: float, wait_us: float = 0.0) -> StepTime:
    return StepTime(name, cpu_us, wait_us, cpu_us + wait_us, cpu_us + wait_us)


# -- the model, by numbers that can be checked in one's head -----------------------------------------------------------


def measured(test: Any) -> Any:
    """A test that applies the verdict's advice and times what it brings: at full count only."""
    return pytest.mark.slow(pytest.mark.campaign(pytest.mark.usefixtures("soak_only")(test)))


def test_service_times_are_means_and_only_time_given_away_is_waiting() -> None:
    events = [
        Event(1, 0, True, 0, 0, 0.0, 3e-3, 1e-3),
        Event(1, 0, False, 0, 1, 0.1, 9e-3, 1e-3),  # pushed off the processor by others for 8 ms
        Event(1, 1, False, 0, 0, 0.2, 2e-3, 2e-3),
    ]
    read, decode, never = step_times(events, ["read", "decode", "never reached"])
    assert (read.cpu_us, read.wait_us, decode.total_us, never.total_us) == pytest.approx((1000, 1000, 2000, 0))


def test_computing_grows_with_the_workers_up_to_the_processors() -> None:
    model = Model([step("read", 100), step("decode", 900)], cpu_us=1000, cpus=4)
    assert [model.rate((count,)) for count in (1, 2, 4, 8)] == pytest.approx([1000, 2000, 4000, 4000])
    verdict = judge(model, (1,))
    assert (verdict.binding, verdict.because, verdict.change) == ("decode", "workers", {"workers": 4})
    assert verdict.gain == pytest.approx(4.0)
    assert yaml.safe_load(verdict.yaml) == {"workers": 4}


def test_where_all_processors_are_busy_no_setting_helps() -> None:
    model = Model([step("read", 100), step("decode", 900)], cpu_us=1000, cpus=4)
    for workers in (4, 6):
        verdict = judge(model, (workers,))
        assert (verdict.binding, verdict.because, verdict.change, verdict.gain) == ("decode", "cpu", {}, 1.0)
        assert "no setting helps" in verdict.text


def test_waiting_wants_more_workers_than_processors() -> None:
    verdict = judge(Model([step("read", 50, 1950), step("decode", 500)], cpu_us=550, cpus=1), (1,))
    assert (verdict.binding, verdict.change) == ("read", {"workers": 6})  # 5 would keep the processor busy at 99.9 %
    assert verdict.gain == pytest.approx((1e6 / 550) / (1e6 / 2500))


def test_storage_that_is_shared_gives_no_more_to_more_readers() -> None:
    model = Model([step("read", 50, 1950)], 50, 4, read_rates={1: 500.0, 2: 510.0})
    verdict = judge(model, (1,))
    assert (verdict.binding, verdict.because, verdict.change) == ("read", "storage", {})


def test_a_slow_consumer_is_served_by_fewer_workers() -> None:
    model = Model([step("decode", 500)], cpu_us=500, cpus=4, step_us=1000)
    verdict = judge(model, (4,), blocked=0.7)
    assert (verdict.binding, verdict.change, verdict.gain) == ("consumer", {"workers": 1}, 1.0)
    assert judge(model, (1,), blocked=0.5).change == {}


def test_the_serial_executor_is_told_of_the_others() -> None:
    verdict = judge(Model([step("decode", 1000)], cpu_us=1000, cpus=2, step_us=500), None)
    assert verdict.change == {"executor": "process", "workers": 2}
    assert verdict.gain == pytest.approx(3.0)  # 1500 us an image before, 500 us after


def test_the_group_with_too_few_workers_gets_more() -> None:
    steps = [step("read", 100), step("decode", 900), step("ask", 10, 1990)]
    model = Model(steps, cpu_us=1010, cpus=8, groups=[range(0, 1), range(1, 2), range(2, 3)])
    verdict = judge(model, (1, 2, 1), keys=["workers", "stages.0.cut.workers", "stages.2.cut.workers"])
    assert (verdict.binding, verdict.change) == (
        "ask",
        {"stages.2.cut.workers": 6},
    )  # 500/s then; decoding gives 2222/s
    assert verdict.gain == pytest.approx((2e6 / 900) / 500)
    assert yaml.safe_load(verdict.yaml) == [{"cut": {"workers": 6}}]
    assert judge(model, (1, 2, 6), keys=["workers", "a", "b"]).binding == "decode"


def test_more_workers_than_messages() -> None:
    model = Model([step("ask", 10, 990)], cpu_us=10, cpus=8, ahead=64, per_message=16)
    assert model.rate((8,)) == pytest.approx(4000)  # four messages of 16
    verdict = judge(model, (8,))
    assert (verdict.because, verdict.change, verdict.gain) == ("messages", {"samples_per_message": 4}, 2.0)
    assert judge(model, (1,)).change == {"workers": 4}  # more would have nothing to do


# -- measured ----------------------------------------------------------------------------------------------------------


def judged(pipeline: Pipeline, timing: Timing = SHORT) -> dict[str, Any]:
    return bench(pipeline, Options(rounds=1, timing=timing, max_repeats=0))


def needs_quiet(rounds: Sequence[Mapping[str, Any]]) -> None:
    """Two processes that compute gain nothing from a second processor which others use."""
    if not all(each["quiet"] for each in rounds):
        others = max(each["others_cpu"] for each in rounds)
        pytest.skip(f"other processes took {others:.0%} of the processors: a gain in computing cannot be measured")


def measured_gain(
    pipeline: Pipeline, change: Mapping[str, Any], folder: Path, timing: Timing = SHORT, *, computing: bool = False
) -> float:
    """Images per second after the change over those before, and nothing else changed."""
    sides = []
    for name, each in (("before", pipeline), ("after", replace(pipeline, **change))):
        path = folder / f"{name}.pickle"
        path.write_bytes(cloudpickle.dumps(each))
        sides.append(SideSpec(name, "flowdata.bench.ours", {"pipeline": str(path), "path": sys.path}))
    rounds = run_rounds(sides, 2, timing, max_repeats=4 if computing else 0, needed=("before", "after"))
    if computing:
        needs_quiet(rounds.rounds)
    after, before = (rounds.values(name, "images_per_second") for name in ("after", "before"))
    return statistics.median(a / b for a, b in zip(after, before, strict=True))


def change_of(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What a user would paste into the file."""
    change: dict[str, Any] = yaml.safe_load(verdict["yaml"])
    return change


@measured
def test_throttled_reads(tmp_path: Path) -> None:
    pipeline = small(SlowFiles(seconds=0.004))
    verdict = judged(pipeline)["verdict"]
    assert (verdict["binding"], verdict["because"]) == ("read", "workers")
    assert verdict["gain"] > 3
    assert measured_gain(pipeline, change_of(verdict), tmp_path) == pytest.approx(verdict["gain"], rel=0.2)


@measured
def test_storage_that_serves_one_reader_at_a_time(tmp_path: Path) -> None:
    pipeline = small(SlowFiles(seconds=0.003, one_at_a_time=str(tmp_path / "lock")), workers=2)
    verdict = judged(pipeline)["verdict"]
    assert (verdict["binding"], verdict["because"], verdict["change"]) == ("read", "storage", {})
    assert "no setting helps" in verdict["text"]
    assert measured_gain(pipeline, {"workers": 4}, tmp_path) == pytest.approx(1.0, rel=0.2)


@measured
@pytest.mark.skipif(usable_cpus() < 2, reason="with one processor a second worker cannot help")
def test_decoding_with_one_worker(tmp_path: Path) -> None:
    pipeline = photos(tmp_path / "photos", workers=1)
    result = judged(pipeline)
    verdict = result["verdict"]
    assert (verdict["binding"], verdict["because"]) == ("ofrecord_image_decoder_random_crop", "workers")
    assert change_of(verdict)["workers"] >= 2
    needs_quiet(result["rounds"])
    gain = measured_gain(pipeline, change_of(verdict), tmp_path, computing=True)
    assert gain == pytest.approx(verdict["gain"], rel=0.2)


@measured
def test_a_slow_stage(tmp_path: Path) -> None:
    pipeline = small(SlowFiles(), AskServer(0.005), workers=2)
    verdict = judged(pipeline)["verdict"]
    assert (verdict["binding"], verdict["because"]) == ("ask_server", "workers")
    assert measured_gain(pipeline, change_of(verdict), tmp_path) == pytest.approx(verdict["gain"], rel=0.2)


@measured
def test_a_group_with_too_few_workers(tmp_path: Path) -> None:
    pipeline = small(SlowFiles(), Cut(1), AskServer(0.005))
    verdict = judged(pipeline)["verdict"]
    [(key, workers)] = verdict["change"].items()
    assert (verdict["binding"], key) == ("ask_server", "stages.0.cut.workers")
    change = {"stages": (Cut(workers), AskServer(0.005))}
    assert measured_gain(pipeline, change, tmp_path) == pytest.approx(verdict["gain"], rel=0.2)


@measured
def test_messages_that_are_too_large(tmp_path: Path) -> None:
    pipeline = replace(small(SlowFiles(), AskServer(0.005), workers=6), prefetch_batches=2, samples_per_message=16)
    verdict = judged(pipeline)["verdict"]
    assert (verdict["because"], verdict["change"]) == ("messages", {"samples_per_message": 2})
    assert measured_gain(pipeline, change_of(verdict), tmp_path) == pytest.approx(verdict["gain"], rel=0.2)


@measured
def test_a_slow_consumer(tmp_path: Path) -> None:
    timing = replace(SHORT, step_s=0.05)
    pipeline = small(SlowFiles(), AskServer(0.001), workers=3)
    verdict = judged(pipeline, timing)["verdict"]
    assert (verdict["binding"], verdict["gain"]) == ("consumer", 1.0)
    assert change_of(verdict) == {"workers": 1}
    assert measured_gain(pipeline, change_of(verdict), tmp_path, timing) == pytest.approx(1.0, rel=0.2)


@measured
def test_decoding_on_all_processors(tmp_path: Path) -> None:
    result = judged(photos(tmp_path / "photos", workers=usable_cpus()))
    verdict = result["verdict"]
    assert (verdict["binding"], verdict["because"]) == ("ofrecord_image_decoder_random_crop", "cpu")
    assert verdict["change"] == {}
    assert "no setting helps" in verdict["text"]
