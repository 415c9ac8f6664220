"""Real `flowrun` and `flowdata` commands as subprocesses, with deadlines, and a look at what they leave behind."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 100.0


def environment() -> dict[str, str]:
    """This process's environment, with the clone importable and nothing that names a rank."""
    rank_names = ("RANK", "WORLD_SIZE", "PMI", "MPI", "FLOWRUN", "LOCAL_", "MASTER_", "NODE_", "NNODES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(rank_names)}
    return kept | {"PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}"}


def command(module: str, *args: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, args)]


def run(module: str, *args: object, cwd: Path, timeout: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Run `python -m module args…` to its end; on a time-out the whole tree is killed and the test fails."""
    process = start(module, *args, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_tree(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(module: str, *args: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(module, *args), cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie only waits for its parent to look."""
    running = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                running.append(each)
    return running


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL a job's every process at once, as when a machine goes down."""
    for each in family(process.pid) if process.poll() is None else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    if process.stdout is not None and not process.stdout.closed:
        process.communicate()


def leftovers() -> set[str]:
    """What a job could leave on this machine: shared memory, temporary files, System V segments."""
    names = {f"{folder}/{name}" for folder in ("/dev/shm", tempfile.gettempdir()) for name in _listing(folder)}
    segments = Path("/proc/sysvipc/shm")
    if segments.exists():
        names |= {f"shm {line.split()[1]}" for line in segments.read_text().splitlines()[1:]}
    return names


def _listing(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def wait_until(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def nothing_left(seconds: float = 5.0) -> Iterator[list[psutil.Process]]:
    """Processes that the block adds to the list are gone, and no file is left, ``seconds`` after its end."""
    before = leftovers()
    watched: list[psutil.Process] = []
    yield watched
    wait_until(lambda: not alive(watched), seconds, f"still alive: {alive(watched)}")
    wait_until(lambda: leftovers() <= before, seconds, f"left behind: {leftovers() - before}")
