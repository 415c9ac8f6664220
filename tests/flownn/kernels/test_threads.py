"""How many threads compute: settings, and what the libraries do about them. Counts of threads, not times."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import flownn as flow
from flownn.kernels import providers, threads

needs_onednn = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")
needs_two = pytest.mark.skipif(threads.usable_cpus() < 2, reason="needs two processors")


@pytest.fixture(autouse=True)
def _restored() -> Any:
    before = flow.get_num_threads()
    yield
    flow.set_num_threads(before)


def test_what_is_set_is_what_is_used_up_to_the_processors_there_are() -> None:
    flow.set_num_threads(1)
    assert flow.get_num_threads() == 1
    flow.set_num_threads(10_000)
    assert flow.get_num_threads() == threads.usable_cpus()


def test_the_blas_behind_numpy_obeys() -> None:
    from threadpoolctl import threadpool_info

    flow.set_num_threads(1)
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


@pytest.mark.parametrize("count", [0, -1, 1.0, "2"])
def test_wrong_numbers_are_named(count: Any) -> None:
    with pytest.raises(ValueError, match="set_num_threads: expected an int of 1 or more, got"):
        flow.set_num_threads(count)


# Runs a convolution, in a thread of its own where asked, and prints how many threads the process has then: NumPy's
# BLAS is held at one, so that what is more than one is oneDNN's.
PROBE = """
import os, sys, threading
os.environ["OPENBLAS_NUM_THREADS"] = {blas!r}
import numpy as np
{before}
import flownn as flow
from flownn.kernels.convolution import correlate
flow.use_kernels("onednn")
def work():
    {inside}
    x, w = np.ones((4, 16, 32, 32), np.float32), np.ones((32, 16, 3, 3), np.float32)
    for _ in range(3):
        correlate(np, x, w, None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    print(len(os.listdir("/proc/self/task")) - started, flow.get_num_threads())
started = len(os.listdir("/proc/self/task"))
{run}
"""


def count(blas: str, *, before: str = "", inside: str = "pass", run: str = "work()") -> tuple[int, int]:
    """Threads that the work added to the process, and the number that it was to use."""
    program = PROBE.format(blas=blas, before=before, inside=inside, run=run)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "FLOWNN_"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=100, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    added, used = map(int, done.stdout.split())
    return added, used


@needs_onednn
@needs_two
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
class TestThreadsOfOneDNN:
    def test_one_thread_is_one_thread(self) -> None:
        assert count("2", before="import flownn; flownn.set_num_threads(1)") == (0, 1)

    def test_a_limit_on_blas_set_before_the_library_was_loaded_counts(self) -> None:
        before = "from threadpoolctl import threadpool_limits; threadpool_limits(1)"
        assert count("2", before=before) == (0, 1)
        assert count("1") == (0, 1)

    def test_two_threads_are_two(self) -> None:
        assert count("2") == (1, 2)

    def test_a_thread_started_later_obeys_too(self) -> None:
        run = "t = threading.Thread(target=work); t.start(); t.join()"
        assert count("2", before="import flownn; flownn.set_num_threads(1)", run=run) == (1, 1)  # itself alone

    def test_a_later_change_counts_in_every_thread(self) -> None:
        inside = "correlate(np, np.ones((4, 16, 32, 32), np.float32), np.ones((8, 16, 3, 3), np.float32), None, (1, 1),"
        inside += " ((1, 1), (1, 1)), (1, 1), 1) if flow.get_num_threads() == 1 else None; flow.set_num_threads(2)"
        assert count("2", before="import flownn; flownn.set_num_threads(1)", inside=inside) == (1, 2)
