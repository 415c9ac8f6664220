"""Things done by several threads: all of them, once, with the caller's settings, and errors that arrive."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import flownn as flow
from flownn.kernels.threads import thread_settings, usable_cpus
from flownn.optim import blocks, threads
from tests.helpers.update_rules import RULES

needs_two = pytest.mark.skipif(usable_cpus() < 2, reason="this process may use one processor only")


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_settings, "count", 2)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_every_item_once(count: int, two_threads: None) -> None:
    found: list[int] = []
    threads.for_each(found.append, range(count))
    assert sorted(found) == list(range(count))


def test_more_than_one_thread(two_threads: None) -> None:
    meeting = threading.Barrier(2)  # breaks, which is an error, if one thread alone comes here
    seen: set[int] = set()

    def meet(item: int) -> None:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            meeting.wait(10)

    threads.for_each(meet, range(20))
    assert len(seen) == 2


def test_one_thread_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_settings, "count", 1)
    seen: set[int] = set()
    threads.for_each(lambda item: seen.add(threading.get_ident()), range(100))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_arrives_when_all_have_ended(bad: int, two_threads: None) -> None:
    running = threading.Event()

    def work(item: int) -> None:
        if item == bad:
            raise KeyError(item)
        if item == 1 - bad:
            running.set()

    with pytest.raises(KeyError):
        threads.for_each(work, range(16))
    assert running.is_set()


def test_numpy_raises_in_every_thread_where_the_caller_wants_it(two_threads: None) -> None:
    large = np.full(3, 1e38, np.float32)
    with np.errstate(over="raise"):
        for item in (0, 1):  # one for each thread
            with pytest.raises(FloatingPointError):
                threads.for_each(lambda i, bad=item: large * np.float32(1e30) if i == bad else None, range(16))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(two_threads: None) -> None:
    threads.for_each(lambda item: None, range(16))
    child = os.fork()
    if child == 0:
        found: list[int] = []
        threads.for_each(found.append, range(16))
        os._exit(0 if sorted(found) == list(range(16)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_two
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_optimizers_step_to_the_same_bits_with_two_threads(rule: tuple[str, dict], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "HOST", blocks.Limits(8, 20))
    name, options = rule
    results = []
    for count in (1, 2):
        monkeypatch.setattr(thread_settings, "count", count)
        rng = np.random.default_rng(3)
        parameters = [flow.nn.Parameter(flow.from_numpy(rng.standard_normal(n).astype("f4"))) for n in (500, 7, 333)]
        optimizer = getattr(flow.optim, name)(parameters, **options)
        for _ in range(4):
            for p in parameters:
                p.grad = flow.from_numpy(rng.standard_normal(p.shape).astype("f4"))
            optimizer.step()
        results.append([p.data for p in parameters])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
