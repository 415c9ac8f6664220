"""The processes and files of a job, found by proof and never by name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowrun import processes
from flowrun.processes import Janitor, end_processes, processes_of, remove_mpich_leftovers
from tests.helpers import jobs

STUBBORN = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(flush=True)\ntime.sleep(60)"


@pytest.fixture
def start():
    """Start a process of a job that ignores SIGTERM; ended by the fixture at last."""
    started = []

    def one(run_id: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", STUBBORN], env={**os.environ, processes.TAG: run_id}, stdout=subprocess.PIPE
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def test_processes_are_found_by_their_tag(start):
    mine, other = start("job-1"), start("job-10")
    assert processes_of("job-1") == {mine.pid}
    assert processes_of("job-10") == {other.pid}


def test_processes_are_found_without_proc_too(start):
    mine, other = start("job-5"), start("job-50")
    assert processes._from_ps("job-5") == {mine.pid}
    assert processes._from_ps("job-50") == {other.pid}


def test_ending_a_job_leaves_other_jobs_alone(start):
    mine, other = start("job-2"), start("job-20")
    end_processes("job-2", None)
    assert mine.wait(5) == -signal.SIGKILL
    assert other.poll() is None


def test_the_janitor_ends_the_job_when_its_owner_is_killed(start):
    job = start("job-3")
    owner = (
        "import os, time\nfrom flowrun.processes import Janitor\nJanitor('job-3', time.time())\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", owner], env=jobs.environment(), timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert job.wait(5) == -signal.SIGKILL


def test_a_dismissed_janitor_does_nothing(start):
    job = start("job-4")
    janitor = Janitor("job-4", time.time())
    janitor.tell_engine(job.pid)
    janitor.dismiss()
    assert job.poll() is None


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm on this system")
def test_only_files_that_nobody_uses_are_removed():
    name = f"mpich_shm_test{os.getpid()}"
    mapped, unused, old = (Path("/dev/shm", f"{name}_{word}") for word in ("mapped", "unused", "old"))
    opened = Path("/tmp", f"hydra_hwloc_xmlfile_test{os.getpid()}")
    since = time.time() - 1
    hold = (
        f"import mmap, time\nf = open({str(mapped)!r}, 'r+b')\n"
        "m = mmap.mmap(f.fileno(), 0)\nprint(flush=True)\ntime.sleep(60)"
    )
    try:
        for path in (mapped, unused, old, opened):
            path.write_bytes(b"x" * 4096)
        os.utime(old, (since - 10, since - 10))
        with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
            holder.stdout.readline()
            with opened.open():
                remove_mpich_leftovers(since)
                assert opened.exists()
            remove_mpich_leftovers(since)
            assert not opened.exists()
            holder.kill()
        assert [path.exists() for path in (mapped, unused, old)] == [True, False, True]
    finally:
        for path in (mapped, unused, old, opened):
            path.unlink(missing_ok=True)
