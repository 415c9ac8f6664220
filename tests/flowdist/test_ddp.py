import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from flowdist import DistError, DistributedDataParallel, SelfCommunicator, ThreadCommunicator, UnusedParameterError
from flowdist.manifest import Entry, Manifest, first_difference
from flowdist.reducer import _Round
from flowdist.schedule import Schedule
from tests.flowdist.cases import cases_of
from tests.flowdist.ddp_cases import Parallel
from tests.flowdist.tiny import Loss, Module, Parameter, scale
from tests.helpers.ranks import ROOT, run_ranks, wait_until

CASES = cases_of("tests.flowdist.ddp_cases")


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_on_threads(case, size):
    run_ranks(size, CASES[case], timeout_s=20)


@pytest.mark.parametrize("case", CASES)
def test_on_threads_with_buckets_that_travel_after_backward(case, monkeypatch):
    monkeypatch.setattr(Schedule, "overlaps", lambda schedule, number: False)
    run_ranks(2, CASES[case], timeout_s=20)


class Counting:
    """A communicator that counts the collectives made on it and on its duplicates, and can be slow."""

    def __init__(self, inner, log=None, delay_s=0.0):
        self.inner, self.log, self.delay_s = inner, [] if log is None else log, delay_s
        self.rank, self.size, self.timeout_s = inner.rank, inner.size, inner.timeout_s

    def duplicate(self):
        return Counting(self.inner.duplicate(), self.log, self.delay_s)

    def __getattr__(self, name):
        def counted(*args):
            time.sleep(self.delay_s)
            self.log.append((name, args[0].size) if args and isinstance(args[0], np.ndarray) else (name, None))
            return getattr(self.inner, name)(*args)

        return counted


def test_nothing_is_sent_under_no_sync_nor_in_evaluation():
    def rank(inner):
        comm = Counting(inner)
        module = scale(w=[1.0])
        module.buffers["b"] = Parameter(1.0)
        model = Parallel(module, comm=comm)
        comm.log.clear()
        with model.no_sync():
            for _ in range(3):
                model(1.0).backward()
        model.eval()
        model(1.0)
        model.train()
        assert comm.log == []
        model(1.0).backward()
        assert [name for name, _ in comm.log] == ["broadcast", "allreduce"]
        model.close()

    run_ranks(2, rank)


def test_buckets_are_reduced_in_order_whatever_the_order_of_gradients():
    def rank(inner):
        comm = Counting(inner)
        widths = [64, 8, 128, 32, 16]
        module = Module({f"p{w}": Parameter(np.ones(w)) for w in widths}, lambda module, x: None)
        model = Parallel(module, comm=comm, bucket_size=1)
        comm.log.clear()
        order = np.random.default_rng(comm.rank).permutation(len(widths))
        Loss(0, [(model.parameters()[i], np.ones(widths[i])) for i in order]).backward()
        sizes = [size for name, size in comm.log if name == "allreduce"]
        model.close()
        return sizes

    first, *others = run_ranks(3, rank)
    assert others == [first, first]
    assert first == [16 + 4, 32 + 4, 128 + 4, 8 + 4, 64 + 4]  # reverse order of registration, four numbers each


def test_buckets_travel_while_backward_computes():
    def rank(inner):
        comm = Counting(inner, delay_s=0.1)
        model = Parallel(scale(w0=1.0, w1=1.0, w2=1.0, w3=1.0), comm=comm, bucket_size=1)
        comm.log.clear()
        sent_before = []

        def compute(parameter):
            sent_before.append(len(comm.log))
            time.sleep(0.15)

        model(1.0).backward(before_each=compute)
        model.close()
        return sent_before

    for sent_before in run_ranks(2, rank):
        assert sent_before[0] == 0
        assert sent_before[-1] >= 1


def test_buckets_travel_after_backward_where_the_schedule_says_so(monkeypatch):
    monkeypatch.setattr(Schedule, "overlaps", lambda schedule, number: number % 2 == 0)

    def rank(inner):
        comm = Counting(inner)
        model = Parallel(scale(w0=1.0, w1=1.0, w2=1.0), comm=comm, bucket_size=1)
        comm.log.clear()
        sent_before = []

        def compute(parameter):
            # the first round's thread gets its time to send what is ready
            wait_until(lambda: len(comm.log) >= len(sent_before), 5 if len(sent_before) < 3 else 0)
            sent_before.append(len(comm.log))

        for _ in range(2):
            model(1.0).backward(before_each=compute)
        model.close()
        return sent_before

    for sent_before in run_ranks(2, rank):
        assert sent_before == [0, 1, 2, 3, 3, 3]


