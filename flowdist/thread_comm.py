"""Ranks as threads of one process: the definition the other communicators are compared with."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowdist.collective import (
    DEFAULT_TIMEOUT_S,
    Collective,
    check_broadcast,
    check_summable,
    rank_ranges,
    store_rounded,
    sums_in_float32,
)
from flowdist.errors import DistError, RankFailed

_Payload = TypeVar("_Payload")
_Result = TypeVar("_Result")


class _Job:
    """What communicators that descend from one `ThreadCommunicator.world` share: a lock and a possible end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.failure: str | None = None


class _Meeting:
    """One collective: who has come, with what, and what came out."""

    def __init__(self) -> None:
        self.calls: dict[int, Collective] = {}
        self.payloads: dict[int, Any] = {}
        self.result: Any = None
        self.error: str | None = None
        self.over = False


class _World:
    """Where the ranks of one communicator meet, collective after collective."""

    def __init__(self, job: _Job, size: int, timeout_s: float) -> None:
        self.job = job
        self.size = size
        self.timeout_s = timeout_s
        self._meetings: dict[int, _Meeting] = {}

    def meet(
        self,
        rank: int,
        call: Collective,
        payload: _Payload,
        combine: Callable[[Mapping[int, _Payload]], _Result],
    ) -> _Result:
        """Wait for all ranks; the last to come combines the payloads, everybody gets the result."""
        with self.job.changed:
            if self.job.failure is not None:
                raise RankFailed(self.job.failure)
            meeting = self._meetings.setdefault(call.sequence, _Meeting())
            meeting.calls[rank] = call
            meeting.payloads[rank] = payload
            if len(meeting.calls) == self.size:
                self._conclude(meeting, call.sequence, combine)
            elif not self.job.changed.wait_for(lambda: meeting.over or self.job.failure is not None, self.timeout_s):
                absent = rank_ranges(set(range(self.size)) - set(meeting.calls))
                message = f"rank {rank} waited {self.timeout_s:.1f} s in {call} for {absent}"
                self.fail(message)
                raise DistError(message)
            # A meeting that ended counts even if some rank failed right after it.
            if not meeting.over:
                raise RankFailed(str(self.job.failure))
            if meeting.error is not None:
                raise DistError(meeting.error)
            result: _Result = meeting.result
            return result

    def fail(self, message: str) -> None:
        """Make every present and future wait of the job raise ``message``."""
        with self.job.changed:
            if self.job.failure is None:
                self.job.failure = message
            self.job.changed.notify_all()

    def _conclude(self, meeting: _Meeting, sequence: int, combine: Callable[[Mapping[int, Any]], Any]) -> None:
        ranks_by_call: dict[Collective, list[int]] = {}
        for rank, call in sorted(meeting.calls.items()):
            ranks_by_call.setdefault(call, []).append(rank)
        if len(ranks_by_call) > 1:
            sides = "; ".join(f"{rank_ranges(ranks)}: {call}" for call, ranks in ranks_by_call.items())
            meeting.error = f"the ranks make different collectives at the same point: {sides}"
        else:
            meeting.result = combine(meeting.payloads)
        meeting.over = True
        del self._meetings[sequence]
        self.job.changed.notify_all()


class ThreadCommunicator:
    """One of ``n`` ranks that are threads of this process; for tests and for trying things out.

    Sums are taken in rank order. Collectives that do not fit together raise on all ranks, naming both sides.

    >>> only, = ThreadCommunicator.world(1)
    >>> only.allgather_object("here")
    ['here']
    """

    def __init__(self, world: _World, rank: int) -> None:
        self.rank = rank
        self.size = world.size
        self.timeout_s = world.timeout_s
        self._world = world
        self._sequence = 0
        self._closed = False

    @classmethod
    def world(cls, size: int, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[ThreadCommunicator]:
        """The communicators of ``size`` ranks, each to be used in a thread of its own."""
        if size < 1:
            raise DistError(f"ThreadCommunicator.world: size must be at least 1, got {size}")
        world = _World(_Job(), size, timeout_s)
        return [cls(world, rank) for rank in range(size)]

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Replace the buffer by the sum over all ranks, added in rank order."""
        check_summable(buffer)
        total = self._meet("allreduce", buffer, _sum_in_rank_order, dtype=buffer.dtype.name, count=buffer.size)
        store_rounded(buffer, total)

    def broadcast(self, buffer: NDArray[Any], root: int = 0) -> None:
        """Replace the buffer by that of rank ``root``."""
        check_broadcast(buffer, root, self.size)
        buffer[...] = self._meet(
            "broadcast",
            buffer,
            lambda buffers: buffers[root].copy(),
            dtype=buffer.dtype.name,
            count=buffer.size,
            root=root,
        )

    def barrier(self) -> None:
        """Return when every rank has called this."""
        self._meet("barrier", None, lambda _: None)

    def allgather_object(self, value: Any) -> list[Any]:
        """Copies of everybody's ``value`` in rank order: pickled and back, as between processes."""
        pickles = self._meet("allgather_object", pickle.dumps(value), _in_rank_order)
        return [pickle.loads(data) for data in pickles]

    def duplicate(self) -> ThreadCommunicator:
        """A communicator of the same ranks with an order of calls of its own."""
        world = self._meet("duplicate", None, lambda _: _World(self._world.job, self.size, self.timeout_s))
        return ThreadCommunicator(world, self.rank)

    def abort(self, error: BaseException) -> None:
        """Say that this rank failed: all others raise `RankFailed` from whatever they wait for, at once."""
        self._world.fail(f"rank {self.rank} of {self.size} failed: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Refuse further calls of this rank."""
        self._closed = True

    def _meet(
        self,
        kind: str,
        payload: _Payload,
        combine: Callable[[Mapping[int, _Payload]], _Result],
        *,
        dtype: str = "",
        count: int = 0,
        root: int | None = None,
    ) -> _Result:
        if self._closed:
            raise DistError(f"{kind}: this communicator is closed (rank {self.rank} of {self.size})")
        call = Collective(self._sequence, kind, dtype, count, root)
        self._sequence += 1
        return self._world.meet(self.rank, call, payload, combine)


def _in_rank_order(payloads: Mapping[int, _Payload]) -> list[_Payload]:
    return [payloads[rank] for rank in sorted(payloads)]


def _sum_in_rank_order(buffers: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
    first, *others = _in_rank_order(buffers)
    total = first.astype(np.float32 if sums_in_float32(first.dtype) else first.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are the sum, as in MPI
        for other in others:
            total += other
    return total
