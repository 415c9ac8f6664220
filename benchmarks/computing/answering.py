"""The process of a side: connects to the benchmark that started it and answers one JSON line with another."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CHUNK_S = 0.005  # the clock is read once in so long


class Missing(Exception):
    """This side cannot run here; the text says why."""


def serve(address: str, rank: int, prepare: Callable[[], Mapping[str, Callable[..., Any]]]) -> None:
    """Make what the side can do, say that it is ready, and do what is asked until the benchmark has heard enough.

    Args:
        address: Path of the benchmark's socket.
        rank: Which process of the side this one is.
        prepare: Returns functions by name; their keyword arguments and results are plain values.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(address)
        stream = channel.makefile("rw", encoding="utf-8")

        def tell(**message: Any) -> None:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        try:
            functions = prepare()
        except Missing as missing:
            tell(rank=rank, missing=str(missing))
            return
        except Exception:
            tell(rank=rank, error=traceback.format_exc())
            return
        tell(rank=rank)
        for line in stream:
            request = json.loads(line)
            try:
                tell(answer=functions[request.pop("do")](**request))
            except Exception:
                tell(error=traceback.format_exc())
                return


def timed(call: Callable[[], object], seconds: float, least: int) -> dict[str, float]:
    """Call again and again, at least so long and so often: seconds and CPU seconds of one call."""
    inner = _calls_per_chunk(call)
    count = 0
    cpu, start = time.process_time(), time.perf_counter()
    now = start
    while count < least or now - start < seconds:
        for _ in range(inner):
            call()
        count += inner
        now = time.perf_counter()
    return {"seconds": (now - start) / count, "cpu_seconds": (time.process_time() - cpu) / count, "calls": count}


def _calls_per_chunk(call: Callable[[], object]) -> int:
    inner = 1
    while True:
        start = time.perf_counter()
        for _ in range(inner):
            call()
        if time.perf_counter() - start >= CHUNK_S:
            return inner
        inner *= 4


def warm_up(call: Callable[[], object], seconds: float, least: int = 2) -> None:
    """Call until memory, caches and compiled code are what they stay."""
    start, count = time.perf_counter(), 0
    while count < least or time.perf_counter() - start < seconds:
        call()
        count += 1
    gc.collect()


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:  # the other figure starts with what the parent had
        return int(found[1]) << 10
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
