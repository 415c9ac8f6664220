"""Ranks as processes of an MPI job, with waits that sleep.

A blocking MPI call burns a core for as long as it waits. Here every collective first waits for all ranks with a
non-blocking barrier, polled with growing sleeps and a deadline, and hands its buffer to MPI only then: a rank that
never comes leaves no buffer behind in MPI's hands, and the transfer itself, which can only be short, may be polled
eagerly.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist.collective import (
    DEFAULT_TIMEOUT_S,
    Collective,
    check_broadcast,
    check_summable,
    store_rounded,
    sums_in_float32,
)
from flowdist.env import RankInfo
from flowdist.errors import DistError

# Ranks that compute the same thing arrive within this time of each other; longer than that, sleep.
_ARRIVAL_SPIN_S = 2e-4
# Sleeps grow to a sixteenth of the time waited so far: six per cent late at most, and few wake-ups.
_SLEEP_FRACTION = 1 / 16
_SHORTEST_SLEEP_S = 2e-5
# A thousand polls a second cost about 2 % of a core.
_LONGEST_SLEEP_S = 1e-3
# MPI moves data only while it is polled: spin for as long as memory would take, then let a slow link's
# buffers fill between polls (25 KB in this time at 1 Gbit/s).
_TRANSFER_SPIN_S_PER_BYTE = 1e-9
_LONGEST_TRANSFER_SLEEP_S = 2e-4

# What MPI may still write to after a transfer was given up: must live as long as the process.
_given_up: list[tuple[Any, ...]] = []


def poll(done: Callable[[], bool], *, spin_s: float, longest_sleep_s: float, timeout_s: float) -> bool:
    """Call ``done`` until it is true, or until ``timeout_s`` seconds have passed (then the answer is False).

    The first ``spin_s`` seconds only give way to other threads between calls; after that, sleeps grow with the
    time waited, up to ``longest_sleep_s``.
    """
    start = time.monotonic()
    while not done():
        waited = time.monotonic() - start
        if waited > timeout_s:
            return False
        if waited < spin_s:
            os.sched_yield()
        else:
            time.sleep(min(longest_sleep_s, max(_SHORTEST_SLEEP_S, waited * _SLEEP_FRACTION)))
    return True


class MPICommunicator:
    """The ranks of an MPI job, each a process; buffers in host memory.

    Made by `world`, or by `flowdist.connect`. 16-bit floats travel and are summed as float32, because MPI has no
    portable 16-bit float. After a time-out or an MPI error the communicator refuses further calls: the ranks no longer
    agree on where they are.
    """

    def __init__(self, mpi: Any, handle: Any, timeout_s: float) -> None:
        self.rank: int = handle.Get_rank()
        self.size: int = handle.Get_size()
        self.timeout_s = timeout_s
        self._mpi = mpi
        self._handle = handle
        self._sequence = 0
        self._unusable: str | None = None

    @classmethod
    def world(cls, expected: RankInfo | None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> MPICommunicator:
        """The communicator of all processes the MPI launcher started; every one of them calls this.

        Args:
            expected: What the environment says about this process, to be compared with what MPI says; None if it says
                nothing.
            timeout_s: Seconds after which a collective gives up waiting for the other ranks.

        Raises:
            DistError: no MPI library, one without full thread support, or one that sees another job.
        """
        mpi = _initialized_mpi()
        everybody = cls(mpi, mpi.COMM_WORLD, timeout_s)
        _check_same_job(mpi, everybody.allgather_object(expected))
        node = cls(mpi, mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED), timeout_s)
        _forget_shared_memory_names(node)
        node.close()
        return everybody.duplicate()  # user code may use COMM_WORLD as it likes

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace the buffer by its sum over all ranks."""
        check_summable(buffer)
        staged = sums_in_float32(buffer.dtype)
        total = buffer.astype(np.float32) if staged else buffer
        with self._collective("allreduce", dtype=buffer.dtype.name, count=buffer.size) as call:
            self._transfer(call, lambda: self._handle.Iallreduce(self._mpi.IN_PLACE, total), total)
        if staged:
            store_rounded(buffer, total)

    def broadcast(self, buffer: NDArray[Any], root: int = 0) -> None:
        """Replace the buffer by that of rank ``root``."""
        check_broadcast(buffer, root, self.size)
        data = buffer.view(np.uint8)  # MPI has no name for some of NumPy's types
        with self._collective("broadcast", dtype=buffer.dtype.name, count=buffer.size, root=root) as call:
            self._transfer(call, lambda: self._handle.Ibcast([data, self._mpi.BYTE], root), data)

    def barrier(self) -> None:
        """Return when every rank has called this."""
        with self._collective("barrier"):
            pass  # entering has waited for all ranks

    def allgather_object(self, value: Any) -> list[Any]:
        """Everybody's ``value`` in rank order; travels pickled."""
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = np.empty(self.size, np.int64)
        own_size = np.array([data.size], np.int64)
        with self._collective("allgather_object") as call:
            self._transfer(call, lambda: self._handle.Iallgather(own_size, sizes), own_size, sizes)
            gathered = np.empty(int(sizes.sum()), np.uint8)
            starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            layout = [gathered, (sizes, starts), self._mpi.BYTE]
            self._transfer(call, lambda: self._handle.Iallgatherv([data, self._mpi.BYTE], layout), data, gathered)
        return [pickle.loads(gathered[start : start + n].data) for start, n in zip(starts, sizes, strict=True)]

    def duplicate(self) -> MPICommunicator:
        """A communicator of the same ranks with an order of calls of its own."""
        with self._collective("duplicate") as call:
            handle, request = self._handle.Idup()
            self._transfer(call, lambda: request, handle)
        return MPICommunicator(self._mpi, handle, self.timeout_s)

    def close(self) -> None:
        """Free the communicator in the MPI library."""
        if self._unusable is None:
            if not self._mpi.Is_finalized():
                self._handle.Free()
            self._unusable = "it is closed"

    @contextmanager
    def _collective(
        self, kind: str, *, dtype: str = "", count: int = 0, root: int | None = None
    ) -> Iterator[Collective]:
        """Number and announce a collective, wait for all ranks, and turn what goes wrong inside into `DistError`."""
        call = Collective(self._sequence, kind, dtype, count, root)
        if self._unusable is not None:
            raise DistError(f"rank {self.rank} of {self.size}, {call}: communicator unusable, {self._unusable}")
        self._sequence += 1
        try:
            arrival = self._handle.Ibarrier()
            self._wait(call, arrival, "waited for the other ranks", spin_s=_ARRIVAL_SPIN_S, sleep_s=_LONGEST_SLEEP_S)
            yield call
        except self._mpi.Exception as error:
            self._unusable = f"{call} failed before"
            raise DistError(f"rank {self.rank} of {self.size}, {call}: MPI reports {error}") from error
        except BaseException:
            self._unusable = f"{call} was not finished"
            raise

    def _transfer(self, call: Collective, start: Callable[[], Any], *kept: Any) -> None:
        """Start moving data and wait for it; ``kept`` stays alive if that is given up."""
        request = start()
        spin_s = _ARRIVAL_SPIN_S + _TRANSFER_SPIN_S_PER_BYTE * sum(getattr(item, "nbytes", 0) for item in kept)
        try:
            self._wait(call, request, "moved data", spin_s=spin_s, sleep_s=_LONGEST_TRANSFER_SLEEP_S)
        except BaseException:
            _given_up.append((request, *kept))
            raise

    def _wait(self, call: Collective, request: Any, doing: str, *, spin_s: float, sleep_s: float) -> None:
        if not poll(request.Test, spin_s=spin_s, longest_sleep_s=sleep_s, timeout_s=self.timeout_s):
            raise DistError(
                f"rank {self.rank} of {self.size} {doing} for {self.timeout_s:.1f} s in {call} and gave up; "
                "another rank has stopped, hangs, or makes different calls"
            )