def test_all_ranks_plan_with_the_sum_of_their_times(monkeypatch):
    noted = {}

    def note(schedule, number, seconds):
        noted.setdefault(threading.current_thread().name.split()[1], []).append((number, seconds))

    monkeypatch.setattr(Schedule, "note", note)

    def rank(inner):
        model = Parallel(scale(w0=1.0, w1=1.0), comm=inner, bucket_size=1)
        for milliseconds in (200, 0, 0):
            model(1.0).backward(before_each=lambda parameter, s=milliseconds / 1e3: time.sleep(s))
        model.close()

    run_ranks(2, rank)
    assert str(noted["0"]) == str(noted["1"])
    (before, unknown), (first, slow), (second, fast) = noted["0"]
    assert (before, first, second) == (-1, 0, 1)
    assert np.isnan(unknown)  # nothing was before
    assert slow >= 2 * 0.2  # from the first gradient, so one of the two sleeps, of two ranks
    assert 0 < fast < slow


def test_a_failed_round_has_no_time(monkeypatch):
    noted = []
    monkeypatch.setattr(Schedule, "note", lambda schedule, number, seconds: noted.append((number, seconds)))

    def rank(inner):
        model = Parallel(scale(w0=1.0, w1=1.0), comm=inner)
        model(1.0).backward()
        with pytest.raises(UnusedParameterError):
            Loss(0, [(model.module["w0"], 1.0)]).backward()
        model.zero_grad()
        model(1.0).backward()
        model.close()

    run_ranks(2, rank)
    numbers, seconds = zip(*sorted(noted, key=lambda each: each[0]), strict=True)
    assert numbers == (-1, -1, 1, 1)
    assert np.isnan(seconds[2:]).all()


def test_an_error_of_the_communicator_is_raised_by_backward_and_the_thread_survives():
    class Failing(Counting):
        fail = False

        def duplicate(self):
            Failing.last = Failing(self.inner.duplicate())
            return Failing.last

        def allreduce(self, buffer):
            if Failing.fail:
                raise DistError("the network is on fire")
            self.inner.allreduce(buffer)

    def rank(inner):
        model = Parallel(scale(w0=1.0, w1=1.0), comm=Failing(inner), bucket_size=1)
        inner.barrier()
        Failing.fail = True
        with pytest.raises(DistError, match="the network is on fire"):
            model(1.0).backward()
        inner.barrier()
        Failing.fail = False
        inner.barrier()
        model.zero_grad()
        model(inner.rank + 1.0).backward()
        assert model.gradients() == {"w0": 1.5, "w1": 1.5}
        model.close()

    run_ranks(2, rank)


@pytest.mark.parametrize("interrupted", ["in backward", "while waiting"])
def test_what_a_failed_backward_left_on_its_way_does_not_touch_the_next(interrupted, monkeypatch):
    wait = _Round.wait
    interrupt = {0, 1} if interrupted == "while waiting" else set()

    def interrupted_once(self, timeout_s):
        rank = int(threading.current_thread().name.split()[1])
        if rank in interrupt:
            interrupt.remove(rank)
            raise KeyboardInterrupt
        wait(self, timeout_s)

    def rank(inner):
        model = Parallel(scale(w0=1.0, w1=1.0), comm=Counting(inner, delay_s=0.2), bucket_size=1)

        def fail(parameter):
            if interrupted == "in backward" and parameter is model.module["w0"]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            model(100.0).backward(before_each=fail)
        model.zero_grad()
        with model.no_sync():
            model(inner.rank + 1.0).backward()
        time.sleep(0.5)  # a late reduction would have changed the local gradients by now
        assert model.gradients() == {"w0": inner.rank + 1.0, "w1": inner.rank + 1.0}
        model(inner.rank + 1.0).backward()
        assert model.gradients() == {"w0": 3.0, "w1": 3.0}
        model.close()

    monkeypatch.setattr(_Round, "wait", interrupted_once)
    run_ranks(2, rank)


def test_a_rank_that_never_comes_is_an_error_after_the_time_limit():
    comms = ThreadCommunicator.world(2, timeout_s=0.5)

    def absent():
        model = Parallel(scale(w=1.0), comm=comms[1])
        gone.wait(20)
        assert model.training

    gone = threading.Event()
    thread = threading.Thread(target=absent)
    thread.start()
    model = Parallel(scale(w=1.0), comm=comms[0])
    with pytest.raises(DistError, match=r"rank 0 waited 0.5 s in allreduce #\d+ \(12 x float64\) for rank 1"):
        model(1.0).backward()
    gone.set()
    thread.join(20)
    model.close()


