"""DataLoader's workers: errors come back, deaths are told, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from flowdata.errors import ConfigError, WorkerError
from flownn.utils.data import DataLoader, IterableDataset
from tests.flowdata.executors import synthetic

ROOT = Path(__file__).parents[3]


class Sleepy:
    """Samples that take their time."""

    def __init__(self, seconds: float, n: int = 100) -> None:
        self.seconds = seconds
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        time.sleep(self.seconds)
        return index


class Failing(Sleepy):
    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise ZeroDivisionError("sample three")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_comes_when_its_batch_is_due(workers: int) -> None:
    batches = iter(DataLoader(Failing(0, 6), num_workers=workers))
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="sample three") as caught:
        next(batches)
    if workers:
        [note] = caught.value.__notes__
        assert "Traceback in worker" in note
        assert 'raise ZeroDivisionError("sample three")' in note
        assert [batch.item() for batch in batches] == [4, 5]  # the others are unharmed


def test_an_exception_in_a_stream() -> None:
    class Broken(IterableDataset[int]):
        def __iter__(self) -> Any:
            yield 1
            raise OSError("the line went dead")

    batches = iter(DataLoader(Broken(), num_workers=1))
    assert next(batches).item() == 1
    with pytest.raises(OSError, match="the line went dead"):
        next(batches)


def test_a_killed_worker_is_told_within_a_second(token: str) -> None:
    batches = iter(DataLoader(Sleepy(0.01), num_workers=2))
    next(batches)
    workers = [pid for pid in synthetic.family(token) if pid != synthetic.server_of(synthetic.family(token))]
    os.kill(workers[0], signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"DataLoader: worker \d \(pid \d+\) was killed by SIGKILL.* batch"):
        list(batches)
    assert time.monotonic() - start < 1
    with pytest.raises(StopIteration):
        next(batches)


def test_timeout(gone: Any) -> None:
    with pytest.raises(TimeoutError, match=r"DataLoader: batch 0 was not ready after 0\.7 s"):
        next(iter(DataLoader(Sleepy(60), num_workers=1, timeout=0.7)))
    assert not gone(2)


def test_a_break_ends_the_workers(gone: Any) -> None:
    for _ in DataLoader(Sleepy(0.05), num_workers=2):
        break
    assert not gone(0.5)


def test_what_cannot_be_pickled_is_named() -> None:
    loader = DataLoader([(x for x in "")], num_workers=1)
    with pytest.raises(ConfigError, match=r"DataLoader: data set, collate_fn and worker_init_fn travel.*num_workers=0"):
        iter(loader)
    with pytest.raises(TypeError, match="cannot pickle"):
        next(iter(DataLoader(range(3), num_workers=1, collate_fn=lambda batch: (x for x in batch))))


PRELUDE = """
import sys, time
import flownn as flow
from flownn.utils.data import DataLoader, Dataset

class Squares(Dataset):  # no `if __name__ == "__main__"` anywhere, and everything is defined in the script
    def __len__(self):
        return 40
    def __getitem__(self, index):
        time.sleep(delay)
        if index == bad:
            raise Mine(f"sample {index}")
        return index**2

class Mine(Exception): pass
class Batch(list): pass

delay, bad = 0.0, None
"""


def start(folder: Path, text: str, **changes: Any) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(PRELUDE + textwrap.dedent(text))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-u", str(path)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **changes)  # fmt: skip


def run(folder: Path, text: str) -> str:
    process = start(folder, text)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return output


def test_a_script_as_users_write_it(tmp_path: Path) -> None:
    output = run(tmp_path, """
        print("once")
        loader = DataLoader(Squares(), 4, num_workers=2, collate_fn=lambda batch: Batch(x + 1 for x in batch))
        batches = list(loader)
        print(type(batches[0]) is Batch, batches[-1])
        bad = 9
        try:
            list(loader)
        except Mine as error:
            print("caught", error)
        for x in DataLoader(Squares(), num_workers=2):
            break
    """)  # fmt: skip
    assert output.splitlines() == ["once", "True [1297, 1370, 1445, 1522]", "caught sample 9"]


def test_light_import(tmp_path: Path) -> None:
    output = run(tmp_path, "").strip()
    assert output == ""
    command = "import sys, flownn; print([m for m in sys.modules if m.startswith(('flowd', 'flownn.utils'))])"
    found = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("where", ["next(batches)", "time.sleep(60)"])
def test_ctrl_c_leaves_nobody(where: str, tmp_path: Path, gone: Any) -> None:
    process = start(tmp_path, f"""
        batches = iter(DataLoader(Squares(), num_workers=2))
        next(batches)
        delay = 60
        slow = iter(DataLoader(Squares(), num_workers=2))
        print("ready")
        try:
            {where.replace("batches", "slow")}
        except KeyboardInterrupt:
            print("interrupted")
    """, start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=5)
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)
    assert not gone(0.1)


def test_a_killed_script_leaves_nobody(tmp_path: Path, gone: Any) -> None:
    process = start(tmp_path, """
        delay = 60
        slow = iter(DataLoader(Squares(), num_workers=2))
        print("ready")
        next(slow)
    """)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=5)
    assert not gone(2)
