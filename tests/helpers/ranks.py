"""Several ranks in a test: as threads of this process, or as processes of a real MPI job."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from flowdist import RankFailed, ThreadCommunicator

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")


def run_ranks(size: int, function: Callable[[ThreadCommunicator], T], *, timeout_s: float = 30.0) -> list[T]:
    """Call ``function(comm)`` in one thread per rank and return the results in rank order.

    An exception in one rank ends the waits of the others; the one that came first is raised here.
    """
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(comm: ThreadCommunicator) -> None:
        try:
            results[comm.rank] = function(comm)
        except BaseException as error:
            errors.append(error)
            comm.abort(error)

    comms = ThreadCommunicator.world(size, timeout_s=timeout_s)
    threads = [threading.Thread(target=run, args=(comm,), name=f"rank {comm.rank}", daemon=True) for comm in comms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s * 2)
        if thread.is_alive():
            raise TimeoutError(f"{thread.name} of {size} did not end within {timeout_s * 2:.0f} s")
    for error in sorted(errors, key=lambda error: isinstance(error, RankFailed)):  # the cause before its echoes
        raise error
    return results


def mpiexec() -> str:
    """The ``mpiexec`` of the mpich wheel in this environment; skips the test where there is none."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the mpich wheel is not installed")
    return str(next(file for file in files if file.name == "mpiexec").locate())


def start_mpi(size: int, arguments: Sequence[str], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS`` on ``size`` ranks of this host; to be ended by `finish`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "MPI", "HYDRA"))}
    return subprocess.Popen(
        [mpiexec(), "-host", "localhost", "-n", str(size), sys.executable, *arguments],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'launch'}", "OMP_NUM_THREADS": "1"} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(job: subprocess.Popen[str], timeout_s: float) -> str:
    """Wait for a job and return what it printed; whatever happens, nothing of it is alive afterwards."""
    try:
        output, _ = job.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_tree(job)
        output, _ = job.communicate()
        raise TimeoutError(f"{job.args} did not end within {timeout_s:.0f} s; it printed:\n{output}") from None
    finally:
        kill_tree(job)
    return output


def run_mpi(
    size: int, arguments: Sequence[str], *, timeout_s: float = 60.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` on ``size`` ranks of this host and wait for it."""
    job = start_mpi(size, arguments, env=env)
    output = finish(job, timeout_s)
    return subprocess.CompletedProcess(job.args, job.returncode, output)


def kill_tree(job: subprocess.Popen[str]) -> None:
    """SIGKILL all ranks (Hydra makes each a session of its own), then whatever is left of the job.

    The launcher gets a moment to end by itself: it removes a file from ``/tmp``.
    """
    if job.poll() is not None:
        return
    family = psutil.Process(job.pid).children(recursive=True)
    _kill(process for process in family if not process.name().startswith("hydra"))
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(5)
    job.kill()
    _kill(family)
    psutil.wait_procs(family, timeout=5)
    job.wait(5)


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether ``condition`` came true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
