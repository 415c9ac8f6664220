"""Calls that differ between operating systems, each with its fallback beside it.

:data:`features` says which of the special calls are in use. The consumer sends it to its workers, so that taking a
name out of it in one place forces the fallbacks everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
import termios
from array import array

from flowdata.resources import free_memory

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20  # bytes; what glibc accepts at most
_KEPT = 2 * _LARGEST_KEPT


def _available() -> frozenset[str]:
    found = {
        "memfd": hasattr(os, "memfd_create"),
        "reserve": hasattr(os, "posix_fallocate"),
        "parent_death_signal": sys.platform == "linux",
        "read_into": hasattr(os, "preadv"),
        "keep_freed_memory": sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"),
    }
    return frozenset(name for name, exists in found.items() if exists)


features: frozenset[str] = _available()


def use_features(names: frozenset[str]) -> None:
    """Use the named special calls only."""
    global features
    features = names


def unnamed_memory(size: int) -> int:
    """A descriptor of ``size`` bytes of memory that no name leads to, so that nothing can be left behind.

    The fallback is a temporary file that is unlinked at once, in memory where the system has such a folder.
    """
    if "memfd" in features:
        descriptor = os.memfd_create("flowdata-slots", os.MFD_CLOEXEC)
    else:
        import tempfile  # it brings compression along, half a megabyte that every process would hold

        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        descriptor, path = tempfile.mkstemp(prefix="flowdata-", dir=folder)
        os.unlink(path)
    os.ftruncate(descriptor, size)
    return descriptor


def reserve(descriptor: int, offset: int, size: int) -> None:
    """Make the system provide these bytes now: most of what first touch costs, and too little memory is an error.

    Without the call, pages come at first touch, and a full temporary folder ends the process that touches. Mapping
    the pages ahead as well would only move the rest of that cost in front of the first batch.

    Raises:
        OSError: there is not that much memory.
    """
    if "reserve" in features and size:
        if size > free_memory():
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # the kernel would go on until it kills somebody
        os.posix_fallocate(descriptor, offset, size)


def bytes_in_pipe(descriptor: int) -> int:
    """Bytes written to a pipe that nobody has read yet; 0 where the system does not tell the writer."""
    if sys.platform != "linux":
        return 0
    count = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write bytes at an offset; the file grows as needed, and what lies between takes no memory."""
    while data:  # one call writes 2 GiB at most
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def read_at(descriptor: int, target: memoryview, offset: int) -> None:
    """Fill ``target`` with the bytes at an offset."""
    while target:
        if "read_into" in features:
            size = os.preadv(descriptor, [target], offset)
        else:
            data = os.pread(descriptor, len(target), offset)
            size = len(data)
            target[:size] = data
        if size == 0:
            raise EOFError(f"expected {len(target)} more bytes at offset {offset}")
        target, offset = target[size:], offset + size


def keep_freed_memory() -> None:
    """Let the C library keep what this process and its children free, instead of giving it back to the system.

    A worker needs the same few megabytes for each picture; the system would clear every page of them anew. Where
    there is no such call, only time is lost.
    """
    if "keep_freed_memory" in features:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent, the process ``parent``, dies.

    It works even while native code holds the interpreter, where a thread could do nothing; where there is no such
    call, the worker's watchdog thread is left.
    """
    if "parent_death_signal" in features:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)  # it died before the call
