"""The MPI communicator in real jobs of several processes on this host."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.flowdist.cases import cases_of
from tests.helpers.ranks import finish, kill_tree, run_mpi, start_mpi

pytestmark = pytest.mark.mpi

MODULES = ["tests.flowdist.comm_cases", "tests.flowdist.ddp_cases"]
CASES = [f"{module}.{name}" for module in MODULES for name in cases_of(module)]


@pytest.fixture(scope="module", params=[2, 3])
def verdicts(request, tmp_path_factory):
    """One job runs all cases: case -> what each rank has to say about it, "" if all is well."""
    out_dir = tmp_path_factory.mktemp("verdicts")
    done = run_mpi(request.param, ["-m", "tests.flowdist.cases", str(out_dir), *MODULES], timeout_s=100)
    files = sorted(out_dir.glob("*.json"))
    assert len(files) == request.param, done.stdout
    of_ranks = [json.loads(file.read_text()) for file in files]
    return {case: [of_rank[case] for of_rank in of_ranks] for case in CASES} | {"exit": (done.returncode, done.stdout)}


@pytest.mark.parametrize("case", CASES)
def test_mpi_communicator(verdicts, case):
    assert "".join(verdicts[case]) == ""


def test_the_job_ends_well_and_says_nothing(verdicts):
    assert verdicts["exit"] == (0, "")


def run_script(tmp_path: Path, size: int, script: str, **options):
    path = tmp_path / "script.py"
    path.write_text(script)
    return run_mpi(size, [str(path)], **options)


def test_waiting_five_seconds_costs_little_cpu(tmp_path):
    script = """
import time
import numpy as np
from flowdist import connect
comm = connect("mpi")
if comm.rank == 1:
    time.sleep(5)
start, cpu = time.monotonic(), time.process_time()
comm.allreduce(np.ones(1 << 18, np.float32))
if comm.rank == 0:
    print("waited", time.monotonic() - start, "cpu", time.process_time() - cpu)
comm.close()
"""
    done = run_script(tmp_path, 2, script)
    waited, cpu = map(float, re.findall(r"[\d.]+(?:e-\d+)?", done.stdout))
    assert done.returncode == 0
    assert waited > 4.5
    assert cpu <= 0.3


def test_sums_are_bit_identical_between_runs(tmp_path):
    script = """
import hashlib, os, time
import numpy as np
from flowdist import connect
comm = connect("mpi")
digest = hashlib.sha256()
for count in (3, 5000, 700_001):
    buffer = np.random.default_rng([comm.rank, count]).standard_normal(count).astype(np.float32)
    time.sleep(0.02 * (comm.rank == int(os.environ["LATE"])))
    comm.allreduce(buffer)
    digest.update(buffer)
if comm.rank == 0:
    print(digest.hexdigest())
comm.close()
"""
    digests = [run_script(tmp_path, 3, script, env={"LATE": late}).stdout for late in "012"]
    assert len(digests[0]) == 65
    assert len(set(digests)) == 1


def test_a_rank_that_never_comes_is_an_error_after_the_time_limit(tmp_path):
    script = """
import os, sys, time
import numpy as np
from flowdist import DistError, connect
comm = connect("mpi", timeout_s=0.5)
if comm.rank == 0:
    for call in (lambda: comm.allreduce(np.ones(4)), comm.barrier):
        try:
            call()
        except DistError as error:
            print(error, flush=True)
    os._exit(7)
time.sleep(30)
"""
    done = run_script(tmp_path, 2, script, timeout_s=25)
    assert done.returncode == 7
    assert "rank 0 of 2 waited for the other ranks for 0.5 s in allreduce #0 (4 x float64) and gave up" in done.stdout
    assert "rank 0 of 2, barrier #1: communicator unusable, allreduce #0 (4 x float64) was not finished" in done.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}, "the launcher says rank 0 of 3, but the MPI library (MPICH"),
        ({"RANK": "0"}, "the launcher says rank 0 of 2, but the MPI library (MPICH"),
    ],
)
def test_an_mpi_that_sees_another_job_is_refused(tmp_path, variables, message):
    script = f"""
import os
rank = os.environ["PMI_RANK"]
os.environ.update(RANK=rank, WORLD_SIZE="2", LOCAL_RANK=rank, LOCAL_WORLD_SIZE="2", NODE_RANK="0")
os.environ.update({variables!r})
from flowdist import DistError, connect
try:
    connect("mpi")
except DistError as error:
    print(error, flush=True)
"""
    done = run_script(tmp_path, 2, script)
    assert done.stdout.count(message) == 2  # on both ranks, also where only one of them is told something wrong
    assert done.stdout.count("use the mpiexec of that library") == 2


def test_an_mpi_without_full_thread_support_is_refused(tmp_path):
    script = """
import mpi4py
mpi4py.rc.thread_level = "serialized"
from mpi4py import MPI
from flowdist import DistError, connect
try:
    connect("mpi")
except DistError as error:
    print(error)
"""
    assert "threads need MPI_THREAD_MULTIPLE" in run_script(tmp_path, 2, script).stdout


SHARED_MEMORY = """
import sys, time
from pathlib import Path
from mpi4py import MPI
def mapped():
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[-1].split(" (deleted)")[0] for line in lines if "/dev/shm/" in line}
names = mapped()
from flowdist import DistributedDataParallel, connect
comm = connect("mpi")
import numpy as np
comm.allreduce(np.ones(1 << 20))
if comm.rank == 0:
    print("names", *(names | mapped()), flush=True)
comm.barrier()
"""


def shared_memory_left_by(output: str) -> list[str]:
    names = re.search(r"^names (.+)$", output, re.MULTILINE)
    assert names, output
    files = names[1].split()
    assert any("mpich_shm" in file for file in files)
    return [file for file in files if Path(file).exists()]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm is a thing of Linux")
@pytest.mark.parametrize("end", ["comm.close()", "import os; os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_no_shared_memory_is_left_behind(tmp_path, end):
    done = run_script(tmp_path, 2, SHARED_MEMORY + "import os\n" + end)
    assert shared_memory_left_by(done.stdout) == []
    assert (done.returncode == 0) == ("close" in end)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm is a thing of Linux")
def test_no_shared_memory_is_left_behind_by_a_killed_job(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SHARED_MEMORY + "time.sleep(60)")
    job = start_mpi(2, [str(path)])
    try:
        assert job.stdout is not None
        line = job.stdout.readline()
    finally:
        kill_tree(job)
    assert job.returncode != 0
    assert shared_memory_left_by(line + finish(job, 5)) == []
