"""Kernels of oneDNN on the CPU, through the C API (version 3) of `libdnnl.so.3` and ctypes.

* `library` finds and loads it, and declares the functions that are called.
* `memory` describes arrays to it by their strides, and gives buffers.
* `primitives` holds what it compiles for given shapes in a bounded cache, and runs it.
* The other modules register bodies of kernels, one family each.

A kernel computes in the thread that calls it and the threads of the OpenMP runtime, as many as `flownn.kernels.threads`
says. A process forked after a kernel ran has no such threads and must not call one; workers of `flowdata` are forked
from a server that never does.
"""

from __future__ import annotations

__all__ = ["describe"]


def describe() -> str:
    """Load the library and give its name and version.

    Raises:
        Unavailable: it cannot be loaded, or does not serve this processor.
    """
    from flownn.kernels.onednn.library import load

    return load().description
