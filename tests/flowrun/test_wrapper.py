"""What a rank starts through: its environment, its program, its error record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowrun.wrapper import rank_environment, thread_environment
from tests.helpers import jobs


@pytest.mark.parametrize(
    "variables",
    [
        {"PMI_RANK": "4", "PMI_SIZE": "6"},
        {"OMPI_COMM_WORLD_RANK": "4", "OMPI_COMM_WORLD_SIZE": "6", "PMI_RANK": "0", "PMI_SIZE": "1"},
        {"SLURM_PROCID": "4", "SLURM_NTASKS": "6"},
        {"PMI_RANK": "4", "PMI_SIZE": "6", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},  # Hydra inside Slurm
        {"FLOWRUN_RANK": "4", "FLOWRUN_SIZE": "6", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
    ],
)
def test_rank_environment_on_two_nodes(variables):
    assert rank_environment(variables, [3, 3]) == {
        "RANK": "4", "WORLD_SIZE": "6", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "NODE_RANK": "1", "NNODES": "2",
    }  # fmt: skip


def test_a_size_other_than_planned_is_refused():
    with pytest.raises(SystemExit, match=r"started 1 ranks \(PMI_SIZE\), 2 were planned"):
        rank_environment({"PMI_RANK": "0", "PMI_SIZE": "1"}, [2])
    with pytest.raises(SystemExit, match=r"no rank; expected one of .*PMI_RANK\+PMI_SIZE"):
        rank_environment({"PMI_RANK": "0"}, [1])


@pytest.mark.parametrize(
    ("environ", "asked", "expected"),
    [
        ({}, None, "4 4 4"),
        ({"OMP_NUM_THREADS": "3"}, None, "3 3 3"),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, None, "3 3 2"),
        ({"OMP_NUM_THREADS": "3"}, 7, "7 7 7"),  # no variable overrides an explicit argument
    ],
)
def test_thread_counts(environ, asked, expected):
    found = thread_environment(environ, asked, local_size=2, cores=8)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert [found[name] for name in names] == expected.split()


def test_more_ranks_than_cores_still_get_a_thread():
    assert thread_environment({}, None, local_size=8, cores=2)["OMP_NUM_THREADS"] == "1"


WRONG = "class Wrong(Exception): exit_code, summary_only = 2, True\n"


class Rank:
    """One rank, started as the local engine does, without flowrun around it."""

    def __init__(self, folder: Path, *program: str) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        environment = {**jobs.environment(), "FLOWRUN_RANK": "0", "FLOWRUN_SIZE": "1", "FLOWRUN_RUN_ID": "test"}
        words = [sys.executable, "-m", "flowrun.wrapper", "--log-dir", str(self.logs), "--nodes", "1", *program]
        self.done = subprocess.run(words, cwd=folder, env=environment, timeout=60)
        self.code = self.done.returncode
        self.out, self.err = ((self.logs / f"rank-00000.{name}").read_text() for name in ("out", "err"))

    def record(self, name: str) -> dict:
        return json.loads((self.logs / f"rank-00000.{name}.json").read_text())


def test_a_script_runs_as_python_runs_it(tmp_path):
    """Compared with python itself, not with what we think it does."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("VALUE = 7\n")
    (tmp_path / "sub" / "main.py").write_text(
        "import atexit, pickle, sys, threading, beside\n"
        "class Thing: pass\n"
        "print(sys.argv[1:], __name__, __file__, __spec__, __package__, beside.VALUE, sys.path[0])\n"
        "print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, sys.modules['__main__'].Thing is Thing)\n"
        "atexit.register(print, 'bye')\n"
        "threading.Timer(0.2, lambda: print('thread', Thing.__name__)).start()\n"
    )
    words = ["sub/main.py", "--lr", "1", "-m", "--", "--nodes"]
    rank = Rank(tmp_path, *words)
    python = subprocess.run([sys.executable, *words], cwd=tmp_path, env=jobs.environment(), capture_output=True)
    assert rank.out == python.stdout.decode()
    assert rank.out.endswith("thread Thing\nbye\n")
    assert (rank.code, rank.err) == (0, "")
    assert rank.record("exit")["exit_code"] == 0
    assert not (rank.logs / "rank-00000.error.json").exists()


def test_a_module_runs_as_python_runs_it(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "other.py").write_text("VALUE = 7\n")
    (tmp_path / "pkg" / "__main__.py").write_text(
        "import sys\nfrom .other import VALUE\n"
        "print(sys.argv, __name__, __package__, __spec__.name, VALUE, sys.path[0])\n"
    )
    words = ["-m", "pkg", "--lr", "1"]
    rank = Rank(tmp_path, *words)
    python = subprocess.run([sys.executable, *words], cwd=tmp_path, env=jobs.environment(), capture_output=True)
    assert rank.out == python.stdout.decode()
    assert (rank.code, rank.err) == (0, "")


