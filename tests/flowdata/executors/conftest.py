"""Every test here must leave no process, no thread, no shared memory and no file behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowdata.executors.thread import THREAD_NAME
from tests.flowdata.executors import synthetic

Gone = Callable[[float], dict[int, str]]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Marks this test's processes; they must all be gone when it ends."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(synthetic.TOKEN, value)
    files = named_memory()
    yield value
    gc.collect()
    left = wait_until_gone(value, 2.0)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"processes left behind: {left}"
    assert not [each.name for each in threading.enumerate() if each.name.startswith(THREAD_NAME)]
    assert named_memory() == files
    assert synthetic.slot_mappings() == 0


@pytest.fixture
def gone(token: str) -> Gone:
    """Wait until no process of this test is left; returns those that are, after so many seconds."""
    return lambda seconds: wait_until_gone(token, seconds)


def wait_until_gone(token: str, seconds: float) -> dict[int, str]:
    deadline = time.monotonic() + seconds
    while (left := synthetic.family(token)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def named_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("flowdata-*")}
