"""Whole jobs: what is shown, how they fail, and that nothing stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import jobs

PRELUDE = "import os, signal, subprocess, sys, time\nrank = int(os.environ['RANK'])\n"
MPI = "from mpi4py import MPI\ncomm = MPI.COMM_WORLD\ncomm.Barrier()\n"
WAIT = "time.sleep(60)\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def script(tmp_path, monkeypatch):
    def write(text: str) -> str:
        (tmp_path / "job.py").write_text(PRELUDE + text)
        return "job.py"

    return write


def flowrun(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return jobs.run("flowrun", *words, cwd=folder, timeout=60)


def run_dir(folder: Path) -> Path:
    (only,) = (folder / "runs" / ".launch").iterdir()
    return only


def last(text: str) -> str:
    return text.splitlines()[-1]


# --- one rank, no MPI ---


def test_one_rank_needs_no_mpi_and_shows_everything(tmp_path, script):
    done = flowrun(tmp_path, script("print('out', sys.argv[1:])\nprint('err', file=sys.stderr)"), "-n", "x y")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out ['-n', 'x y']\n", "err\n")
    summary = json.loads((run_dir(tmp_path) / "summary.json").read_text())
    assert summary["exit_code"] == 0
    run = json.loads((run_dir(tmp_path) / "run.json").read_text())
    assert run["nprocs"] == 1
    assert run["command"][-3:] == ["job.py", "-n", "x y"]


def test_variables_are_set_for_the_ranks(tmp_path, script):
    text = "print(os.environ['COLOUR'], os.environ['OMP_NUM_THREADS'], 'FLOWRUN_TTY' in os.environ)"
    done = flowrun(tmp_path, "-x", "COLOUR=dark red", "--omp-threads", "3", script(text))
    assert done.stdout == "dark red 3 False\n"


def test_the_terminal_is_named_when_there_is_one(tmp_path, script):
    name = script("open('tty', 'w').write(os.environ['FLOWRUN_TTY'])")
    leader, follower = os.openpty()
    try:
        subprocess.run(jobs.command("flowrun", name), cwd=tmp_path, env=jobs.environment(), stdout=follower, timeout=60)
        assert (tmp_path / "tty").read_text() == os.ttyname(follower)
    finally:
        os.close(leader)
        os.close(follower)


def test_a_reader_that_goes_away_does_not_end_the_job(tmp_path, script):
    name = script("for i in range(5000): print('x' * 100)\ntime.sleep(0.3)\nopen('end', 'w').write('reached')")
    job = jobs.start("flowrun", name, cwd=tmp_path)
    job.stdout.readline()
    job.stdout.close()
    assert job.wait(30) == 0
    assert job.stderr.read() == ""
    job.stderr.close()
    assert (tmp_path / "end").read_text() == "reached"


def test_a_log_directory_that_cannot_be_made_is_an_error(tmp_path, script):
    (tmp_path / "file").write_text("")
    done = flowrun(tmp_path, "--log-dir", "file", script("print('never')"))
    assert done.returncode == 2
    assert re.fullmatch(r"flowrun: error: cannot make the log directory .*--log-dir\n", done.stderr)


def test_timeout_dumps_the_stacks_and_ends_the_job(tmp_path, script):
    done = flowrun(tmp_path, "--timeout", "1", script(f"def stuck():\n    {WAIT}stuck()\n"))
    assert done.returncode == 124
    assert "the job took longer than --timeout 1 s" in done.stderr
    assert "in stuck" in (run_dir(tmp_path) / "rank-00000.err").read_text()


def test_processes_left_by_a_finished_rank_are_ended(tmp_path, script):
    text = "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\nprint(child.pid)"
    with jobs.nothing_left() as watched:
        done = flowrun(tmp_path, script(text))
        watched += jobs.family(int(done.stdout))
    assert done.returncode == 0


# --- two ranks ---


@pytest.mark.mpi
def test_two_ranks_see_each_other_and_the_default_view_is_rank_0(tmp_path, script, mpiexec):
    text = MPI + (
        "print('sum', comm.allreduce(rank + 1), comm.size == int(os.environ['WORLD_SIZE']))\n"
        "print('warn', rank, file=sys.stderr)\n"
    )
    done = flowrun(tmp_path, "-n", 2, script(text))
    assert (done.returncode, done.stdout) == (0, "[0] sum 3 True\n")
    assert sorted(done.stderr.splitlines()) == ["[0] warn 0", "[1] warn 1"]
    assert (run_dir(tmp_path) / "rank-00001.out").read_text() == "sum 3 True\n"


@pytest.mark.mpi
def test_lines_are_never_mixed_and_a_last_one_without_end_is_shown(tmp_path, script, mpiexec):
    text = (
        "for i in range(300):\n"
        "    for word in ('line', str(rank), str(i)):\n"
        "        sys.stdout.write(word + ' ')\n"
        "        sys.stdout.flush()\n"
        "    print('end')\n"
        "sys.stdout.write('\\r10%\\r100%')"
    )
    done = flowrun(tmp_path, "-n", 2, "--tee", "all", script(text))
    assert done.returncode == 0
    for rank in (0, 1):
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"[{rank}]")]
        assert lines == [*(f"[{rank}] line {rank} {i} end" for i in range(300)), f"[{rank}] 100%"]


@pytest.mark.mpi
@pytest.mark.parametrize("with_mpi", [True, False], ids=["after MPI_Init", "before MPI_Init"])
def test_a_failing_rank_ends_the_job_and_its_traceback_is_shown_once(tmp_path, script, mpiexec, with_mpi):
    text = (MPI if with_mpi else "") + (
        "print('working', rank, file=sys.stderr)\n"
        "if rank == 1:\n"
        "    def inner():\n"
        "        raise ValueError('bad thing')\n"
        "    inner()\n"
    )
    with jobs.nothing_left():
        began = time.monotonic()
        done = flowrun(tmp_path, "-n", 2, script(text + WAIT))
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("ValueError: bad thing") == 2  # in the headline and below the traceback
    assert f'File "{tmp_path}/job.py", line ' in done.stderr
    assert "in inner" in done.stderr
    assert "wrapper.py" not in done.stderr
    assert "[1] working 1" in done.stderr
    assert "flowrun: rank 1 of 2 on " in done.stderr
    assert "flowrun: rank 0: ended after rank 1 failed" in done.stderr
    assert last(done.stderr) == f"flowrun: log of rank 1: {run_dir(tmp_path)}/rank-00001.err"
    assert "Traceback" in (run_dir(tmp_path) / "rank-00001.err").read_text()


@pytest.mark.mpi
def test_an_error_of_configuration_on_all_ranks_is_printed_once(tmp_path, script, mpiexec):
    text = "class Wrong(Exception): exit_code, summary_only = 2, True\nraise Wrong('a.yaml: unknown key lerning_rate')"
    done = flowrun(tmp_path, "-n", 2, script(text))
    assert (done.returncode, done.stderr) == (2, "flowrun: error: a.yaml: unknown key lerning_rate\n")


@pytest.mark.mpi
def test_the_consequence_is_not_taken_for_the_cause(tmp_path, script, mpiexec):
    text = (
        "if rank == 0: raise ConnectionResetError('rank 1 is gone')\ntime.sleep(0.1)\nraise ValueError('the real one')"
    )
    done = flowrun(tmp_path, "-n", 2, script(text))
    assert "flowrun: rank 1 of 2 on" in done.stderr
    assert "\nValueError: the real one\n" in done.stderr
    assert "flowrun: rank 0: ConnectionResetError: rank 1 is gone" in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("sys.exit(3)", 3, "failed: exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "failed: killed by signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "failed: killed by signal 11 (SIGSEGV)"),
    ],
    ids=["exit", "killed", "crash"],
)
def test_exit_code_and_reason_are_those_of_the_failing_rank(tmp_path, script, mpiexec, line, code, said):
    with jobs.nothing_left():
        done = flowrun(tmp_path, "-n", 2, "--tee", "none", script(MPI + f"if rank == 1: {line}\n" + WAIT))
    assert done.returncode == code
    assert f"flowrun: rank 1 of 2 on {os.uname().nodename} {said}" in done.stderr
    assert ("memory" in done.stderr) == (code == 137)
    assert ("Segmentation fault" in done.stderr) == (code == 139)  # the end of its log, as nothing was shown before


@pytest.mark.mpi
def test_a_killed_attendant_takes_its_rank_and_the_job_along(tmp_path, script, mpiexec):
    with jobs.nothing_left():
        done = flowrun(tmp_path, "-n", 2, script(MPI + "if rank == 1: os.kill(os.getppid(), 9)\n" + WAIT))
    assert done.returncode == 137
    assert re.search(r"flowrun: rank [01] of 2 on \S+ failed: killed by signal 9 \(SIGKILL\)", done.stderr)


@pytest.mark.mpi
def test_mpi_abort_ends_with_its_code_and_leaves_nothing(tmp_path, script, mpiexec):
    with jobs.nothing_left():
        done = flowrun(tmp_path, "-n", 2, script(MPI + "if rank == 1: comm.Abort(5)\n" + WAIT))
    assert done.returncode == 5
    assert "application called MPI_Abort(MPI_COMM_WORLD, 5)" in done.stderr


def started(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A job whose two ranks have written the file ``ready-<rank>``."""
    job = jobs.start("flowrun", *words, cwd=folder)
    try:
        jobs.wait_until(lambda: all((folder / f"ready-{rank}").exists() for rank in (0, 1)), 30, "ranks did not start")
    except AssertionError:
        jobs.kill_tree(job)
        raise
    return job