def test_a_wrapper_nobody_closed_ends_its_thread_when_it_is_collected():
    modules = [scale(w=1.0), scale(w=1.0)]
    threads = []

    def rank(comm):
        model = Parallel(modules[comm.rank], comm=comm)
        model(1.0).backward()
        threads.append(model._reducer._thread._thread)
        return weakref.ref(model)

    references = run_ranks(2, rank)
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    assert wait_until(lambda: not any(thread.is_alive() for thread in threads), 10)
    assert [module["w"].grad_sink for module in modules] == [None, None]


def test_a_script_that_forgets_to_close_still_ends():
    script = """
import threading
from tests.flowdist.ddp_cases import Parallel
from tests.flowdist.tiny import scale
from flowdist import ThreadCommunicator
def rank(comm):
    model = Parallel(scale(w=1.0), comm=comm)
    kept.append(model)
    model(1.0).backward()
kept = []
threads = [threading.Thread(target=rank, args=(comm,)) for comm in ThreadCommunicator.world(2)]
[thread.start() for thread in threads]
"""
    subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, check=True, timeout=30
    )


# A job of one rank


def test_one_rank_has_plain_gradients_and_no_thread():
    before = threading.active_count()
    module = scale(w=[1.0, 1.0])
    model = DistributedDataParallel(module, comm=SelfCommunicator())
    for _ in range(2):
        model(3.0).backward()
    assert module["w"].grad_sink is None
    assert model.gradients() == {"w": [6.0, 6.0]}
    with model.no_sync():
        model(1.0).backward()
    model.sync_buffers()
    assert model.gradients() == {"w": [7.0, 7.0]}
    assert threading.active_count() == before
    model.close()


def test_one_rank_connects_by_itself():
    model = DistributedDataParallel(scale(w=1.0))
    model(2.0).backward()
    assert model.gradients() == {"w": 2.0}
    model.close()


# The wrapper


@pytest.fixture
def wrapped():
    module = scale(w=[1.0, 2.0])
    module.buffers["mean"] = Parameter(4.0)
    return module, DistributedDataParallel(module, comm=SelfCommunicator())


def test_names_have_no_prefix(wrapped):
    module, model = wrapped
    assert model.module is module
    assert model.state_dict().keys() == module.state_dict().keys() == {"w", "mean"}
    assert [name for name, _ in model.named_parameters()] == ["w"]
    assert model.parameters()[0] is module["w"]
    assert "state_dict" in dir(model)


def test_methods_that_return_the_module_return_the_wrapper(wrapped):
    module, model = wrapped
    assert model.eval() is model
    assert not module.training
    assert model.train() is model
    assert module.training


def test_attributes_are_set_on_the_module(wrapped):
    module, model = wrapped
    model.training = False
    model.tag = "x"
    assert (module.training, module.tag) == (False, "x")
    del model.tag
    assert not hasattr(module, "tag")
    for name in ("module", "_comm"):
        with pytest.raises(AttributeError, match="cannot be replaced"):
            setattr(model, name, None)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = model.no_such_thing


def test_repr_shows_what_is_inside(wrapped):
    assert repr(wrapped[1]) == "DistributedDataParallel(\n  Module(\n    tiny\n  )\n)"


def test_unused_is_an_error_of_its_own_kind():
    assert issubclass(UnusedParameterError, DistError)


# What two manifests differ in


def manifest(**changes):
    fields = {
        "class_name": "Net",
        "options": (("bucket_size", 10),),
        "parameters": (Entry("w", (2,), "float32", True),),
        "buffers": (Entry("b", (), "int64"),),
    }
    return Manifest(**(fields | changes))


def test_equal_manifests_have_equal_digests_and_no_difference():
    assert manifest().digest() == manifest().digest()
    assert first_difference([manifest(), manifest()]) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"class_name": "Not"}, "class of the module: Net on ranks 0, 2; Not on rank 1"),
        ({"options": (("bucket_size", None),)}, "option bucket_size: 10 on ranks 0, 2; None on rank 1"),
        (
            {"buffers": (Entry("b", (), "int32"),)},
            "dtype of buffer 'b': int64 on ranks 0, 2; int32 on rank 1",
        ),
        ({"buffers": ()}, "buffer number 0 (of 0 or 1): 'b' on ranks 0, 2; none on rank 1"),
    ],
)
def test_the_first_difference_is_named(change, expected):
    changed = manifest(**change)
    assert changed.digest() != manifest().digest()
    assert first_difference([manifest(), changed, manifest()]) == expected
