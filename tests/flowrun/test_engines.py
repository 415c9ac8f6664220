"""Plan to command line, and which engine belongs to which MPI."""

import os
import stat
import sys
from pathlib import Path

import pytest

from flowrun import engines
from flowrun.engines import (
    Engine,
    MPILibrary,
    describe,
    engine_argv,
    engine_from_version,
    find_engine,
    library_from_version,
)
from flowrun.errors import LaunchError, MissingMPI
from flowrun.hosts import Host
from flowrun.plan import LaunchPlan, Program

HERE = (Host("localhost", 2),)
TWO_HOSTS = (Host("node1", 4), Host("node2", 2))
HYDRA = Engine("hydra", "/opt/mpich/bin/mpiexec", "MPICH 5.0.2")
OPEN_MPI = Engine("openmpi", "/usr/bin/mpiexec", "Open MPI 5.0.3")
WRAPPER = "/usr/bin/python3 -m flowrun.wrapper --log-dir /logs/run --nodes"


def plan(hosts: tuple[Host, ...]) -> LaunchPlan:
    return LaunchPlan(
        program=Program("train.py", ("a b",)),
        hosts=hosts,
        run_id="run",
        log_dir=Path("/logs/run"),
        python="/usr/bin/python3",
        settings={"MASTER_PORT": "4321", "FLOWRUN_RUN_ID": "run"},
    )


@pytest.mark.parametrize(
    ("engine", "hosts", "expected"),
    [
        (HYDRA, HERE, f"/opt/mpich/bin/mpiexec -host localhost -n 2 {WRAPPER} 2 train.py"),
        (HYDRA, TWO_HOSTS, f"/opt/mpich/bin/mpiexec -hosts node1:4,node2:2 -n 6 {WRAPPER} 4,2 train.py"),
        (
            OPEN_MPI,
            TWO_HOSTS,
            "/usr/bin/mpiexec --host node1:4,node2:2 -n 6 --map-by slot --bind-to none "
            f"-x FLOWRUN_RUN_ID -x MASTER_PORT {WRAPPER} 4,2 train.py",
        ),
        (Engine("local"), (Host("localhost", 1),), f"{WRAPPER} 1 train.py"),
    ],
)
def test_golden_command_lines(engine, hosts, expected):
    assert engine_argv(plan(hosts), engine) == [*expected.split(), "a b"]


def test_the_local_engine_runs_one_rank_only():
    with pytest.raises(LaunchError, match="one rank on this machine, got 2"):
        engine_argv(plan(HERE), Engine("local"))


def test_describe_can_be_pasted():
    argv = engine_argv(plan(TWO_HOSTS), HYDRA)
    assert describe(plan(TWO_HOSTS), HYDRA, argv).splitlines() == [
        "host         node1: ranks 0-3",
        "host         node2: ranks 4-5",
        "engine       hydra MPICH 5.0.2",
        "logs         /logs/run",
        "environment  FLOWRUN_RUN_ID=run",
        "environment  MASTER_PORT=4321",
        f"command      /opt/mpich/bin/mpiexec -hosts node1:4,node2:2 -n 6 {WRAPPER} 4,2 train.py 'a b'",
    ]


@pytest.mark.parametrize(
    ("printed", "dialect", "version"),
    [
        ("HYDRA build details:\n    Version:              4.3.1\n", "hydra", "MPICH 4.3.1"),
        ("mpirun (Open MPI) 4.1.6\n\nReport bugs to ...", "openmpi", "Open MPI 4.1.6"),
        ("mpiexec (OpenRTE) 4.0.3\n", "openmpi", "Open MPI 4.0.3"),
    ],
)
def test_engine_from_version(printed, dialect, version):
    assert engine_from_version(printed, "/x") == Engine(dialect, "/x", version)


@pytest.mark.parametrize("printed", ["Intel(R) MPI Library for Linux* OS, Version 2021.9", ""])
def test_an_unknown_engine_is_refused(printed):
    with pytest.raises(LaunchError, match=r"/x --version printed .*expected MPICH"):
        engine_from_version(printed, "/x")


@pytest.mark.parametrize(
    ("said", "family", "version"),
    [
        ("MPICH Version:      5.0.2\nMPICH Release date: ...", "hydra", "MPICH 5.0.2"),
        ("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4", "openmpi", "Open MPI 4.1.4"),
    ],
)
def test_library_from_version(said, family, version):
    assert library_from_version(said, "/lib/libmpi.so") == MPILibrary(family, version, "/lib/libmpi.so")


def test_an_unknown_library_is_refused():
    with pytest.raises(LaunchError, match="mpi4py loads 'Strange MPI 1'"):
        library_from_version("Strange MPI 1\nmore", "/lib/x.so")


def fake_mpiexec(folder: Path, printed: str) -> str:
    path = folder / "mpiexec"
    path.write_text(f"#!/bin/sh\necho '{printed}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_mpiexec_of_another_mpi_is_refused_naming_both(tmp_path, monkeypatch):
    fake_mpiexec(tmp_path, "mpiexec (OpenRTE) 4.1.6")
    library = MPILibrary("hydra", "MPICH 9.9", "/nowhere/lib/libmpi.so.12")
    monkeypatch.setattr(engines, "probe_library", lambda python, environment: library)
    with pytest.raises(LaunchError, match=r"mpi4py loads MPICH 9\.9 .*but the mpiexec found is Open MPI 4\.1\.6"):
        find_engine(plan(HERE), "auto", {"PATH": str(tmp_path)})


def test_the_mpiexec_beside_the_library_comes_before_the_one_on_path(tmp_path, monkeypatch):
    site, other = tmp_path / "site" / "bin", tmp_path / "other"
    site.mkdir(parents=True)
    other.mkdir()
    beside = fake_mpiexec(site, "HYDRA build details:\nVersion: 4.2")
    fake_mpiexec(other, "HYDRA build details:\nVersion: 3.0")
    library = MPILibrary("hydra", "MPICH 4.2", str(tmp_path / "site" / "lib" / "libmpi.so.12"))
    monkeypatch.setattr(engines, "probe_library", lambda python, environment: library)
    assert find_engine(plan(HERE), "auto", {"PATH": str(other)}) == Engine("hydra", beside, "MPICH 4.2")


def test_one_rank_here_needs_no_mpi(monkeypatch):
    def probe(python, environment):
        raise AssertionError("asked for MPI")

    monkeypatch.setattr(engines, "probe_library", probe)
    assert find_engine(plan((Host("localhost", 1),)), "auto", {}) == Engine("local")


def test_missing_mpi_names_the_command_that_fixes_it(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise RuntimeError('cannot load MPI library')")
    with pytest.raises(MissingMPI, match=r'cannot load MPI library\): .*pip install "flowstack\[mpich\]"') as caught:
        engines.probe_library(sys.executable, {"PYTHONPATH": str(tmp_path)})
    assert caught.value.exit_code == 3


@pytest.mark.mpi
def test_the_engine_of_the_installed_mpi_is_found_whatever_path_says(mpiexec, tmp_path):
    fake_mpiexec(tmp_path, "mpiexec (OpenRTE) 4.1.6")
    here = LaunchPlan(
        program=Program("x.py"), hosts=HERE, run_id="r", log_dir=Path("/logs"), python=sys.executable
    )  # fmt: skip
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert find_engine(here, "auto", environment).path == mpiexec
