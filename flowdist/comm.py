"""The communicator protocol, the one for a job of one rank, and how a process gets its own."""

from __future__ import annotations

import os
import pickle
from typing import Any, Protocol

from numpy.typing import NDArray

from flowdist.collective import DEFAULT_TIMEOUT_S, check_broadcast, check_summable
from flowdist.env import has_rank_variables, rank_info
from flowdist.errors import DistError
from flowdist.mpi_comm import MPICommunicator


class Communicator(Protocol):
    """What the rest needs from MPI or threads: every rank makes the same calls in the same order.

    Buffers are 1-D, contiguous and updated in place. Sums are equal to the last bit on all ranks and between runs.
    One communicator is used by one thread at a time; a second thread takes a `duplicate`, whose calls never meet the
    original's. No wait is endless: after ``timeout_s`` seconds a collective raises `DistError` naming itself.
    """

    rank: int
    size: int
    timeout_s: float

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace the buffer by its sum over all ranks (float16, bfloat16, float32, float64, int32, int64, uint8).

        16-bit floats are summed in float32 and rounded once.
        """

    def broadcast(self, buffer: NDArray[Any], root: int = 0) -> None:
        """Replace the buffer by that of rank ``root``; any dtype of plain numbers."""

    def barrier(self) -> None:
        """Return when every rank has called this."""

    def allgather_object(self, value: Any) -> list[Any]:
        """Everybody's ``value`` in rank order; for small picklable things such as manifests and errors."""

    def duplicate(self) -> Communicator:
        """A communicator of the same ranks with an order of calls of its own; every rank calls this."""

    def close(self) -> None:
        """Give back what the communicator holds; every rank calls this. Closing twice is harmless."""


class SelfCommunicator:
    """The communicator of a job of one rank: nothing to send, the same checks.

    >>> import numpy as np
    >>> total = np.ones(2)
    >>> SelfCommunicator().allreduce(total)
    >>> total
    array([1., 1.])
    """

    def __init__(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.rank = 0
        self.size = 1
        self.timeout_s = timeout_s
        self._closed = False

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Check the buffer; it is its own sum."""
        self._check_open("allreduce")
        check_summable(buffer)

    def broadcast(self, buffer: NDArray[Any], root: int = 0) -> None:
        """Check the buffer; there is nobody else to overwrite it."""
        self._check_open("broadcast")
        check_broadcast(buffer, root, self.size)

    def barrier(self) -> None:
        """Return at once."""
        self._check_open("barrier")

    def allgather_object(self, value: Any) -> list[Any]:
        """A list of a copy of ``value``: pickled and back, as between processes."""
        self._check_open("allgather_object")
        return [pickle.loads(pickle.dumps(value))]

    def duplicate(self) -> SelfCommunicator:
        """Another communicator of this one rank."""
        self._check_open("duplicate")
        return SelfCommunicator(self.timeout_s)

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    def _check_open(self, kind: str) -> None:
        if self._closed:
            raise DistError(f"{kind}: this communicator is closed")


def connect(backend: str = "auto", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Communicator:
    """Join the job this process belongs to; every rank of it calls this.

    Args:
        backend: ``"auto"`` is ``"self"`` in a job of one rank and ``"mpi"`` otherwise; ``"self"`` is a job of one
            whatever the environment says; ``"mpi"`` is the job of the MPI launcher.
        timeout_s: Seconds after which a collective gives up waiting for the other ranks.

    Raises:
        DistError: unknown backend, contradictory environment, no usable MPI, or an MPI that sees another job than the
            launcher started.
    """
    if timeout_s <= 0:
        raise DistError(f"connect: timeout_s must be positive, got {timeout_s}")
    if backend == "auto":
        backend = "mpi" if rank_info().world_size > 1 else "self"
    if backend == "self":
        return SelfCommunicator(timeout_s)
    if backend == "mpi":
        return MPICommunicator.world(rank_info() if has_rank_variables(os.environ) else None, timeout_s=timeout_s)
    if backend == "nccl":
        raise DistError('connect: there is no "nccl" communicator yet; use "mpi", which reduces in host memory')
    raise DistError(f'connect: expected backend "auto", "self" or "mpi", got {backend!r}')
