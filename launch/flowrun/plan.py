"""What to start where: arguments -> LaunchPlan, without side effects."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowrun.errors import LaunchError
from flowrun.hosts import Host

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1"})

# Identities given by an outer launcher: a job started from inside another one must not inherit its rank.
_FOREIGN_PREFIXES = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "HYDI_", "FLOWRUN_")
_FOREIGN_NAMES = frozenset(
    "MPI_LOCALRANKID MPI_LOCALNRANKS RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE NODE_RANK NNODES".split()
)


@dataclass(frozen=True, slots=True)
class Program:
    """What every rank runs: a script file, or a module as with ``python -m``."""

    target: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchPlan:
    """A job, complete: ranks 0..n-1 fill the hosts in order."""

    program: Program
    hosts: tuple[Host, ...]  # slots are the ranks that really run there
    run_id: str
    log_dir: Path  # of this run; the ranks' logs and records
    python: str
    omp_threads: int | None = None  # None: cores of the node shared out, unless the environment says
    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables set for every rank

    @property
    def nprocs(self) -> int:
        """Number of ranks."""
        return sum(host.slots for host in self.hosts)

    @property
    def is_local(self) -> bool:
        """Whether everything runs on this machine."""
        return len(self.hosts) == 1 and self.hosts[0].name in LOCAL_NAMES


def choose_program(words: Sequence[str], *, is_module: bool) -> Program:
    """Tell a script, a module and a training recipe apart.

    A first word ending in ``.py`` is a script; with ``-m`` it is a module; anything else (a YAML file or a shipped
    name such as ``train/digits``) goes to the recipe trainer, which resolves it.

    Raises:
        LaunchError: there is no word.
    """
    if not words:
        raise LaunchError(
            "expected something to run: 'flowrun [options] script.py ...', '-m module ...' or 'RECIPE key=value ...'"
        )
    first, *rest = words
    if is_module:
        return Program(first, tuple(rest), is_module=True)
    if first.endswith(".py"):
        return Program(first, tuple(rest))
    return Program("flowrun.recipe", tuple(words), is_module=True)


def place_ranks(hosts: Sequence[Host], nprocs: int | None) -> tuple[Host, ...]:
    """Fill the hosts in order with ``nprocs`` ranks; None takes every slot. No hosts means this machine.

    Raises:
        LaunchError: there are fewer slots than ranks.
    """
    if not hosts:
        return (Host("localhost", nprocs or 1),)
    slots = sum(host.slots for host in hosts)
    left = slots if nprocs is None else nprocs
    if left > slots:
        named = ", ".join(f"{host.name}:{host.slots}" for host in hosts)
        raise LaunchError(
            f"{left} ranks were asked for (-n) but the hosts have {slots} slots ({named}); raise the slots or lower -n"
        )
    own_names = LOCAL_NAMES | {socket.gethostname()}
    placed = []
    for host in hosts:
        ranks = min(host.slots, left)
        left -= ranks
        if ranks:
            placed.append(Host(host.name, ranks))
    if len(placed) == 1 and placed[0].name in own_names:
        return (Host("localhost", placed[0].slots),)  # needs no name look-up
    for host in placed:
        if host.name in LOCAL_NAMES:  # would mean another machine on every node
            raise LaunchError(f"{host.name!r} cannot be one of several hosts; use a name that all of them resolve")
    return tuple(placed)


def wrapper_argv(plan: LaunchPlan) -> list[str]:
    """The command every rank starts as."""
    return [
        *(plan.python, "-m", "flowrun.wrapper"),
        *("--log-dir", str(plan.log_dir)),
        *("--nodes", ",".join(str(host.slots) for host in plan.hosts)),
        *(() if plan.omp_threads is None else ("--omp-threads", str(plan.omp_threads))),
        *(("-m",) if plan.program.is_module else ()),
        plan.program.target,
        *plan.program.arguments,
    ]


def engine_environment(plan: LaunchPlan, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment the engine is started with: the caller's, without an outer launcher's rank, plus settings."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _FOREIGN_NAMES and not name.startswith(_FOREIGN_PREFIXES)
    }
    return kept | dict(plan.settings)


def compress_ranks(ranks: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0-2,5``."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
