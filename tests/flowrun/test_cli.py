"""The command line: what is accepted, what is refused and how."""

import os
from pathlib import Path

import pytest

from flowrun.cli import main, make_plan, parse_arguments, parse_tee, read_exports
from flowrun.errors import LaunchError
from flowrun.logs import Tee


@pytest.fixture
def script(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("print('never run')")
    return "train.py"


@pytest.mark.parametrize(
    "argv",
    [
        "-n 4 --log-dir d --omp-threads 2 train.py --nprocs 9 -- x",
        "-n4 --log_dir=d --omp_threads=2 train.py --nprocs 9 -- x",
        "-np 4 --log_dir d --omp-threads 2 -- train.py --nprocs 9 -- x",
        "--nprocs=4 --log-dir=d --omp-threads=2 train.py --nprocs 9 -- x",
    ],
)
def test_spellings_mean_the_same_and_the_programs_arguments_are_its_own(argv):
    options, words = parse_arguments(argv.split())
    assert (options.nprocs, options.log_dir, options.omp_threads) == (4, Path("d"), 2)
    assert words == ["train.py", "--nprocs", "9", "--", "x"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--nprosc 2 train.py", "unknown option --nprosc; did you mean --nprocs?"),
        ("--log_dri d train.py", "unknown option --log-dri; did you mean --log-dir?"),
        ("-n two train.py", "expected a positive number, got 'two'"),
        ("-n 0 train.py", "expected a positive number, got '0'"),
        ("-n", "expected one argument"),
        ("--engine slurm train.py", "invalid choice: 'slurm'"),
        ("--grace -1 train.py", "expected a number of seconds, got '-1'"),
        ("--timeout soon train.py", "expected a number of seconds, got 'soon'"),
        ("--tail-lines many train.py", "expected a number of lines, got 'many'"),
        ("--dry-run=yes train.py", "ignored explicit argument 'yes'"),
        ("-v -q train.py", "-v and --quiet contradict each other"),
        ("-H a --hostfile b train.py", "--hosts and --hostfile exclude each other"),
        ("--hostfile none.txt train.py", "cannot read the host file none.txt"),
        ("-n 3 -H a:2 train.py", "3 ranks were asked for (-n) but the hosts have 2 slots (a:2)"),
        ("-x FLOW_NOT_SET_ANYWHERE train.py", "the variable FLOW_NOT_SET_ANYWHERE is not set"),
        ("-n 2 --engine local train.py", "--engine local runs one rank on this machine, got 2"),
        ("--tee 1 train.py", "--tee: expected ranks from 0 to 0, got '1'"),
        ("other.py", "there is no file 'other.py'"),
        ("-n 2", "expected something to run"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(argv, said, script, capsys):
    assert main(argv.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("flowrun: error: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert os.listdir() == [script]


def test_dry_run_prints_the_command_and_starts_nothing(script, capsys, tmp_path):
    assert main(["--dry-run", "-x", "COLOUR=dark red", "--log-dir", "logs", script, "a b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    run_id = lines[2].rpartition("/")[2]
    assert lines[:3] == [
        "host         localhost: rank 0",
        "engine       local",
        f"logs         {tmp_path}/logs/{run_id}",
    ]
    assert "environment  COLOUR='dark red'" in lines
    assert f"environment  FLOWRUN_RUN_ID={run_id}" in lines
    assert lines[-1].endswith(f"-m flowrun.wrapper --log-dir {tmp_path}/logs/{run_id} --nodes 1 train.py 'a b'")
    assert os.listdir() == [script]


@pytest.mark.mpi
def test_dry_run_of_several_ranks_names_the_mpiexec(script, capsys, mpiexec, tmp_path):
    assert main(["--dry-run", "-n", "3", script]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith(f"command      {mpiexec} -host localhost -n 3 ")
    assert f" --log-dir {tmp_path}/runs/.launch/" in command


def test_every_run_has_an_id_and_a_port_of_its_own(script):
    options, words = parse_arguments([script])
    first, second = (make_plan(options, words, {}) for _ in range(2))
    assert first.run_id != second.run_id
    assert first.log_dir != second.log_dir
    assert 0 < int(first.settings["MASTER_PORT"]) < 65536
    assert first.settings["MASTER_ADDR"] == "127.0.0.1"
    assert "FLOWRUN_TTY" not in first.settings  # stdout is captured here


def test_the_first_of_several_hosts_is_the_master(script):
    options, words = parse_arguments(["-H", "node[1-2]:2", script])
    plan = make_plan(options, words, {})
    assert plan.settings["MASTER_ADDR"] == "node1"
    assert plan.nprocs == 4


def test_read_exports():
    assert read_exports(["A", "B=", "C=x=y"], {"A": "1", "B": "2"}) == {"A": "1", "B": "", "C": "x=y"}
    with pytest.raises(LaunchError, match="expected NAME or NAME=VALUE, got '1A=2'"):
        read_exports(["1A=2"], {})


@pytest.mark.parametrize(
    ("text", "stdout", "stderr"),
    [
        (None, {0}, {0, 1, 2, 3}),
        ("all", {0, 1, 2, 3}, {0, 1, 2, 3}),
        ("none", set(), set()),
        ("0,2-3", {0, 2, 3}, {0, 2, 3}),
    ],
)
def test_parse_tee(text, stdout, stderr):
    tee = parse_tee(text, 4)
    assert isinstance(tee, Tee)
    assert (set(tee.stdout), set(tee.stderr)) == (stdout, stderr)


@pytest.mark.parametrize("text", ["", "x", "1-", "4", "2-4", "3-2"])
def test_a_wrong_tee_is_refused(text):
    with pytest.raises(LaunchError, match="--tee: expected"):
        parse_tee(text, 4)


@pytest.mark.parametrize(("option", "said"), [("--version", "flowrun 0."), ("--help", "flowrun [options] script.py")])
def test_version_and_help(option, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main([option])
    assert stop.value.code == 0
    assert said in capsys.readouterr().out
