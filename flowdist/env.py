"""Which rank this process is, as the launcher's environment variables say."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass

from flowdist.errors import DistError

_VARIABLES = {
    "rank": "RANK",
    "world_size": "WORLD_SIZE",
    "local_rank": "LOCAL_RANK",
    "local_world_size": "LOCAL_WORLD_SIZE",
    "node_rank": "NODE_RANK",
}

# What MPI's own launchers tell a process about the size of its job.
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


@dataclass(frozen=True, slots=True)
class RankInfo:
    """The place of one process in a job; the default is a job of one.

    Args:
        rank: Number of this process in the job, from 0.
        world_size: Number of processes in the job.
        local_rank: Number of this process on its host, from 0.
        local_world_size: Number of processes of the job on this host.
        node_rank: Number of this host, from 0.

    Raises:
        DistError: the numbers contradict each other.

    >>> RankInfo.from_environment({})
    RankInfo(rank=0, world_size=1, local_rank=0, local_world_size=1, node_rank=0)
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise DistError(f"RANK: expected 0 <= RANK < WORLD_SIZE, got RANK={self.rank} WORLD_SIZE={self.world_size}")
        if not 0 <= self.local_rank < self.local_world_size <= self.world_size:
            raise DistError(
                "LOCAL_RANK: expected 0 <= LOCAL_RANK < LOCAL_WORLD_SIZE <= WORLD_SIZE, got "
                f"LOCAL_RANK={self.local_rank} LOCAL_WORLD_SIZE={self.local_world_size} WORLD_SIZE={self.world_size}"
            )
        if not 0 <= self.node_rank < self.world_size:
            raise DistError(
                "NODE_RANK: expected 0 <= NODE_RANK < WORLD_SIZE, got "
                f"NODE_RANK={self.node_rank} WORLD_SIZE={self.world_size}"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> RankInfo:
        """Read the variables a launcher sets: all of them, or none for a job of one.

        Raises:
            DistError: only some are set, one is not a whole number, they contradict each other, or an MPI launcher
                started several processes without them (each would train alone and believe to be the only one).
        """
        missing = [variable for variable in _VARIABLES.values() if variable not in environment]
        if len(missing) == len(_VARIABLES):
            _refuse_bare_mpi(environment)
            return cls()
        if missing:
            present = [variable for variable in _VARIABLES.values() if variable in environment]
            raise DistError(
                f"environment: {', '.join(present)} set but {', '.join(missing)} missing; "
                "start with flowrun, which sets all of them, or unset all of them"
            )
        return cls(**{field: _whole_number(environment, variable) for field, variable in _VARIABLES.items()})


@functools.cache
def rank_info() -> RankInfo:
    """The place of this process in its job, read from the environment once."""
    return RankInfo.from_environment(os.environ)


def has_rank_variables(environment: Mapping[str, str]) -> bool:
    """Whether a launcher of ours (or a part of one) has set anything."""
    return any(variable in environment for variable in _VARIABLES.values())


def _whole_number(environment: Mapping[str, str], variable: str) -> int:
    text = environment[variable]
    if not (text.isascii() and text.isdigit()):
        raise DistError(f"environment: {variable} must be a whole number, got {text!r}")
    return int(text)


def _refuse_bare_mpi(environment: Mapping[str, str]) -> None:
    for variable in _MPI_SIZES:
        if environment.get(variable, "1") != "1":
            raise DistError(
                f"environment: an MPI launcher started {environment[variable]} processes ({variable}) but WORLD_SIZE "
                'is not set; start with "flowrun -n N", or ask for connect("mpi")'
            )
