"""The processes of a job: who they are, how they die with their parent, what they may leave behind.

Everything that depends on the operating system lives here. Every process of a job carries ``FLOWRUN_RUN_ID`` in the
environment it was started with, so it is found even when its parent is gone; nothing is ever ended by its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TAG = "FLOWRUN_RUN_ID"
POLL_S = 0.02
ENGINE_CLEANUP_S = 1.0  # the engine removes its own files when its ranks are gone
ORPHAN_GRACE_S = 1.0  # what a job gets when flowrun itself was killed
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signum: int) -> None:
    """Let the kernel send ``signum`` to this process when its parent ends.

    Elsewhere than on Linux this does nothing: there the janitor ends what is left.
    """
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def flush_c_streams() -> None:
    """Write out what C code printed; ``os._exit`` would drop it."""
    _libc.fflush(None)


def line_buffer_c_stdout() -> None:
    """Make C's stdout line-buffered although it is a file, so that a killed rank's last lines are not lost."""
    if sys.platform == "linux":
        io_line_buffered = 1
        _libc.setvbuf(ctypes.c_void_p.in_dll(_libc, "stdout"), None, io_line_buffered, ctypes.c_size_t(0))


def processes_of(run_id: str) -> set[int]:
    """The living processes of a job (zombies are not), this process excepted."""
    found = _from_proc(run_id) if os.path.exists("/proc/self/environ") else _from_ps(run_id)
    return found - {os.getpid()}


def _from_proc(run_id: str) -> set[int]:
    wanted = f"{TAG}={run_id}".encode()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            # Gone meanwhile, or somebody else's: neither is ours.
            with contextlib.suppress(OSError):
                if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    found.add(int(name))
    return found


def _from_ps(run_id: str) -> set[int]:
    """The same where there is no /proc: BSD ``ps e`` appends the environment to the command."""
    listing = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    wanted = f"{TAG}={run_id}"
    return {int(line.split(None, 1)[0]) for line in listing.splitlines() if wanted in line.split()}


def end_processes(run_id: str, engine_pid: int | None) -> None:
    """End every process of a job that still lives, at once: SIGKILL, the engine last.

    The engine is spared for a moment, because ``mpiexec`` and its proxies remove their files when their ranks end
    and leave them behind when they are killed.
    """

    def without_engine() -> set[int]:
        living = processes_of(run_id)
        return {pid for pid in living if pid != engine_pid and parent_of(pid) != engine_pid}

    _kill_until_none(without_engine, deadline=time.monotonic() + ENGINE_CLEANUP_S)
    wait_until_none(lambda: processes_of(run_id), time.monotonic() + ENGINE_CLEANUP_S)
    _kill_until_none(lambda: processes_of(run_id), deadline=time.monotonic() + ENGINE_CLEANUP_S)


def wait_until_none(living: Callable[[], set[int]], deadline: float) -> bool:
    """Wait until ``living()`` is empty or the (monotonic) deadline is there; tell whether it is empty."""
    while living():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _kill_until_none(living: Callable[[], set[int]], deadline: float) -> None:
    while (pids := living()) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def parent_of(pid: int) -> int | None:
    """The parent's pid, or None when the process is gone."""
    if not os.path.exists("/proc/self/stat"):
        answer = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return int(answer) if answer else None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # after the name, which may hold anything


def remove_mpich_leftovers(since: float) -> list[Path]:
    """Remove the files MPICH leaves after an abnormal end, if they are provably nobody's.

    Only files of this user from ``since`` (seconds since the epoch) on are looked at, and only those that no process
    has open or mapped are removed: the ranks of another job map their shared memory, and its Hydra proxy holds its
    topology file (always in /tmp) open.
    """
    found = [*_own_files("/dev/shm", "mpich_shm_*", since), *_own_files("/tmp", "hydra_hwloc_xmlfile_*", since)]
    removed = []
    for path in _unused(found):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed.append(path)
    return removed


def _own_files(folder: str, pattern: str, since: float) -> list[Path]:
    found = []
    for path in Path(folder).glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_uid == os.getuid() and status.st_mtime >= since:
                found.append(path)
    return found


def _unused(paths: list[Path]) -> list[Path]:
    """Those that no process has open or mapped; none where there is no /proc to tell."""
    left = {str(path) for path in paths} if os.path.exists("/proc/self/maps") else set()
    for entry in os.listdir("/proc") if left else []:
        if entry.isdigit():
            left -= _opened(entry) | _mapped(entry)
    return [Path(path) for path in sorted(left)]


# In both: a process that is gone, or another user's, does not use files of this one.


def _opened(pid: str) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed since
                found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


def _mapped(pid: str) -> set[str]:
    with contextlib.suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        return {words[5] for line in maps.splitlines() if len(words := line.split(None, 5)) == 6}
    return set()


class Janitor:
    """A small process that ends the job and removes its files when flowrun is killed.

    It sees flowrun's death as the end of a pipe, so SIGKILL is no exception. ``dismiss`` sends it away.
    """

    def __init__(self, run_id: str, since: float) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            # Never returns into flowrun's code, whatever happens.
            try:
                os.close(self._writer)
                self._watch(reader, run_id, since)
            finally:
                os._exit(0)
        os.close(reader)

    def tell_engine(self, pid: int) -> None:
        """Name the engine's process, which is ended last."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, f"engine {pid}\n".encode())

    def dismiss(self) -> None:
        """Flowrun has cleaned up itself."""
        with contextlib.suppress(BrokenPipeError):  # somebody killed it
            os.write(self._writer, b"done\n")
        os.close(self._writer)
        os.waitpid(self._pid, 0)

    @staticmethod
    def _watch(reader: int, run_id: str, since: float) -> None:
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(signum, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # a reader of flowrun's output must not wait for the janitor
            os.dup2(nothing, stream)
        with os.fdopen(reader, "rb") as pipe:
            words = pipe.read().split()
        if b"done" in words:
            return
        engine_pid = int(words[1]) if words else None
        # The engine got SIGTERM from the kernel and passes it on; then nobody has time left.
        wait_until_none(lambda: processes_of(run_id), time.monotonic() + ORPHAN_GRACE_S)
        end_processes(run_id, engine_pid)
        remove_mpich_leftovers(since)
