"""A job that is killed and started again ends with the bits of one that was not."""

import json
import random
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import jobs

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(300)]

STEPS = 3 * 23  # 1437 digits in batches of 64 make 23 steps an epoch


def train(digits: Path, place: Path, *extra: object, workers: int = 1) -> subprocess.Popen[str]:
    """Batch norm, dropout, momentum, random crops; a checkpoint every 20 steps."""
    return jobs.start(
        "flowrun", "-n", 2, "train/digits", f"data.dir={digits}", f"run.dir={place}", "epochs=3", "seed=5",
        "model.args.dropout=0.2", "model.args.widths=[8, 16]", "model.args.blocks=[1, 1]", "checkpoint.every_steps=20",
        "log.every_steps=1", f"data.train.workers={workers}", *extra, cwd=place.parent,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    return out


def metrics(place: Path) -> list[dict[str, Any]]:
    if not (place / "metrics.jsonl").exists():
        return []
    return [
        json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


def last_step(place: Path) -> int:
    return max((row["step"] for row in metrics(place)), default=0)


def has_come_to(process: subprocess.Popen[str], place: Path, step: int) -> bool:
    assert process.poll() is None, process.communicate()
    return last_step(place) >= step


@pytest.fixture(scope="module")
def uninterrupted(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "uninterrupted"
    finish(train(digits, place))
    rows = metrics(place)
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, STEPS + 1))
    assert [row["step"] for row in rows if row["kind"] == "eval"] == [23, 46, 69]
    return place


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_equals_uninterrupted(
    digits: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    place = tmp_path / "killed"
    seed = random.randrange(10**6)
    print(f"kill steps drawn with seed {seed}")
    stops = sorted(random.Random(seed).sample(range(2, STEPS - 2), 3))
    for stop in stops:
        process = train(digits, place, "--resume", "auto", workers=workers)
        jobs.wait_until(partial(has_come_to, process, place, stop), 100, f"no step {stop}")
        jobs.kill_tree(process)
    finish(train(digits, place, "--resume", "auto", workers=workers))
    assert metrics(place) == metrics(uninterrupted)
    assert (place / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()


def test_a_finished_run_is_not_overwritten(digits: Path, uninterrupted: Path) -> None:
    process = train(digits, uninterrupted)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert (out + err).count("already holds a run; add --resume auto") == 1


def test_resuming_a_finished_run_changes_nothing(digits: Path, uninterrupted: Path) -> None:
    before = metrics(uninterrupted), (uninterrupted / "model.safetensors").read_bytes()
    finish(train(digits, uninterrupted, "--resume", "auto"))
    rows = metrics(uninterrupted)
    assert rows == before[0]
    assert (uninterrupted / "model.safetensors").read_bytes() == before[1]
