"""What figures depend on: the machine, its limits and the versions of what ran."""

from __future__ import annotations

import math
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from flowdata.resources import cgroup_cpus, usable_cpus

PACKAGES = ("flowstack", "numpy", "opencv-python-headless")


def environment() -> dict[str, Any]:
    """CPU, cores, control group, kernel and versions, as plain values."""
    memory = psutil.virtual_memory()
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": cpu_capacity(),
        "cgroup_cpus": cgroup_cpus(),
        "memory_gib": round(memory.total / 2**30, 1),
        "kernel": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def cpu_capacity() -> float:
    """Processors' worth of time that this process may use: by affinity, and by quota, which need not be whole."""
    return min(usable_cpus(), cgroup_cpus() or math.inf)


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from the source tree" if package == "flowstack" else "not installed"
