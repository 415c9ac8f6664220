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
from collections.abc import Callable, Iterator
from pathlib import Path

TAG = "FLOWRUN_RUN_ID"
POLL_S = 0.02
ENGINE_CLEANUP_S = 1.0  # the engine removes its own files when its ranks are gone
ORPHAN_GRACE_S = 1.5  # what a job gets when flowrun itself was killed
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
    wanted = f" {TAG}={run_id}"
    return {int(line.split(None, 1)[0]) for line in listing.splitlines() if wanted in line}


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

    Only files of this user from ``since`` (seconds since the epoch) on are looked at. A shared-memory file is
    removed when no process maps it, a topology file when no living Hydra proxy is old enough to have written it:
    other jobs on this machine keep theirs.
    """
    removed = []
    for path in [*_unmapped(_own_files("/dev/shm", "mpich_shm_*", since)), *_without_proxy(since)]:
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


def _unmapped(paths: list[Path]) -> list[Path]:
    """Those that no process maps, asked twice: a file is mapped an instant after it is made."""
    for pause in (0.0, 0.1):
        if not paths:
            break
        time.sleep(pause)
        used = {path for _, maps in _read_all_proc("maps") for path in paths if path.name.encode() in maps}
        paths = [path for path in paths if path not in used]
    return paths


def _without_proxy(since: float) -> list[Path]:
    """Hydra's topology files (always in /tmp) whose writer is dead."""
    paths = _own_files("/tmp", "hydra_hwloc_xmlfile_*", since)
    if not paths:
        return []
    starts = [
        Path(f"/proc/{pid}").stat().st_mtime if os.path.exists(f"/proc/{pid}") else float("inf")
        for pid, command in _read_all_proc("cmdline")
        if b"hydra_pmi_proxy" in command.split(b"\0", 1)[0]
    ]
    return [path for path in paths if path.exists() and all(start > path.stat().st_mtime for start in starts)]


def _read_all_proc(name: str) -> Iterator[tuple[int, bytes]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # gone, or another user's, whose files are not ours
                yield int(entry), Path("/proc", entry, name).read_bytes()


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