def _initialized_mpi() -> Any:
    """The ``mpi4py.MPI`` module with MPI running and callable from any thread."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise DistError(
            f'MPI: mpi4py cannot be used ({error}); install an MPI library, or pip install "flowstack[mpich]"'
        ) from error
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise DistError(
            f"MPI: threads need MPI_THREAD_MULTIPLE, but {_library(MPI)} runs with thread level {MPI.Query_thread()}; "
            "let flowdist initialise MPI, or set mpi4py.rc.thread_level to 'multiple' before importing mpi4py.MPI"
        )
    return MPI


def _library(mpi: Any) -> str:
    text: str = mpi.Get_library_version()
    return " ".join(text.split("\n", 1)[0].split())


def _check_same_job(mpi: Any, expected: Sequence[RankInfo | None]) -> None:
    """Raise on every rank if the launcher told any of them something else than MPI does."""
    for rank, info in enumerate(expected):
        if info is not None and (info.rank, info.world_size) != (rank, len(expected)):
            raise DistError(
                f"MPI: the launcher says rank {info.rank} of {info.world_size}, but the MPI library ({_library(mpi)}) "
                f"says rank {rank} of {len(expected)}; most likely the mpiexec that started the job belongs to another "
                "MPI than the one mpi4py loads: use the mpiexec of that library"
            )


def _forget_shared_memory_names(node: MPICommunicator) -> None:
    """Unlink MPICH's shared-memory file, which every abnormal end would leave behind; the mapping stays.

    Linux only, where such files have a name in ``/dev/shm``; elsewhere there is nothing to find.
    """
    node.barrier()  # everybody on this host has mapped it
    if node.rank == 0:
        for path in _mapped_mpich_files():
            path.unlink(missing_ok=True)
    node.barrier()


def _mapped_mpich_files() -> set[Path]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return set()
    names = (line.split(maxsplit=5)[-1].strip() for line in maps.read_text().splitlines())
    return {Path(name) for name in names if name.startswith("/dev/shm/mpich_shm_") and not name.endswith("(deleted)")}