READY = "open(f'ready-{rank}', 'w').close()\n"
CHILDREN = (
    "subprocess.Popen(['sleep', '100'])\n"
    "subprocess.Popen(['sleep', '100'], start_new_session=True)\n"  # out of reach of the engine
)
STUBBORN = "for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n"


@pytest.mark.mpi
@pytest.mark.parametrize("text", [MPI + CHILDREN, MPI + STUBBORN, CHILDREN], ids=["children", "stubborn", "no MPI"])
def test_nothing_survives_a_killed_flowrun(tmp_path, script, mpiexec, text):
    with jobs.nothing_left(5.0) as watched:
        job = started(tmp_path, "-n", 2, script(text + READY + WAIT))
        watched += jobs.family(job.pid)
        assert len(watched) >= 7  # flowrun, janitor, mpiexec, proxy, two ranks with their attendants
        job.kill()
        assert job.wait() == -signal.SIGKILL
    job.communicate()


@pytest.mark.mpi
@pytest.mark.parametrize("who", ["mpiexec", "hydra_pmi_proxy"])
def test_a_killed_engine_is_an_error_and_nothing_survives(tmp_path, script, mpiexec, who):
    with jobs.nothing_left(5.0) as watched:
        job = started(tmp_path, "-n", 2, script(MPI + CHILDREN + READY + WAIT))
        watched += jobs.family(job.pid)
        (victim,) = [process for process in watched if process.name().startswith(who)]
        victim.kill()
        _, err = job.communicate(timeout=30)
    assert job.returncode != 0
    assert f"{mpiexec} " in err
    assert "no rank says why" in err


