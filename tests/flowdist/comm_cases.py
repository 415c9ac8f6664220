"""What every communicator must do, whatever carries it."""

import hashlib
import time

import numpy as np
import pytest

from flowdist import Communicator, DistError

SUMMABLE = ["float16", "float32", "float64", "int32", "int64", "uint8"]


def ranks_are_numbered(comm: Communicator) -> None:
    assert comm.allgather_object(comm.rank) == list(range(comm.size))


def allreduce_sums_every_type_in_place(comm: Communicator) -> None:
    for dtype in SUMMABLE:
        buffer = np.arange(5, dtype=dtype) + comm.rank
        same = buffer
        comm.allreduce(buffer)
        ranks = comm.size * (comm.size - 1) // 2
        np.testing.assert_array_equal(buffer, np.arange(5) * comm.size + ranks)
        assert buffer is same
        assert buffer.dtype == dtype


def allreduce_sums_bfloat16(comm: Communicator) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    buffer = np.array([1.0, 0.5, 256.0], bfloat16)
    comm.allreduce(buffer)
    assert buffer.dtype == bfloat16
    np.testing.assert_array_equal(buffer.astype(np.float32), np.array([1.0, 0.5, 256.0]) * comm.size)


def sixteen_bit_sums_are_rounded_once(comm: Communicator) -> None:
    # 2048 + 1 is 2048 in float16; only a sum that is rounded at its end can reach 2050
    buffer = np.array([2048.0 if comm.rank == 0 else 1.0], np.float16)
    comm.allreduce(buffer)
    assert buffer[0] == np.float16(2048 + comm.size - 1)


def sums_that_no_longer_fit_become_infinities(comm: Communicator) -> None:
    buffer = np.full(3, 60000.0, np.float16)
    buffer[2] = -60000.0
    comm.allreduce(buffer)
    expected = [60000.0, 60000.0, -60000.0] if comm.size == 1 else [np.inf, np.inf, -np.inf]
    np.testing.assert_array_equal(buffer, np.array(expected, np.float16))


def sums_are_bit_identical_on_all_ranks_and_when_repeated(comm: Communicator) -> None:
    for count in (1, 7, 1000, 300_000):
        data = np.random.default_rng([comm.rank, count]).standard_normal(count) * 1e3
        digests = set()
        for repeat in range(4):
            if repeat == comm.rank:
                time.sleep(0.02)  # another order of arrival each time
            buffer = data.astype(np.float32)
            comm.allreduce(buffer)
            digests.update(comm.allgather_object(hashlib.sha256(buffer).digest()))
        assert len(digests) == 1


def empty_buffers_are_allowed(comm: Communicator) -> None:
    empty = np.empty(0, np.float32)
    comm.allreduce(empty)
    comm.broadcast(empty)


def broadcast_overwrites_any_type_from_any_root(comm: Communicator) -> None:
    for dtype in [*SUMMABLE, "bool", "int8", "complex64", "datetime64[s]"]:
        for root in range(comm.size):
            buffer = np.arange(4).astype(dtype) if comm.rank == root else np.zeros(4, dtype)
            comm.broadcast(buffer, root)
            np.testing.assert_array_equal(buffer, np.arange(4).astype(dtype))


def large_messages_arrive(comm: Communicator) -> None:
    buffer = np.full(3_000_001, comm.rank + 1, np.float64)
    comm.allreduce(buffer)
    assert (buffer == comm.size * (comm.size + 1) / 2).all()


def objects_of_different_sizes_are_gathered(comm: Communicator) -> None:
    gathered = comm.allgather_object({"rank": comm.rank, "text": "x" * comm.rank * 100_000})
    assert [value["rank"] for value in gathered] == list(range(comm.size))
    assert [len(value["text"]) for value in gathered] == [rank * 100_000 for rank in range(comm.size)]


def gathered_objects_are_copies(comm: Communicator) -> None:
    mine = [comm.rank]
    gathered = comm.allgather_object(mine)
    gathered[comm.rank].append("changed")
    comm.barrier()
    assert mine == [comm.rank]


def a_barrier_waits_for_the_last(comm: Communicator) -> None:
    if comm.rank == comm.size - 1:
        time.sleep(0.2)
        arrived = time.time()
    comm.barrier()
    left = time.time()
    times = comm.allgather_object(arrived if comm.rank == comm.size - 1 else 0.0)
    assert left >= times[-1]


def duplicates_keep_their_own_order(comm: Communicator) -> None:
    other = comm.duplicate()
    assert (other.rank, other.size, other.timeout_s) == (comm.rank, comm.size, comm.timeout_s)
    one, two = np.ones(3), np.full(3, 2.0)
    comm.allreduce(one)
    other.allreduce(two)
    other.close()
    comm.barrier()  # closing the duplicate leaves the original usable
    assert (one == comm.size).all()
    assert (two == 2 * comm.size).all()


def closed_communicators_refuse(comm: Communicator) -> None:
    other = comm.duplicate()
    other.close()
    other.close()
    with pytest.raises(DistError, match="closed"):
        other.barrier()


def unsuitable_buffers_are_refused(comm: Communicator) -> None:
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    for buffer in (np.zeros((2, 2)), np.zeros(6)[::2], frozen):
        with pytest.raises(DistError, match="1-D, contiguous, writeable"):
            comm.allreduce(buffer)
        with pytest.raises(DistError, match="1-D, contiguous, writeable"):
            comm.broadcast(buffer)
    with pytest.raises(DistError, match="NumPy array, got list"):
        comm.allreduce([1.0])  # type: ignore[arg-type]
    with pytest.raises(DistError, match="got bool"):
        comm.allreduce(np.zeros(3, bool))
    with pytest.raises(DistError, match="expected numbers"):
        comm.broadcast(np.array([None, None]))
    with pytest.raises(DistError, match=f"from 0 to {comm.size - 1}, got {comm.size}"):
        comm.broadcast(np.zeros(3), root=comm.size)
    comm.barrier()  # refused calls do not count, so the ranks still agree