def test_the_environment_of_a_rank(tmp_path):
    (tmp_path / "main.py").write_text("import json, os\nprint(json.dumps(dict(os.environ)))\n")
    rank = Rank(tmp_path, "main.py")
    environ = json.loads(rank.out)
    logs = str(rank.logs)
    expected = {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "NODE_RANK": "0", "NNODES": "1",
        "FLOWRUN_RUN_ID": "test", "FLOWRUN_RUN_DIR": logs, "FLOWRUN_ERROR_FILE": f"{logs}/rank-00000.error.json",
    }  # fmt: skip
    assert {name: environ.get(name) for name in expected} == expected
    assert int(environ["OMP_NUM_THREADS"]) >= 1


def test_an_exception_is_recorded_with_its_own_traceback(tmp_path):
    script = tmp_path / "main.py"
    script.write_text("import sys\nprint('before', file=sys.stderr)\ndef inner():\n    return {}['gone']\ninner()\n")
    rank = Rank(tmp_path, "main.py")
    record = rank.record("error")
    assert rank.code == 1
    assert (record["kind"], record["type"], record["message"]) == ("exception", "KeyError", "'gone'")
    assert (record["rank"], record["run_id"], record["exit_code"]) == (0, "test", 1)
    assert record["pid"] == rank.record("started")["pid"]
    assert not record["secondary"]
    python = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert f"before\n{record['traceback']}" == python.stderr == rank.err
    assert rank.err[record["stderr_bytes"] :] == record["traceback"]


@pytest.mark.parametrize(
    ("line", "code", "kind", "message", "err"),
    [
        ("import sys; sys.exit(3)", 3, "exit", "", ""),
        ("import sys; sys.exit('no data')", 1, "exit", "no data", "no data\n"),
        (
            "class E(Exception): exit_code, summary_only = 2, True\nraise E('bad key')",
            2, "exception", "bad key", "bad key\n",
        ),
    ],
)  # fmt: skip
def test_ends_without_traceback(tmp_path, line, code, kind, message, err):
    (tmp_path / "main.py").write_text(line)
    rank = Rank(tmp_path, "main.py")
    assert (rank.code, rank.err) == (code, err)
    record = rank.record("error")
    assert (record["kind"], record["message"], record["exit_code"]) == (kind, message, code)


@pytest.mark.parametrize("line", ["import sys; sys.exit()", "import sys; sys.exit(0)", "raise SystemExit(None)"])
def test_leaving_with_zero_is_a_normal_end(tmp_path, line):
    (tmp_path / "main.py").write_text(f"import atexit\natexit.register(print, 'bye')\n{line}")
    rank = Rank(tmp_path, "main.py")
    assert (rank.code, rank.out) == (0, "bye\n")
    assert not (rank.logs / "rank-00000.error.json").exists()


def test_death_by_signal_and_a_bare_exit_are_recorded_by_the_attendant(tmp_path):
    (tmp_path / "main.py").write_text("import os\nos.kill(os.getpid(), 9)")
    rank = Rank(tmp_path, "main.py")
    assert rank.code == 137
    record = rank.record("exit")
    assert record["exit_code"] == -9
    assert record["max_rss_bytes"] > 2**20
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "main.py").write_text("import os\nos._exit(7)")
    bare = Rank(tmp_path / "other", "main.py")
    assert (bare.code, bare.record("exit")["exit_code"]) == (7, 7)


def test_output_of_c_code_is_captured_even_when_the_rank_fails(tmp_path):
    (tmp_path / "main.py").write_text(
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.printf(b'from C')\nprint('from Python')\nraise ValueError\n"
    )
    rank = Rank(tmp_path, "main.py")
    assert rank.out in ("from Cfrom Python\n", "from Python\nfrom C")


def test_a_missing_module_is_said_without_a_traceback(tmp_path):
    rank = Rank(tmp_path, "-m", "nowhere.at_all")
    assert rank.code == 1
    assert rank.err == "no module named 'nowhere.at_all', expected something that 'python -m' can run\n"


def test_a_module_whose_import_fails_shows_why(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import nothing_of_that_name")
    rank = Rank(tmp_path, "-m", "broken")
    assert rank.code == 1
    assert rank.record("error")["type"] == "ModuleNotFoundError"
    assert "No module named 'nothing_of_that_name'" in rank.err


def test_the_rank_dies_with_its_attendant(tmp_path):
    (tmp_path / "main.py").write_text(
        "import os, time\n"
        "while not os.path.exists(os.environ['FLOWRUN_RUN_DIR'] + '/rank-00000.started.json'): time.sleep(0.01)\n"
        "os.kill(os.getppid(), 9)\ntime.sleep(60)"
    )
    rank = Rank(tmp_path, "main.py")
    assert rank.code == -9
    pid = rank.record("started")["pid"]
    jobs.wait_until(lambda: not os.path.exists(f"/proc/{pid}") or zombie(pid), 5, f"rank {pid} lives")


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_log_directory_that_is_not_shared_is_named(tmp_path):
    words = [sys.executable, "-m", "flowrun.wrapper", "--log-dir", str(tmp_path / "no"), "--nodes", "1", "x.py"]
    done = subprocess.run(words, env=jobs.environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path}/no does not exist" in done.stderr
