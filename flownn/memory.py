"""Memory that a training step frees stays with the process, for the next step; see docs/adr/0018.

Left alone, glibc gives large arrays back to the kernel when they are freed and gets them again, page by page and
zeroed, when the next step makes the same ones. The first backward of a process therefore tells it not to; the
environment variable ``FLOWNN_KEEP_MEMORY=0`` or `keep_freed_memory` keeps it from doing so.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_memory", "prepare"]

VARIABLE = "FLOWNN_KEEP_MEMORY"

# of <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

_LARGEST = 1 << 30  # bytes; a larger block, a data set say, is mapped by itself and returned when freed
_OLD_LARGEST = 32 << 20  # what glibc below 2.35 takes at most
_NEVER = (1 << 31) - 1

decided = False  # whether this process has been told; read at every backward


def keep_freed_memory(enabled: bool = True) -> bool:
    """Keep the memory of freed arrays for the arrays to come, or give it back to the system.

    The first backward does this by itself unless the environment variable ``FLOWNN_KEEP_MEMORY`` is ``0`` or this
    function was called before: call it with True before inference alone, with False where other processes need the
    memory between steps. It concerns every library of the process that uses C's allocator, only where that is glibc's.

    Args:
        enabled: Keep it; blocks above 1 GiB go back in any case. False also returns what is free now, and from then
            on what becomes free at the end of the heap and every block above 32 MiB.

    Returns:
        Whether the allocator took the setting; False where it is not glibc's.

    >>> keep_freed_memory() in (True, False)
    True
    """
    global decided
    decided = True
    libc = _glibc()
    if libc is None:
        return False
    if enabled:
        took = libc.mallopt(_MMAP_THRESHOLD, _LARGEST) or libc.mallopt(_MMAP_THRESHOLD, _OLD_LARGEST)
        return bool(took and libc.mallopt(_TRIM_THRESHOLD, _NEVER))
    # what glibc's own adaptation ends at; it cannot be switched on again
    took = libc.mallopt(_MMAP_THRESHOLD, _OLD_LARGEST) and libc.mallopt(_TRIM_THRESHOLD, 2 * _OLD_LARGEST)
    libc.malloc_trim(0)
    return bool(took)


def prepare() -> None:
    """What the first backward of a process calls: keep freed memory, unless the user has said something else.

    Raises:
        ValueError: the environment variable is neither 0 nor 1.
    """
    global decided
    setting = os.environ.get(VARIABLE, "1")
    if setting not in ("0", "1"):
        raise ValueError(f"{VARIABLE}: expected 0 or 1, got {setting!r}")
    if setting == "1":
        keep_freed_memory()
    decided = True


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):  # another system, another C library
        return None
    return ctypes.CDLL(None) if version and version.startswith("glibc") else None
