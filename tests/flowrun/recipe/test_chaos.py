"""Kill a data worker, a rank or the launcher of a training job: it ends, says why, and leaves nothing behind."""

import contextlib
import re
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.conftest import Campaign
from tests.helpers import jobs

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.campaign, pytest.mark.timeout(1200)]


def victims(process: psutil.Process, kind: str) -> list[psutil.Process]:
    if kind == "flowrun":
        return [process]
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end while we look
            words = " ".join(child.cmdline())
            parent = child.parent()
            # the fork server and its workers share a command line; a worker is the one whose parent is the server
            is_worker = "flowdata.executors.server" in words and parent is not None and (
                "flowdata.executors.server" in " ".join(parent.cmdline())
            )  # fmt: skip
            # likewise the rank proper is the innermost process that runs the wrapper
            is_rank = "flowrun.wrapper" in words and not any(
                "flowrun.wrapper" in " ".join(each.cmdline()) for each in child.children()
            )
            if (kind == "worker" and is_worker) or (kind == "rank" and is_rank):
                found.append(child)
    return found


def has_victim(process: subprocess.Popen[str], kind: str) -> bool:
    assert process.poll() is None, process.communicate()
    return bool(victims(psutil.Process(process.pid), kind))


@pytest.mark.parametrize("kind", ["worker", "rank", "flowrun"])
def test_kill(digits: Path, tmp_path: Path, campaign: Campaign, kind: str) -> None:
    for number, rng in enumerate(campaign(10, 1)):
        place = tmp_path / f"run{number}"
        with jobs.nothing_left() as watched:
            process = jobs.start(
                "flowrun", "-n", 2, "train/digits", f"data.dir={digits}", f"run.dir={place}", "epochs=1000",
                "log.every_steps=1", "data.train.max_worker_restarts=0", cwd=tmp_path,
            )  # fmt: skip
            try:
                jobs.wait_until(partial(has_victim, process, kind), 60, f"a {kind} to kill")
                time.sleep(rng.uniform(0, 4))
                watched += jobs.family(process.pid)
                target = rng.choice(victims(psutil.Process(process.pid), kind))
                target.kill()
                started = time.monotonic()
                out, err = process.communicate(timeout=30)
                took = time.monotonic() - started
            finally:
                jobs.kill_tree(process)
        assert process.returncode != 0
        if kind != "flowrun":
            assert took < 10, f"the job ended {took:.1f} s after the kill"
            assert re.search(r"signal 9|SIGKILL", out + err), out + err
            assert (out + err).count("Traceback") <= 1
