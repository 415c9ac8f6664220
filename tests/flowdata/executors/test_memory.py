"""Memory does not grow with the epochs, and growth would be seen: processes, threads and groups."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flowdata import codec
from flowdata.records.writer import write_parts
from tests.helpers.records import picture

SETTLED = 2  # epochs
MAX_GROWTH = 0.03

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1200)]


def sizes(folder: Path, executor: str, epochs: int, *, cut: bool = False, leak: bool = False) -> list[int]:
    """Bytes of all processes after each epoch."""
    command = [sys.executable, "-m", "tests.flowdata.executors.memory_by_epoch", executor, str(int(cut)),
               str(int(leak)), str(epochs), str(folder)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout)
    return found


def growth(found: list[int]) -> float:
    """From when everything was used once to the end."""
    return found[-1] / found[SETTLED - 1] - 1


@pytest.fixture(scope="module")
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part file: a few hundred kB a batch."""
    folder = tmp_path_factory.mktemp("memory")
    count = 1000 if request.config.getoption("--soak") else 160
    jpegs = [codec.encode_jpeg(picture(150 + index % 90, 200, seed=index), quality=90) for index in range(count)]
    write_parts(folder, [{"encoded": jpeg, "class/label": np.int32(0)} for jpeg in jpegs], parts=1)
    return folder


@pytest.fixture(scope="module")
def epochs(request: pytest.FixtureRequest) -> int:
    return 10 if request.config.getoption("--soak") else 6


@pytest.mark.skipif(sys.platform != "linux", reason="shared pages are counted once on Linux only")
@pytest.mark.parametrize(
    ("executor", "cut"), [("process", False), ("process", True), ("thread", False), ("serial", False)]
)
def test_memory_is_flat(records: Path, epochs: int, executor: str, cut: bool) -> None:
    found = sizes(records, executor, epochs, cut=cut)
    print([round(each / 2**20, 1) for each in found])
    assert growth(found) < MAX_GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="shared pages are counted once on Linux only")
@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_stage_that_keeps_something_is_seen(records: Path, epochs: int, executor: str) -> None:
    assert growth(sizes(records, executor, epochs, leak=True)) > 2 * MAX_GROWTH
