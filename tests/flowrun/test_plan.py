"""Arguments to plan: what runs, where, with which environment."""

import socket
from pathlib import Path

import pytest

from flowrun.errors import LaunchError
from flowrun.hosts import Host
from flowrun.plan import (
    LaunchPlan,
    Program,
    choose_program,
    compress_ranks,
    engine_environment,
    place_ranks,
    wrapper_argv,
)


def plan(**changes) -> LaunchPlan:
    given = {
        "program": Program("train.py", ("--lr", "0.1")),
        "hosts": (Host("localhost", 2),),
        "run_id": "run",
        "log_dir": Path("/logs/run"),
        "python": "/usr/bin/python3",
    }
    return LaunchPlan(**(given | changes))


@pytest.mark.parametrize(
    ("words", "is_module", "expected"),
    [
        (["a/b.py", "-n", "x.yaml"], False, Program("a/b.py", ("-n", "x.yaml"))),
        (["pkg.mod", "--x"], True, Program("pkg.mod", ("--x",), is_module=True)),
        (["train/digits", "epochs=1"], False, Program("flowrun.recipe", ("train/digits", "epochs=1"), is_module=True)),
        (["my.yaml"], False, Program("flowrun.recipe", ("my.yaml",), is_module=True)),
    ],
)
def test_scripts_modules_and_recipes_are_told_apart(words, is_module, expected):
    assert choose_program(words, is_module=is_module) == expected


def test_nothing_to_run_is_refused():
    with pytest.raises(LaunchError, match="expected something to run"):
        choose_program([], is_module=False)


@pytest.mark.parametrize(
    ("hosts", "nprocs", "expected"),
    [
        ([], None, [Host("localhost", 1)]),
        ([], 7, [Host("localhost", 7)]),  # more ranks than cores are the user's choice
        ([Host("a", 2), Host("b", 2)], None, [Host("a", 2), Host("b", 2)]),
        ([Host("a", 2), Host("b", 2)], 3, [Host("a", 2), Host("b", 1)]),
        ([Host("a", 2), Host("b", 2)], 2, [Host("a", 2)]),
        ([Host(socket.gethostname(), 4)], 2, [Host("localhost", 2)]),
        ([Host("127.0.0.1", 4)], None, [Host("localhost", 4)]),
    ],
)
def test_ranks_fill_the_hosts_in_order(hosts, nprocs, expected):
    assert list(place_ranks(hosts, nprocs)) == expected


def test_too_few_slots_are_refused_with_both_numbers():
    with pytest.raises(LaunchError, match=r"5 ranks .* 4 slots \(a:2, b:2\)"):
        place_ranks([Host("a", 2), Host("b", 2)], 5)


def test_localhost_among_several_hosts_is_refused():
    with pytest.raises(LaunchError, match="'localhost' cannot be one of several hosts"):
        place_ranks([Host("localhost", 1), Host("b", 1)], None)


def test_wrapper_command_line():
    assert wrapper_argv(plan(hosts=(Host("a", 2), Host("b", 1)), omp_threads=3)) == (
        "/usr/bin/python3 -m flowrun.wrapper --log-dir /logs/run --nodes 2,1 --omp-threads 3 train.py --lr 0.1".split()
    )
    module = plan(program=Program("pkg", ("-m",), is_module=True))
    assert wrapper_argv(module)[3:] == "--log-dir /logs/run --nodes 2 -m pkg -m".split()


def test_the_rank_of_an_outer_job_is_not_inherited():
    outer = {"PMI_RANK": "1", "PMI_FD": "9", "RANK": "1", "FLOWRUN_RUN_ID": "outer", "HYDI_CONTROL_FD": "3",
             "MPI_LOCALRANKID": "1", "OMPI_COMM_WORLD_SIZE": "2", "PATH": "/bin", "HYDRA_IFACE": "eth0"}  # fmt: skip
    inner = engine_environment(plan(settings={"FLOWRUN_RUN_ID": "inner"}), outer)
    assert inner == {"PATH": "/bin", "HYDRA_IFACE": "eth0", "FLOWRUN_RUN_ID": "inner"}


@pytest.mark.parametrize(
    ("ranks", "text"), [([3, 0, 1, 5, 2], "0-3,5"), ([4], "4"), ([], ""), ([0, 2, 4], "0,2,4"), ([7, 8], "7-8")]
)
def test_compress_ranks(ranks, text):
    assert compress_ranks(ranks) == text