@pytest.mark.mpi
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_lets_the_ranks_clean_up(tmp_path, script, mpiexec, signum, code):
    text = MPI + (
        "def leave(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "try:\n"
        f"    {READY}    {WAIT}"
        "finally:\n"
        "    time.sleep(0.3)\n"
        "    open(f'cleaned-{rank}', 'w').close()\n"
    )
    with jobs.nothing_left() as watched:
        job = started(tmp_path, "-n", 2, script(text))
        watched += jobs.family(job.pid)
        job.send_signal(signum)
        _, err = job.communicate(timeout=30)
    assert job.returncode == code
    assert [(tmp_path / f"cleaned-{rank}").exists() for rank in (0, 1)] == [True, True]
    assert "Traceback" not in err
    assert f"flowrun: stopped by {signum.name}" in err


@pytest.mark.mpi
def test_ranks_that_do_not_listen_are_killed_after_the_grace(tmp_path, script, mpiexec):
    with jobs.nothing_left() as watched:
        job = started(tmp_path, "-n", 2, "--grace", "0.5", script(MPI + STUBBORN + READY + WAIT))
        watched += jobs.family(job.pid)
        began = time.monotonic()
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=30)
    assert job.returncode == 130
    assert 0.5 <= time.monotonic() - began < 5


@pytest.mark.mpi
def test_a_second_interrupt_kills_at_once(tmp_path, script, mpiexec):
    with jobs.nothing_left() as watched:
        job = started(tmp_path, "-n", 2, "--grace", "50", script(MPI + STUBBORN + READY + WAIT))
        watched += jobs.family(job.pid)
        job.send_signal(signal.SIGINT)
        time.sleep(0.2)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=20)
    assert job.returncode == 130
    assert "killing the job" in err


@pytest.mark.mpi
def test_two_jobs_at_once_do_not_disturb_each_other(tmp_path, script, mpiexec):
    name = script(MPI + "time.sleep(float(sys.argv[1]))\nif sys.argv[2] == 'fail' and rank == 1: sys.exit(4)\n"
                  "print(comm.allreduce(1))")  # fmt: skip
    fails = jobs.start("flowrun", "-n", 2, name, "0.2", "fail", cwd=tmp_path)
    works = jobs.start("flowrun", "-n", 2, name, "1.5", "work", cwd=tmp_path)
    out, err = works.communicate(timeout=60)
    fails.communicate(timeout=60)
    assert fails.returncode == 4
    assert (works.returncode, out, err) == (0, "[0] 2\n", "")
    assert len(list((tmp_path / "runs" / ".launch").iterdir())) == 2
