"""How many workers there are, and whether their memory is there."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flowdata import resources
from flowdata.errors import ConfigError
from flowdata.executors import budget, process
from flowdata.executors.budget import Settling
from flowdata.executors.slots import SlotLayout
from flowdata.pipeline import Pipeline
from flowdata.resources import cgroup_memory, cpus_of_this_rank, free_memory
from flowdata.stages import Cut
from tests.flowdata.executors import synthetic
from tests.flowdata.executors.synthetic import At, Sleep, content, epochs, numbers, serial

ALL = tuple(range(53))


def auto(*stages: object, **changes: object) -> Pipeline:
    return numbers(*stages, workers="auto", **changes)  # type: ignore[arg-type]


@pytest.fixture
def three_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "cpus_of_this_rank", lambda: 3)
    monkeypatch.setattr(process, "_WINDOW_S", 0.15)


# -- the rule --------------------------------------------------------------------------------------------------------


def test_workers_that_are_not_needed_are_dropped_until_the_number_settles() -> None:
    settling = Settling(8)
    assert settling.observe(2.0, busy_seconds=6.0, wait_seconds=0.0) == 4  # 3 are busy, and some to spare
    assert settling.observe(2.0, busy_seconds=1.0, wait_seconds=0.01) == 1
    assert settling.observe(2.0, busy_seconds=0.0, wait_seconds=0.0) == 1


def test_a_consumer_that_waits_gets_all_workers_for_good() -> None:
    settling = Settling(8)
    assert settling.observe(2.0, busy_seconds=2.0, wait_seconds=0.0) == 2
    assert settling.observe(2.0, busy_seconds=4.0, wait_seconds=0.5) == 8
    assert settling.observe(2.0, busy_seconds=1.0, wait_seconds=0.0) == 8


def test_once_settled_the_number_does_not_fall_any_more() -> None:
    settling = Settling(4)
    assert settling.observe(2.0, busy_seconds=7.0, wait_seconds=0.0) == 4
    assert settling.observe(600.0, busy_seconds=1.0, wait_seconds=0.0) == 4


# -- workers that leave and come back --------------------------------------------------------------------------------


def test_a_slow_consumer_is_left_with_fewer_workers_and_the_same_bytes(three_cpus: None, caplog, token: str) -> None:
    with caplog.at_level(logging.INFO), auto(sample_deadline=5).loader() as loader:
        got = []
        for _ in range(4):
            for batch in loader:
                got.append(content(batch))
                time.sleep(0.03)
        [group] = loader.stats.groups
        deadline = time.monotonic() + 5
        while len(synthetic.family(token)) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(synthetic.family(token)) == 2  # the server and one worker
    with serial(numbers()).loader() as expected:
        assert got == epochs(expected, 4)
    assert group.active == 1
    assert len(group.workers) == 3
    assert "workers: auto is 1 of at most 3 now" in caplog.text


def test_workers_come_back_for_a_consumer_that_waits(three_cpus: None, token: str) -> None:
    with auto(At(ALL, Sleep(0.002)), max_worker_restarts=0, sample_deadline=5).loader() as loader:
        got = []
        for _ in range(2):
            for batch in loader:
                got.append(content(batch))
                time.sleep(0.08)
        assert loader.stats.groups[0].active == 1
        before = loader.stats
        got += epochs(loader, 12)
        part = (loader.stats - before).groups[0]
        assert loader.stats.groups[0].active == 3
        assert all(each.samples > 0 for each in part.workers)
        assert len(synthetic.family(token)) == 4
    with serial(numbers()).loader() as expected:
        assert got == epochs(expected, 14)


def test_a_killed_worker_is_replaced_whether_or_not_it_was_to_leave(three_cpus: None) -> None:
    with auto(max_worker_restarts=3).loader() as loader:
        got = [content(next(iter(loader)))]
        crew = loader._executor._prefetcher.crew  # type: ignore[attr-defined]
        for number, pid in enumerate(crew.pids):
            if number == 2:
                crew.resize([2])
            os.kill(pid, signal.SIGKILL)
        got += epochs(loader, 3)
    with serial(numbers()).loader() as expected:
        assert got == epochs(expected, 3)


def test_sizing_up_and_down_at_random_changes_nothing(three_cpus: None) -> None:
    with serial(numbers()).loader() as expected:
        want = epochs(expected, 6)
    with auto(At(ALL, Sleep(0.001)), samples_per_message=1, max_worker_restarts=0).loader() as loader:
        got = []
        for _ in range(6):
            for batch in loader:
                got.append(content(batch))
                loader._executor._prefetcher.crew.resize([1 + (7 * len(got) + batch.step) % 3])  # type: ignore[attr-defined]
    assert got == want


def test_each_group_has_its_own_number(three_cpus: None, token: str) -> None:
    pipeline = auto(Cut(2), At(ALL, Sleep(0.002)), Cut("auto"), At((1,), Sleep(0.002)), sample_deadline=5)
    with pipeline.loader() as loader:
        got = []
        for _ in range(3):
            for batch in loader:
                got.append(content(batch))
                time.sleep(0.06)
        assert [(each.active, len(each.workers)) for each in loader.stats.groups] == [(1, 3), (2, 2), (1, 3)]
        assert len(synthetic.family(token)) == 1 + 1 + 2 + 1
        got += epochs(loader, 12)
        assert [each.active for each in loader.stats.groups] == [3, 2, 3]
    with serial(pipeline).loader() as expected:
        assert got == epochs(expected, 15)


def test_sizing_groups_at_random_changes_nothing(three_cpus: None) -> None:
    pipeline = auto(Cut("auto"), At(ALL, Sleep(0.001)), samples_per_message=1, max_worker_restarts=0)
    with serial(pipeline).loader() as expected:
        want = epochs(expected, 6)
    with pipeline.loader() as loader:
        got = []
        for _ in range(6):
            for batch in loader:
                got.append(content(batch))
                sizes = [1 + (7 * len(got) + batch.step) % 3, 1 + (5 * len(got) + batch.step) % 3]
                loader._executor._prefetcher.crew.resize(sizes)  # type: ignore[attr-defined]
    assert got == want


@pytest.mark.parametrize("executor", ["serial", "thread"])
def test_auto_for_the_others(three_cpus: None, executor: str) -> None:
    with auto(executor=executor).loader() as loader, serial(numbers()).loader() as expected:
        assert epochs(loader, 1) == epochs(expected, 1)
        assert (
            loader.stats.groups[0].active == len(loader.stats.groups[0].workers) == (3 if executor == "thread" else 1)
        )


def test_arguments() -> None:
    with pytest.raises(ConfigError, match="workers to be an integer >= 1 or auto, got 'many'"):
        numbers(workers="many")
    with pytest.raises(ConfigError, match="workers to be an integer >= 1 or auto, got 0"):
        numbers(workers=0)
    with pytest.raises(ConfigError, match="batch_size to be an integer >= 1, got 'auto'"):
        numbers(batch_size="auto")


def test_ranks_of_a_machine_share_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "usable_cpus", lambda: 8)
    for ranks, share in {"1": 8, "3": 2, "16": 1, "0": 8, "x": 8}.items():
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert cpus_of_this_rank() == share
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert cpus_of_this_rank() == 8


# -- memory ----------------------------------------------------------------------------------------------------------


def test_too_little_memory_is_said_with_numbers_before_a_process_starts(monkeypatch, token: str) -> None:
    monkeypatch.setattr(budget, "free_memory", lambda: 80.0 * 2**20)
    with pytest.raises(ConfigError) as caught:
        numbers(prefetch_batches=3).loader()
    assert not synthetic.family(token)
    for part in (
        "5 batches of 0.0 MiB (prefetch_batches: 3, and two for the consumer)", "and 2 workers of about",
        "; 80.0 MiB is free; lower prefetch_batches or batch_size (8), or workers",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_what_is_needed_is_logged(caplog) -> None:
    with caplog.at_level(logging.INFO), numbers().loader():
        pass
    assert "6 batches of" in caplog.text
    assert "MiB is free" in caplog.text


def test_samples_on_their_way_between_groups_are_counted(monkeypatch, caplog) -> None:
    """At most as many as there are drawers; what they hold of unknown size is named."""
    monkeypatch.setattr(budget, "WORKER_BYTES", 0)
    pipeline = numbers(Cut(2), synthetic.noise, workers=1)  # chunks of 3 samples, drawers for 2 * (1 + 2) of them
    with caplog.at_level(logging.INFO), pipeline.loader():
        pass
    image, label = 5 * 7 * 3 * 4, 8
    assert f", {18 * (image + label) / 2**20:,.1f} MiB for samples between groups and 3 workers" in caplog.text
    assert "and room for 18 times boxes; " in caplog.text
    large = replace(pipeline, samples_per_message=8)
    layout = SlotLayout(6, 8, 3, {}, drawers=(6,))
    needed = layout.nbytes + 48 * (image + label)
    monkeypatch.setattr(budget, "free_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"lower prefetch_batches, samples_per_message or batch_size \(8\)"):
        budget.check_memory(large, layout)
    monkeypatch.setattr(budget, "free_memory", lambda: needed)
    budget.check_memory(large, layout)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 5\ninactive_file 50\n"}, 350),
        ({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": ""}, None),
        ({"memory/memory.limit_in_bytes": "1000", "memory/memory.usage_in_bytes": "1100", "memory/memory.stat": ""}, 0),
        ({"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.stat": ""}, None),
        ({}, None),
    ],
)
def test_the_memory_limit_of_a_control_group(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_memory(tmp_path) == expected
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable: 2 kB\nSwapFree: 1 kB\n")
    assert free_memory(tmp_path, meminfo) == (3072 if expected is None else min(3072, expected))
    assert free_memory(tmp_path, tmp_path / "none") == (float("inf") if expected is None else expected)
