"""Sides in processes of their own: how they get ready, answer, fail and end."""

from __future__ import annotations

import sys
import time
from typing import Any

import psutil
import pytest

from benchmarks.computing.harness import ROOT, Side, SideFailed, SideMissing

SERVE = """
import os, sys
sys.path.insert(0, {root!r})
from benchmarks.computing.answering import Missing, serve
def prepare():
    {prepare}
    return {{"double": lambda value: 2 * value, "threads": lambda: os.environ["OMP_NUM_THREADS"],
            "leave": lambda: os._exit(3), "rank": lambda: sys.argv[3], "divide": lambda by: 1 / by}}
serve(sys.argv[2], int(sys.argv[3]), prepare)
"""


def side(prepare: str = "pass", **options: Any) -> Side:
    code = SERVE.format(root=str(ROOT), prepare=prepare)
    return Side("it", "module", ["0"], threads=3, launcher=(sys.executable, "-c", code), **options)


def test_it_answers_and_ends() -> None:
    with side() as it:
        process = psutil.Process(it.pid)
        assert it.ask("double", value=21) == [42]
        assert it.ask("threads") == ["3"]
    assert not process.is_running()


def test_answers_come_in_rank_order() -> None:
    code = SERVE.format(root=str(ROOT), prepare="import time; time.sleep(0.5 * (sys.argv[3] == '0'))")
    both = (
        "import subprocess, sys; code, *rest = sys.argv[1:]\n"
        "started = [subprocess.Popen([sys.executable, '-c', code, *rest, rank]) for rank in '01']\n"
        "sys.exit(max(each.wait() for each in started))"
    )
    with Side("it", "module", [], threads=1, ranks=2, launcher=(sys.executable, "-c", both, code)) as it:
        assert it.ask("rank") == ["0", "1"]


def test_what_cannot_run_says_why() -> None:
    with pytest.raises(SideMissing, match="install the thing"):
        side("raise Missing('install the thing')")


def test_what_fails_shows_its_last_words() -> None:
    with pytest.raises(SideFailed, match="ValueError: no good"):
        side("raise ValueError('no good')")
    with pytest.raises(SideFailed, match=r"(?s)'it' ended without an answer:.*last words"):
        side("print('last words', flush=True); os._exit(1)")
    with side() as it, pytest.raises(SideFailed, match="ZeroDivisionError"):
        it.ask("divide", by=0)


def test_one_that_dies_is_noticed() -> None:
    with side() as it, pytest.raises(SideFailed, match="ended without an answer"):
        it.ask("leave")


def test_an_error_here_ends_it_at_once() -> None:
    with pytest.raises(RuntimeError), side() as it:  # noqa: PT012 - the side is needed afterwards
        process = psutil.Process(it.pid)
        raise RuntimeError
    assert not process.is_running()


def test_what_it_started_ends_with_it() -> None:
    child = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    it = side(child)
    (grandchild,) = psutil.Process(it.pid).children()
    it.close()
    end = time.monotonic() + 5
    while grandchild.is_running() and grandchild.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
