"""Averages gradients over ranks while backward still runs.

Every backward call is one round. A bucket is launched when its last gradient is ready and all buckets before it have
been launched, so the order of the collectives is the same on all ranks whatever the order in which gradients arrive.
A communication thread carries the launches out; the end of backward launches what is left, waits, and returns with
averaged gradients in place. Where that takes less time, all launches wait for the end (`flowdist.schedule`).

Behind the gradients, each bucket carries a few numbers that the same allreduce sums:

* one flag per parameter that says whether this rank can decide its fate (see `Reducer`), so that all ranks learn the
  same without a further collective, and
* how long the round before took, so that all ranks plan the next ones alike, and
* the number of the round and its square. Their sums fit together only if all ranks are in the same round, so a rank
  that lost its place (it caught an exception in the middle of a backward) cannot mix rounds unnoticed.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist.buckets import BucketPlan, FlatBucket
from flowdist.collective import rank_ranges, store_rounded, sums_in_float32
from flowdist.comm import Communicator
from flowdist.errors import DistError, UnusedParameterError
from flowdist.module_protocol import BackwardPass, ParameterLike
from flowdist.schedule import Schedule

# Rounds are counted modulo this: a square is exact in bfloat16, the sum of 70 000 of them in float32.
_ROUND_MODULUS = 16
# Numbers behind the flags: the seconds of the round before, the number of this round, its square.
_COUNTERS = 3
# The thread's collectives have deadlines; this long after one the thread itself must be gone.
_THREAD_GRACE_S = 10.0


class _Launch:
    """One bucket on its way: filled in by the communication thread, then ``done`` is set."""

    def __init__(self, bucket: _Bucket, round_: _Round) -> None:
        self.bucket = bucket
        self.round = round_
        self.done = threading.Event()
        self.flagged: NDArray[np.bool_] | None = None
        self.seconds_before = math.nan  # of the round before, on all ranks together

    def carry_out(self, comm: Communicator) -> None:
        """Average the bucket over all ranks; after a failure in the round, do nothing."""
        if self.round.error is None:
            try:
                self.flagged = self._average(comm)
            except BaseException as error:  # the caller of backward gets it, whatever it is
                self.round.error = error
        self.done.set()

    def flagged_slots(self) -> Iterator[tuple[Slot, bool]]:
        """Each slot with whether any rank raised its flag."""
        assert self.flagged is not None
        return zip(self.bucket.slots, self.flagged.tolist(), strict=True)

    def _average(self, comm: Communicator) -> NDArray[np.bool_]:
        array, slots_end = self.bucket.flat.array, self.bucket.plan.size
        # 16-bit floats are averaged in float32: their sum over ranks could overflow where their mean does not.
        staged = sums_in_float32(array.dtype)
        total = array.astype(np.float32) if staged else array
        number = self.round.number % _ROUND_MODULUS
        total[-_COUNTERS:] = self.round.seconds_before, number, number**2
        comm.allreduce(total)
        if tuple(total[-2:]) != (comm.size * number, comm.size * number**2):
            raise DistError(
                f"DistributedDataParallel: rank {comm.rank} is not in the same backward as other ranks; some rank left "
                "an earlier one with an error and went on: the gradients of this step are useless"
            )
        if self.bucket.factor == 1:
            np.divide(total[:slots_end], total.dtype.type(comm.size), out=total[:slots_end])
        flagged: NDArray[np.bool_] = total[slots_end:-_COUNTERS] > 0
        self.seconds_before = float(total[-_COUNTERS])
        if staged:
            store_rounded(array, total)
        return flagged


class CommunicationThread:
    """Carries launches out in the order in which they were given; starts with the first, survives errors.

    The thread knows the communicator and the queue only, so it keeps nothing alive whose end would stop it.
    """

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        self._launches: queue.SimpleQueue[_Launch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, launch: _Launch) -> None:
        """Have ``launch`` carried out after all earlier ones."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_carry_out_all, args=(self._comm, self._launches), name="flowdist-reduce", daemon=True
            )
            self._thread.start()
        self._launches.put(launch)

    def stop(self) -> None:
        """Let the thread end after what it was given, without waiting for that."""
        self._launches.put(None)

    def join(self) -> None:
        """Wait for the end of a stopped thread; its collectives have deadlines, so it comes."""
        if self._thread is not None:
            self._thread.join(self._comm.timeout_s + _THREAD_GRACE_S)


