import os
import threading
import time

import numpy as np
import pytest

from flowdist import DistError, RankFailed, SelfCommunicator, ThreadCommunicator, connect
from flowdist.collective import Collective, rank_ranges
from flowdist.mpi_comm import poll
from tests.flowdist.cases import cases_of
from tests.helpers.ranks import run_ranks

CASES = cases_of("tests.flowdist.comm_cases")


@pytest.mark.parametrize("case", CASES)
def test_self_communicator(case):
    CASES[case](SelfCommunicator())


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_thread_communicator(case, size):
    run_ranks(size, CASES[case])


def caught(function) -> str:
    with pytest.raises(DistError) as error:
        function()
    return str(error.value)


MISMATCHES = [
    (
        lambda c: c.allreduce(np.zeros(4)),
        lambda c: c.barrier(),
        "rank 0: allreduce #0 (4 x float64); rank 1: barrier #0",
    ),
    (
        lambda c: c.allreduce(np.zeros(4)),
        lambda c: c.allreduce(np.zeros(5)),
        "(4 x float64); rank 1: allreduce #0 (5 x",
    ),
    (lambda c: c.allreduce(np.zeros(4)), lambda c: c.allreduce(np.zeros(4, "f4")), "(4 x float64); rank 1: allreduce"),
    (lambda c: c.broadcast(np.zeros(4)), lambda c: c.broadcast(np.zeros(4), 1), "from rank 0); rank 1: broadcast"),
    (lambda c: c.duplicate(), lambda c: c.allgather_object(1), "rank 0: duplicate #0; rank 1: allgather_object #0"),
]


@pytest.mark.parametrize(("first", "second", "expected"), MISMATCHES)
def test_collectives_that_do_not_fit_raise_on_all_ranks_naming_both_sides(first, second, expected):
    def rank(comm):
        message = caught(lambda: (first if comm.rank == 0 else second)(comm))
        comm.barrier()  # everybody is at the same place again
        return message

    messages = run_ranks(2, rank)
    assert messages[0] == messages[1]
    assert expected in messages[0]


def test_a_failed_rank_ends_the_waits_of_all_others_at_once():
    start = time.monotonic()

    def rank(comm):
        if comm.rank == 1:
            time.sleep(0.05)
            comm.abort(ValueError("bad data"))
            return "gone"
        with pytest.raises(RankFailed) as error:
            (comm if comm.rank else comm.duplicate()).barrier()
        return str(error.value)

    message = "rank 1 of 3 failed: ValueError: bad data"
    assert run_ranks(3, rank) == [message, "gone", message]
    assert time.monotonic() - start < 5


def test_run_ranks_raises_the_cause_and_not_its_echo():
    def rank(comm):
        if comm.rank == 1:
            raise KeyError("the cause")
        comm.barrier()

    with pytest.raises(KeyError, match="the cause"):
        run_ranks(3, rank)


def test_a_thread_rank_that_waits_too_long_says_for_whom_and_in_what():
    comms = ThreadCommunicator.world(3, timeout_s=0.2)
    messages = {}

    def rank(comm):
        messages[comm.rank] = caught(lambda: comm.allreduce(np.zeros(7, np.float32)))

    threads = [threading.Thread(target=rank, args=(comm,)) for comm in comms[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(messages) == {0, 1}
    assert any("waited 0.2 s in allreduce #0 (7 x float32) for rank 2" in text for text in messages.values())
    assert "rank 2" in caught(comms[2].barrier)  # the late one learns that nobody waits any more


def test_thread_world_needs_a_rank():
    with pytest.raises(DistError, match="at least 1, got 0"):
        ThreadCommunicator.world(0)


@pytest.mark.parametrize(
    ("ranks", "text"),
    [([3], "rank 3"), ([1, 0], "ranks 0-1"), ([0, 2, 3, 4, 7], "ranks 0, 2-4, 7")],
)
def test_rank_ranges(ranks, text):
    assert rank_ranges(ranks) == text


def test_a_collective_describes_itself():
    assert str(Collective(0, "barrier")) == "barrier #0"
    assert str(Collective(5, "broadcast", "int8", 3, root=2)) == "broadcast #5 (3 x int8, from rank 2)"


def test_poll_sleeps_and_gives_up_in_time():
    calls = []
    cpu, start = time.thread_time(), time.monotonic()
    assert not poll(lambda: calls.append(1), spin_s=1e-3, longest_sleep_s=1e-2, timeout_s=0.5)
    assert 0.5 < time.monotonic() - start < 2
    assert time.thread_time() - cpu < 0.25
    assert len(calls) > 20


def test_poll_returns_soon_after_the_event():
    event = threading.Event()
    threading.Timer(0.05, event.set).start()
    start = time.monotonic()
    assert poll(event.is_set, spin_s=1e-4, longest_sleep_s=1e-3, timeout_s=10)
    assert time.monotonic() - start < 5


@pytest.fixture
def bare_environment(monkeypatch):
    from flowdist.env import rank_info

    for name in list(os.environ):
        if name.endswith(("RANK", "WORLD_SIZE")) or name.startswith(("PMI", "OMPI")):
            monkeypatch.delenv(name)
    rank_info.cache_clear()
    yield monkeypatch
    rank_info.cache_clear()


def test_connect_is_alone_without_a_launcher(bare_environment):
    comm = connect(timeout_s=7)
    assert isinstance(comm, SelfCommunicator)
    assert (comm.rank, comm.size, comm.timeout_s) == (0, 1, 7)


def test_connect_is_alone_in_a_job_of_one(bare_environment):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "NODE_RANK": 0}.items():
        bare_environment.setenv(name, str(value))
    assert isinstance(connect(), SelfCommunicator)


def test_connect_refuses_an_mpi_job_it_knows_nothing_of(bare_environment):
    bare_environment.setenv("PMI_SIZE", "2")
    with pytest.raises(DistError, match=r"started 2 processes \(PMI_SIZE\) but WORLD_SIZE is not set; start with"):
        connect()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "nccl"}, 'no "nccl" communicator yet'),
        ({"backend": "gloo"}, "got 'gloo'"),
        ({"timeout_s": 0}, "timeout_s must be positive, got 0"),
    ],
)
def test_connect_refuses(bare_environment, arguments, message):
    with pytest.raises(DistError, match=message):
        connect(**arguments)
