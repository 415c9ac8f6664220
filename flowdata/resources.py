"""How much of this machine this process may use: processors and memory, by affinity and control group."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def cgroup_cpus(root: Path = _CGROUPS) -> float | None:
    """CPUs' worth of time that the control group (v2 or v1) grants, or None for no limit."""
    try:
        if (v2 := root / "cpu.max").exists():
            quota, period = v2.read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def usable_cpus() -> int:
    """Processors that this process may use at once: affinity and control group together, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpus()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cpus_of_this_rank() -> int:
    """This process's part of the usable processors, which the ranks on a machine share; at least 1."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")  # set by every launcher of ranks that says how many there are
    return max(1, usable_cpus() // (int(ranks) if ranks.isdecimal() and int(ranks) else 1))


def cgroup_memory(root: Path = _CGROUPS) -> int | None:
    """Bytes that the control group (v2 or v1) still grants, or None for no limit.

    What it holds of files counts as free: the system drops it when it needs the room.
    """
    v2 = (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file")
    v1 = (
        root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes", root / "memory/memory.stat",
        "total_inactive_file",
    )  # fmt: skip
    limit, usage, statistics, files = v2 if v2[0].exists() else v1
    try:
        granted = limit.read_text().strip()
        if granted == "max" or int(granted) >= 1 << 62:  # how version 1 says that there is no limit
            return None
        counts = dict(line.split() for line in statistics.read_text().splitlines())
        return max(0, int(granted) - int(usage.read_text()) + int(counts.get(files, 0)))
    except (OSError, ValueError):
        return None


def free_memory(root: Path = _CGROUPS, meminfo: Path = _MEMINFO) -> float:
    """Bytes that could be taken without pushing anything else out; infinity where the system does not say."""
    free: float = math.inf
    try:
        sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = sum(int(sizes[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024
    except (OSError, KeyError):
        pass
    granted = cgroup_memory(root)
    return free if granted is None else min(free, granted)
