"""What each rank starts through: ``python -m flowrun.wrapper --log-dir DIR --nodes 2,2 (script.py | -m module) ...``.

Two processes per rank. The *rank* runs the program: same interpreter, own log files, an error record when it fails.
Its parent, the *attendant*, only waits: it alone learns how the rank ended when it could not say so itself (SIGKILL,
a crash in C), whatever the engine. Both live in the process group that the engine signals, so the attendant ignores
what is meant for the rank, and the rank dies with the attendant.

Files of rank 3 in the log directory: ``rank-00003.out``, ``.err``, ``.started.json``, ``.error.json`` (written by the
rank), ``.exit.json`` (written by the attendant).
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.machinery
import importlib.util
import io
import json
import os
import signal
import socket
import sys
import time
import traceback
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from flowrun import processes
from flowrun.errors import LaunchError

# The first complete pair names rank and size. The local engine sets the first; Hydra inside Slurm sets the third
# and inherits the last.
RANK_VARIABLES = (
    ("FLOWRUN_RANK", "FLOWRUN_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class MainNotFound(LaunchError):
    """The module to run does not exist or cannot be run."""

    exit_code = 1


def main(argv: list[str] | None = None) -> None:
    """Set the rank up, start it, and wait for it; only the rank returns, after a normal end."""
    arguments = _parser().parse_args(argv)
    nodes = [int(ranks) for ranks in arguments.nodes.split(",")]
    log_dir = Path(arguments.log_dir)
    if not log_dir.is_dir():
        raise SystemExit(f"flowrun: {log_dir} does not exist on {socket.gethostname()}; --log-dir must be shared")
    identity = rank_environment(os.environ, nodes)
    rank = int(identity["RANK"])
    files = RankFiles(log_dir, rank)
    threads = thread_environment(os.environ, arguments.omp_threads, int(identity["LOCAL_WORLD_SIZE"]), _cores())
    os.environ.update(identity | threads)
    os.environ.update({"FLOWRUN_RUN_DIR": str(log_dir), "FLOWRUN_ERROR_FILE": str(files.error)})
    processes.die_with_parent(signal.SIGKILL)
    _redirect(files)
    attendant = os.getpid()
    child = os.fork()
    if child:
        _attend(child, files)
    processes.die_with_parent(signal.SIGKILL)
    if os.getppid() != attendant:  # it died before the line above
        os._exit(128 + signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when flowrun was started in the background
    run_program(arguments.module, arguments.program, arguments.arguments, files)


class RankFiles:
    """The files of one rank in the log directory."""

    def __init__(self, log_dir: Path, rank: int) -> None:
        self.rank = rank
        self.out, self.err, self.started, self.error, self.exit = (
            log_dir / f"rank-{rank:05d}.{suffix}"
            for suffix in ("out", "err", "started.json", "error.json", "exit.json")
        )


def rank_environment(environ: Mapping[str, str], nodes: list[int]) -> dict[str, str]:
    """RANK and relatives, from the engine's variables and the number of ranks on each node.

    Raises:
        SystemExit: the engine says nothing, or another number of ranks than was planned.
    """
    for rank_name, size_name in RANK_VARIABLES:
        if rank_name in environ and size_name in environ:
            rank, size = int(environ[rank_name]), int(environ[size_name])
            break
    else:
        wanted = ", ".join("+".join(pair) for pair in RANK_VARIABLES)
        raise SystemExit(f"flowrun: the engine gave this process no rank; expected one of {wanted}")
    if size != sum(nodes):
        raise SystemExit(f"flowrun: the engine started {size} ranks ({size_name}), {sum(nodes)} were planned")
    node, first = 0, 0
    while rank >= first + nodes[node]:
        first += nodes[node]
        node += 1
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank - first),
        "LOCAL_WORLD_SIZE": str(nodes[node]),
        "NODE_RANK": str(node),
        "NNODES": str(len(nodes)),
    }


def thread_environment(environ: Mapping[str, str], asked: int | None, local_size: int, cores: int) -> dict[str, str]:
    """Thread counts of the BLAS and OpenMP libraries: as asked, else as the environment says, else a fair share."""
    if asked is not None:
        return dict.fromkeys(THREAD_VARIABLES, str(asked))
    share = environ.get("OMP_NUM_THREADS", str(max(1, cores // local_size)))
    return {name: environ.get(name, share) for name in THREAD_VARIABLES}


def run_program(is_module: bool, program: str, arguments: list[str], files: RankFiles) -> None:
    """Run the program in this process as ``python`` would; a failure is recorded and ends the process at once.

    Ending at once skips the orderly shutdown on purpose: MPI_Finalize would wait for ranks that wait for this one.
    """
    try:
        (_run_module if is_module else _run_script)(program, arguments)
    except SystemExit as stop:
        if stop.code is None or stop.code == 0:
            return
        code = stop.code if isinstance(stop.code, int) else 1
        message = "" if isinstance(stop.code, int) else str(stop.code)
        _fail(stop, code & 0xFF or 1, files, kind="exit", message=message, shown=message)
    except BaseException as error:
        stack = error.__traceback__
        while stack and stack.tb_frame.f_code.co_filename == __file__:
            stack = stack.tb_next  # ours is of no interest
        error.__traceback__ = stack
        if isinstance(error, KeyboardInterrupt):
            _fail(error, 128 + signal.SIGINT, files, kind="exception")
        if getattr(error, "summary_only", False):
            _fail(error, _exit_code(error), files, kind="exception", shown=str(error))
        _fail(error, _exit_code(error), files, kind="exception")


def _exit_code(error: BaseException) -> int:
    code = getattr(error, "exit_code", 1)
    return code if isinstance(code, int) and 0 < code < 256 else 1


def _fail(
    error: BaseException,
    code: int,
    files: RankFiles,
    *,
    kind: str,
    message: str | None = None,
    shown: str | None = None,  # None: what the except hook prints
) -> NoReturn:
    """Write the error record, then the text to this rank's own log, then leave."""
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        processes.flush_c_streams()
        type_ = type(error)
        record = {
            **_who(files.rank),
            "kind": kind,
            "type": type_.__qualname__
            if type_.__module__ == "builtins"
            else f"{type_.__module__}.{type_.__qualname__}",
            "message": str(error) if message is None else message,
            "traceback": "".join(traceback.format_exception(error)) if kind == "exception" else "",
            "exit_code": code,
            "summary_only": bool(getattr(error, "summary_only", False)),
            "secondary": _is_secondary(error),
            # From here on the log holds this error's own text: flowrun prints it once, from the record.
            "stderr_bytes": os.fstat(2).st_size,
        }
        write_json(files.error, record)
        if shown is None:
            sys.excepthook(type_, error, error.__traceback__)
        elif shown:
            print(shown, file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _is_secondary(error: BaseException) -> bool:
    """Whether the error only says that another rank is gone."""
    names = {base.__name__ for base in type(error).__mro__}
    return "RankFailed" in names or type(error).__module__ == "mpi4py.MPI" or isinstance(error, ConnectionError)


def _who(rank: int) -> dict[str, Any]:
    now = time.time()
    return {
        "run_id": os.environ.get(processes.TAG, ""),
        "rank": rank,
        "local_rank": int(os.environ["LOCAL_RANK"]),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": now,
        "utc": datetime.fromtimestamp(now, UTC).isoformat(),
        "monotonic": time.monotonic(),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file that is never seen half-written."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    temporary.replace(path)


def _attend(child: int, files: RankFiles) -> NoReturn:
    """Wait for the rank, record how it ended, end in the same way."""
    code = 1
    try:
        for signum in GROUP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        oom_before = _oom_kills()
        write_json(files.started, {**_who(files.rank), "pid": child, "attendant": os.getpid()})
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
        end = {"exit_code": code, "max_rss_bytes": peak, "oom_kills": _oom_kills() - oom_before}
        write_json(files.exit, {**_who(files.rank), "pid": child, **end})
    finally:
        os._exit(code if code >= 0 else 128 - code)


def _oom_kills() -> int:
    """How often the kernel killed for memory in this process's control group; 0 where it does not say."""
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        events = Path("/sys/fs/cgroup", group, "memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _redirect(files: RankFiles) -> None:
    for descriptor, path in ((1, files.out), (2, files.err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)  # of the descriptor, so that C code is captured too
        os.close(opened)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    processes.line_buffer_c_stdout()
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR2, all_threads=True)


def _run_script(path: str, arguments: list[str]) -> None:
    """As ``python path arguments``."""
    path = os.path.abspath(path)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    with io.open_code(path) as source:
        code = compile(source.read(), path, "exec", dont_inherit=True)
    sys.argv = [path, *arguments]
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    exec(code, _new_main(__file__=path, __loader__=loader, __spec__=None, __package__=None))


def _run_module(name: str, arguments: list[str]) -> None:
    """As ``python -m name arguments``."""
    sys.argv = ["-m", *arguments]  # what the module's packages see while they are imported
    spec = _find(name)
    if spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__")
    code = spec.loader.get_code(spec.name) if isinstance(spec.loader, importlib.machinery.SourceFileLoader) else None
    if code is None or spec.origin is None:
        raise MainNotFound(f"module {name!r} has no Python source to run")
    sys.argv[0] = spec.origin
    exec(code, _new_main(__file__=spec.origin, __loader__=spec.loader, __spec__=spec, __package__=spec.parent))


def _find(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not (error.name and (name == error.name or name.startswith(f"{error.name}."))):
            raise  # a package that cannot be imported, not a missing one
        spec = None
    if spec is None:
        raise MainNotFound(f"no module named {name!r}, expected something that 'python -m' can run")
    return spec


def _new_main(**attributes: Any) -> dict[str, Any]:
    """A fresh ``__main__``; it stays for good, as threads and pickles may need it after the last line has run."""
    module = types.ModuleType("__main__")
    module.__dict__.update(attributes, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    return module.__dict__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowrun.wrapper", allow_abbrev=False)
    parser.add_argument("--log-dir", required=True)
    parser.add_argument("--nodes", required=True, help="ranks on each node, in order: 2,2")
    parser.add_argument("--omp-threads", type=int)
    parser.add_argument("-m", dest="module", action="store_true")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    main()
