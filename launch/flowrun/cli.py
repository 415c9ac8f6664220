"""The command ``flowrun``: read the arguments, make the plan, run it."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from flowrun import __version__
from flowrun.engines import describe, engine_argv, engine_settings, find_engine
from flowrun.errors import LaunchError
from flowrun.hosts import Host, parse_host_list, parse_hostfile
from flowrun.logs import Tee
from flowrun.plan import LaunchPlan, choose_program, engine_environment, place_ranks
from flowrun.watch import WatchOptions, run_job

USAGE = """flowrun [options] script.py args...
       flowrun [options] -m package.module args...
       flowrun [options] RECIPE key=value...      RECIPE: a YAML file or a shipped name such as train/digits"""

EXIT_CODES = """exit code: 0, or that of the rank that failed first (128 + signal when it was killed), 2 for wrong
arguments or configuration, 3 when no MPI was found, 124 after --timeout, 130/143 after Ctrl-C/SIGTERM"""

LOG_ROOT = Path("runs", ".launch")


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises, and tells which options it knows."""

    def __init__(self) -> None:
        super().__init__(prog="flowrun", usage=USAGE, epilog=EXIT_CODES, allow_abbrev=False, add_help=False)
        self.takes_value: dict[str, bool] = {}

    def option(self, *names: str, **settings: Any) -> None:
        action = self.add_argument(*names, **settings)
        self.takes_value |= dict.fromkeys(names, action.nargs is None)

    def error(self, message: str) -> NoReturn:
        raise LaunchError(f"{message}; see 'flowrun --help'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        options, program = parse_arguments(sys.argv[1:] if argv is None else argv)
        plan = make_plan(options, program, os.environ)
        engine = find_engine(plan, options.engine, os.environ)
        plan = replace(plan, settings={**plan.settings, **engine_settings(engine)})
        command = engine_argv(plan, engine)
        if options.dry_run:
            print(describe(plan, engine, command))
            return 0
        watch = WatchOptions(
            tee=parse_tee(options.tee, plan.nprocs),
            with_prefix=plan.nprocs > 1 if options.prefix is None else options.prefix == "rank",
            tail_lines=options.tail_lines,
            grace_s=options.grace,
            timeout_s=options.timeout,
            verbosity=-1 if options.quiet else int(options.verbose),
        )
        return run_job(plan, command, engine_environment(plan, os.environ), watch)
    except LaunchError as error:
        print(f"flowrun: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full disk, a log directory that is removed while the job runs
        print(f"flowrun: error: {error}", file=sys.stderr)
        return 1


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split flowrun's own options from the program and its arguments, and read the options.

    Raises:
        LaunchError: an option is unknown or has a wrong value.
    """
    parser = _build_parser()
    own, program = _split(parser, argv)
    options = parser.parse_args(own)
    if options.verbose and options.quiet:
        raise LaunchError("-v and --quiet contradict each other")
    return options, program


def _split(parser: _Parser, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words up to the first that is neither an option nor an option's value, spelt with dashes; the rest."""
    takes_value = parser.takes_value
    own: list[str] = []
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        elif name not in takes_value and takes_value.get(name[:2], False):
            own.append(word)  # -n4
            continue
        if name not in takes_value:
            close = difflib.get_close_matches(name, takes_value, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise LaunchError(f"unknown option {name}{meant} (options of the program follow its name)")
        own.append(name + equals + value)
        if takes_value[name] and not equals:  # takes a value; argparse complains when there is none
            own += words[:1]
            del words[:1]
    return own, words


def _build_parser() -> _Parser:
    parser = _Parser()
    add = parser.option
    add("-m", "--module", action="store_true", help="the program is a module, as with python -m")
    add("-n", "-np", "--nprocs", type=_positive_int, metavar="N", help="number of ranks (1; with hosts: all slots)")
    add("-H", "--hosts", metavar="h1:4,h2:4", help="hosts and the ranks they take")
    add("--hostfile", metavar="FILE", help="the same from a file: 'h1:4' or 'h1 slots=4' a line")
    add("--engine", choices=("auto", "mpiexec", "local"), default="auto", help="auto: local for one rank here")
    add("--dry-run", action="store_true", help="print the exact command, hosts and environment; start nothing")
    add("-x", dest="exports", action="append", default=[], metavar="NAME[=VALUE]", help="pass or set a variable")
    add("--log-dir", type=Path, metavar="DIR", help=f"logs go to DIR/<run id> (DIR: {LOG_ROOT})")
    add("--tee", metavar="all|none|0,3,8-11", help="ranks whose output is shown (rank 0's stdout, everybody's stderr)")
    add("--prefix", choices=("rank", "none"), help="what each shown line starts with (rank, if there are several)")
    add("--tail-lines", type=_count, default=30, metavar="N", help="lines of a log in a failure report (30)")
    add("--grace", type=_seconds, default=15.0, metavar="SECONDS", help="between asking to end and killing (15)")
    add("--timeout", type=_seconds, metavar="SECONDS", help="end the job after this time")
    add("--omp-threads", type=_threads, metavar="auto|K", help="threads of a rank (auto: its share of the cores)")
    add("-v", "--verbose", action="store_true", help="print the command and the log directory")
    add("-q", "--quiet", action="store_true", help="of flowrun itself, print failures only")
    add("-h", "--help", action="help", help="show this text and exit")
    add("--version", action="version", version=f"flowrun {__version__}")
    return parser


def make_plan(options: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> LaunchPlan:
    """Everything that is decided before the engine is looked for.

    Raises:
        LaunchError: the program, the hosts or a variable are not as they should be.
    """
    program = choose_program(words, is_module=options.module)
    if not program.is_module and not os.path.isfile(program.target):
        raise LaunchError(f"there is no file {program.target!r} here ({os.getcwd()})")
    hosts = place_ranks(_read_hosts(options), options.nprocs)
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"
    log_root = options.log_dir or LOG_ROOT
    plan = LaunchPlan(
        program=program,
        hosts=hosts,
        run_id=run_id,
        log_dir=Path(os.path.abspath(log_root)) / run_id,
        python=sys.executable,
        omp_threads=options.omp_threads,
    )
    settings = {
        "FLOWRUN_RUN_ID": run_id,
        "MASTER_ADDR": "127.0.0.1" if plan.is_local else hosts[0].name,
        "MASTER_PORT": str(_free_port()),
        **read_exports(options.exports, environ),
    }
    if sys.stdout.isatty() and plan.is_local:
        settings["FLOWRUN_TTY"] = os.ttyname(sys.stdout.fileno())
    return replace(plan, settings=settings)


def _read_hosts(options: argparse.Namespace) -> list[Host]:
    if options.hosts and options.hostfile:
        raise LaunchError("--hosts and --hostfile exclude each other")
    if options.hosts:
        return parse_host_list(options.hosts)
    if options.hostfile:
        try:
            return parse_hostfile(Path(options.hostfile).read_text(encoding="utf-8"), options.hostfile)
        except (OSError, UnicodeDecodeError) as error:
            raise LaunchError(f"cannot read the host file {options.hostfile}: {error}") from error
    return []


def read_exports(exports: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``-x NAME`` (as it is here) and ``-x NAME=VALUE``.

    Raises:
        LaunchError: a name is not one, or a variable to pass is not set.
    """
    found = {}
    for export in exports:
        name, equals, value = export.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise LaunchError(f"-x: expected NAME or NAME=VALUE, got {export!r}")
        if not equals and name not in environ:
            raise LaunchError(f"-x: the variable {name} is not set; give it a value: -x {name}={shlex.quote('VALUE')}")
        found[name] = value if equals else environ[name]
    return found


def parse_tee(text: str | None, nprocs: int) -> Tee:
    """``all``, ``none`` or ranks such as ``0,3,8-11``; None: rank 0's stdout and everybody's stderr.

    Raises:
        LaunchError: it is none of these, or names a rank that does not exist.
    """
    everybody = range(nprocs)
    if text is None:
        return Tee(stdout=(0,), stderr=everybody)
    if text in ("all", "none"):
        chosen: Sequence[int] = everybody if text == "all" else ()
        return Tee(stdout=chosen, stderr=chosen)
    ranks: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise LaunchError(f"--tee: expected all, none or ranks such as 0,3,8-11, got {text!r}")
        ranks |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not ranks or max(ranks) >= nprocs:
        raise LaunchError(f"--tee: expected ranks from 0 to {nprocs - 1}, got {text!r}")
    return Tee(stdout=ranks, stderr=ranks)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _positive_int(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of lines, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return float(text)


def _threads(text: str) -> int | None:
    return None if text == "auto" else _positive_int(text)