def _carry_out_all(comm: Communicator, launches: queue.SimpleQueue[_Launch | None]) -> None:
    while (launch := launches.get()) is not None:
        launch.carry_out(comm)


class Slot:
    """The gradient sink of one parameter: a view into its bucket."""

    __slots__ = ("_reducer", "_view", "bucket", "kept", "name", "parameter", "ready_in_round", "used")

    def __init__(self, name: str, parameter: ParameterLike, view: NDArray[Any], bucket: _Bucket, reducer: Reducer):
        self.name = name
        self.parameter = parameter
        self.bucket = bucket
        self.used = False  # since the last finished round, also in backward calls that were not reduced
        self.ready_in_round = False
        self.kept: NDArray[Any] | None = None  # what .grad held before a round in which it was not ready
        self._view = view
        self._reducer = reducer

    @property
    def buffer(self) -> NDArray[Any]:
        """The view, once no unfinished round can still write to it."""
        self._reducer.settle()
        return self._view

    @property
    def factor(self) -> float:
        """What the gradient of this backward is multiplied by on its way into the view."""
        return self.bucket.factor if self._reducer.synchronise else 1.0

    def ready(self, backward: BackwardPass, multiplied: bool = False) -> None:
        """Count the gradient; the last one of a bucket launches it."""
        if not multiplied:
            self._multiply()
        self._reducer.gradient_ready(self, backward)

    def fill_for_absent_gradient(self) -> None:
        """Contribute what ``.grad`` holds (a reduced gradient, or one of earlier micro-steps), or nothing."""
        gradient = self.parameter.grad
        if gradient is None:
            self.kept = None
            self._view[...] = 0
        elif _same_memory(gradient.data, self._view):
            self.kept = self._view.copy()
        else:
            self.kept = gradient.data
            self._view[...] = gradient.data
        self._multiply()

    def settle_absent_gradient(self, used_somewhere: bool, as_gradient: Callable[[NDArray[Any]], Any]) -> None:
        """Take the average if any rank had a gradient; otherwise leave ``.grad`` exactly as it was."""
        gradient = self.parameter.grad
        if used_somewhere:
            if gradient is None or not _same_memory(gradient.data, self._view):
                self.parameter.grad = as_gradient(self._view)
        elif self.kept is not None and _same_memory(gradient.data, self._view):
            self._view[...] = self.kept
        self.kept = None

    def _multiply(self) -> None:
        factor = self.factor
        if factor != 1:
            np.multiply(self._view, self._view.dtype.type(factor), out=self._view)


