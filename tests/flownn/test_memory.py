"""Freed memory stays with the process once it trains: seen in the page faults of a step that was run before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flownn import memory

# Arrays of 48 MiB, which glibc left alone always maps anew; a step touches 12288 pages each.
STEPS = """
import os, resource
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"  # count pages of 4 KiB
import flownn as flow
from flownn import memory
{before}
x = flow.ones(12 << 20, requires_grad=True)
for _ in range(3):
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ((x * x) * x).sum().backward()
    x.grad = None
    {after}
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""

needs_glibc = pytest.mark.skipif(memory._glibc() is None, reason="the allocator of this system is not glibc's")


def faults_of_a_later_step(before: str = "", after: str = "", **environment: str) -> int:
    """Minor faults of the third of three equal steps in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name != memory.VARIABLE}
    done = subprocess.run([sys.executable, "-c", STEPS.format(before=before, after=after)], check=True, timeout=120,
                          env=clean | environment, capture_output=True, text=True)  # fmt: skip
    return int(done.stdout)


@needs_glibc
def test_a_step_that_was_run_before_faults_in_no_pages() -> None:
    assert faults_of_a_later_step() < 1000


@needs_glibc
def test_it_can_be_switched_off() -> None:
    assert faults_of_a_later_step(FLOWNN_KEEP_MEMORY="0") > 12000
    assert faults_of_a_later_step(before="memory.keep_freed_memory(False)") > 12000
    assert faults_of_a_later_step(after="memory.keep_freed_memory(False)") > 12000  # returns what was kept


@needs_glibc
def test_the_function_goes_before_the_variable() -> None:
    assert faults_of_a_later_step(before="assert flow.keep_freed_memory()", FLOWNN_KEEP_MEMORY="0") < 1000


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.VARIABLE, "no")
    with pytest.raises(ValueError, match="FLOWNN_KEEP_MEMORY: expected 0 or 1, got 'no'"):
        memory.prepare()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "decided", False)
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert memory.keep_freed_memory() is False
    memory.decided = False
    memory.prepare()
    assert memory.decided
