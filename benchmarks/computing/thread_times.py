"""CPU time by thread of this process (Linux)."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

COMPUTE = "compute"  # the thread that runs the program


def cpu_seconds() -> dict[int, float]:
    """CPU time of every thread by its number; of those that have ended there is none."""
    found = {}
    for folder in Path("/proc/self/task").glob("*"):
        try:
            found[int(folder.name)] = _of_thread(folder)
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return found


def _of_thread(folder: Path) -> float:
    try:
        return int((folder / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:  # a kernel without it counts in hundredths of a second
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shares(before: Mapping[int, float], after: Mapping[int, float], names: Mapping[int, str]) -> dict[str, float]:
    """Share of the process's CPU time that each thread had between two readings; threads of one name together.

    >>> shares({1: 2.0}, {1: 5.0, 2: 1.0}, {1: "compute", 2: "flowdist-reduce"})
    {'compute': 0.75, 'flowdist-reduce': 0.25}
    """
    used = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
    total = sum(used.values()) or 1.0
    result: dict[str, float] = {}
    for thread, seconds in used.items():
        name = names.get(thread, f"thread {thread}")
        result[name] = result.get(name, 0.0) + seconds / total
    return result


def names() -> dict[int, str]:
    """What threads are called: by Python where it started them, else by the system, with their number."""
    python = {each.native_id: each.name for each in threading.enumerate()}
    found = {}
    for folder in Path("/proc/self/task").glob("*"):
        thread = int(folder.name)
        try:
            system = (folder / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[thread] = python.get(thread, f"{system} {thread}")
    return {**found, os.getpid(): COMPUTE}