def _same_memory(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one is other or (one.ctypes.data, one.shape, one.strides) == (other.ctypes.data, other.shape, other.strides)


class _Bucket:
    """A flat bucket with its slots and how many of them this round still waits for.

    ``factor`` is what gradients are multiplied by before they are summed: 1 / ranks where that is exact, so that the
    result is the same as that of a division of the sum, and the pass over the bucket is saved. Elsewhere it is 1, and
    the sum is divided.
    """

    def __init__(self, plan: BucketPlan, shapes: Sequence[tuple[int, ...]], ranks: int) -> None:
        self.plan = plan
        exact = ranks & (ranks - 1) == 0 and not sums_in_float32(plan.dtype)
        self.factor = 1 / ranks if exact else 1.0
        self.flat = FlatBucket(plan, shapes, tail_size=len(shapes) + _COUNTERS)
        self.slots: list[Slot] = []
        self.waiting_for = 0


class _Round:
    """One backward call: what was launched, and what went wrong.

    Args:
        number: Of the rounds before it.
        overlaps: Whether buckets are launched before the end.
        seconds_before: How long the round before took on this rank; nan if it failed.
    """

    def __init__(self, backward: BackwardPass, number: int, overlaps: bool, seconds_before: float) -> None:
        self.backward = backward
        self.number = number
        self.overlaps = overlaps
        self.seconds_before = seconds_before
        self.start = time.perf_counter()
        self.launches: list[_Launch] = []
        self.error: BaseException | None = None

    def wait(self, timeout_s: float) -> None:
        """Wait until everything launched was carried out; each launch has its own deadline."""
        for launch in self.launches:
            if not launch.done.wait(timeout_s + _THREAD_GRACE_S):
                raise DistError(
                    f"DistributedDataParallel: the communication thread did not answer for {timeout_s:.0f} s"
                )


class Reducer:
    """Gradient sinks for a set of parameters, and the rounds that average them.

    Args:
        parameters: Names and parameters, in the order the plan was made from.
        plan: Which of them share a bucket.
        comm: A communicator that nobody else uses while a backward runs.
        find_unused_parameters: Whether a parameter may have no gradient. If not, a flag means "missing here" and one
            such rank fails them all; if so, it means "used here" and one such rank gives all a gradient.
        as_gradient: Makes what ``parameter.grad`` shall be, without copying, from an array.
    """

    def __init__(
        self,
        parameters: Sequence[tuple[str, ParameterLike]],
        plan: Sequence[BucketPlan],
        comm: Communicator,
        *,
        find_unused_parameters: bool,
        as_gradient: Callable[[NDArray[Any]], Any],
    ) -> None:
        self.synchronise = True
        self._comm = comm
        self._find_unused = find_unused_parameters
        self._as_gradient = as_gradient
        self._thread = CommunicationThread(comm)
        self._round: _Round | None = None
        self._abandoned: _Round | None = None
        self._round_count = 0
        self._schedule = Schedule()
        self._seconds_before = math.nan
        self._forward_flags: set[bool] = set()
        self._buckets: list[_Bucket] = []
        for bucket_plan in plan:
            members = [parameters[position] for position in bucket_plan.parameters]
            bucket = _Bucket(bucket_plan, [tuple(parameter.shape) for _, parameter in members], comm.size)
            for (name, parameter), view in zip(members, bucket.flat.views, strict=True):
                parameter.grad_sink = Slot(name, parameter, view, bucket, self)
                bucket.slots.append(parameter.grad_sink)
            self._buckets.append(bucket)

    def note_forward(self) -> None:
        """Remember whether this forward is to be followed by a reducing backward."""
        self._forward_flags.add(self.synchronise)

    def gradient_ready(self, slot: Slot, backward: BackwardPass) -> None:
        """Take note of a complete gradient; start the round with the first, launch what became complete."""
        if self._round is None or self._round.backward is not backward:
            self._check_forward_flags()
        slot.used = True
        if not self.synchronise:
            return
        round_ = self._round or self._begin(backward)
        if round_.backward is not backward:
            raise DistError("DistributedDataParallel: a backward began before the one before it had ended")
        if slot.ready_in_round:
            raise DistError(f"DistributedDataParallel: two gradients for parameter {slot.name!r} in one backward")
        slot.ready_in_round = True
        slot.bucket.waiting_for -= 1
        if round_.overlaps:
            self._launch_complete_buckets()

    def settle(self) -> None:
        """Wait until nothing launched by an abandoned round is still on its way."""
        if self._abandoned is not None:
            abandoned, self._abandoned = self._abandoned, None
            abandoned.wait(self._comm.timeout_s)  # its error, if any, was that of a backward that failed anyway

    def close(self) -> None:
        """Release, and wait for the communication thread to end."""
        self.release()
        self._thread.join()

    def release(self) -> None:
        """Take the sinks off the parameters and let the communication thread end."""
        for bucket in self._buckets:
            for slot in bucket.slots:
                if slot.parameter.grad_sink is slot:
                    slot.parameter.grad_sink = None
        self._thread.stop()

    def _check_forward_flags(self) -> None:
        if self._forward_flags and self.synchronise not in self._forward_flags:
            inside, outside = ("backward", "forward") if self._forward_flags == {True} else ("forward", "backward")
            raise DistError(
                f"DistributedDataParallel: {inside} ran inside no_sync() and {outside} outside; "
                "put both inside, or both outside"
            )

    def _begin(self, backward: BackwardPass) -> _Round:
        self.settle()
        number, seconds_before = self._round_count, self._seconds_before
        self._round = round_ = _Round(backward, number, self._schedule.overlaps(number), seconds_before)
        self._round_count += 1
        self._seconds_before = math.nan
        for bucket in self._buckets:
            bucket.waiting_for = len(bucket.slots)
            for slot in bucket.slots:
                slot.ready_in_round = False
        backward.at_end(self._finish)
        backward.at_failure(self._abandon)
        return round_

    def _launch_complete_buckets(self) -> None:
        assert self._round is not None
        while len(self._round.launches) < len(self._buckets):
            bucket = self._buckets[len(self._round.launches)]
            if bucket.waiting_for:
                return
            self._launch(bucket, self._round)

    def _launch(self, bucket: _Bucket, round_: _Round) -> None:
        for slot in bucket.slots:
            if not slot.ready_in_round:
                slot.fill_for_absent_gradient()
        bucket.flat.tail[:-_COUNTERS] = [slot.used == self._find_unused for slot in bucket.slots]
        launch = _Launch(bucket, round_)
        round_.launches.append(launch)
        self._thread.submit(launch)

    def _finish(self) -> None:
        round_ = self._round
        assert round_ is not None
        try:
            for bucket in self._buckets[len(round_.launches) :]:
                self._launch(bucket, round_)
            round_.wait(self._comm.timeout_s)
            if round_.error is not None:
                raise round_.error
            self._conclude(round_)
            self._schedule.note(round_.number - 1, round_.launches[0].seconds_before)
            self._seconds_before = time.perf_counter() - round_.start
        except BaseException:
            self._abandon()
            raise
        self._reset()

    def _conclude(self, round_: _Round) -> None:
        flagged = [(slot, flag) for launch in round_.launches for slot, flag in launch.flagged_slots()]
        if not self._find_unused and any(flag for _, flag in flagged):
            self._raise_unused()  # every rank sees the same flags, so every rank comes here
        for slot, flag in flagged:
            if not slot.ready_in_round:
                slot.settle_absent_gradient(flag or not self._find_unused, self._as_gradient)

    def _raise_unused(self) -> None:
        missing = [slot.name for bucket in self._buckets for slot in bucket.slots if not slot.used]
        ranks_by_name: dict[str, list[int]] = {}
        for rank, names in enumerate(self._comm.allgather_object(missing)):
            for name in names:
                ranks_by_name.setdefault(name, []).append(rank)
        listing = "; ".join(f"{name!r} on {rank_ranges(ranks)}" for name, ranks in sorted(ranks_by_name.items()))
        raise UnusedParameterError(
            f"DistributedDataParallel: backward gave no gradient for {listing} (of {self._comm.size}); use every "
            "parameter in the loss, set requires_grad=False before wrapping, or pass find_unused_parameters=True"
        )

    def _abandon(self) -> None:
        """Leave the round; what was launched stays on its way, because the other ranks wait for it.

        The engine calls this again after an error that came from `_finish` itself.
        """
        if self._round is not None:
            self._abandoned = self._round
        self._reset()

    def _reset(self) -> None:
        self._round = None
        self._forward_flags.clear()
        for bucket in self._buckets:
            for slot in bucket.slots:
                slot.used = False
                slot.ready_in_round = False
                slot.kept = None
