"""What the ranks leave in the log directory about their end, and what it means."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

_RECORD = re.compile(r"rank-(\d{5,})\.(started|error|exit)\.json")
_HYDRA_PID = re.compile(r"PID (\d+) RUNNING AT")
_HYDRA_SIGNAL = re.compile(r"\(signal (\d+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """How one rank failed."""

    rank: int
    host: str
    time: float  # seconds since the epoch
    exit_code: int  # as a shell sees it: 128 + signal
    what: str  # one line: "ValueError: bad", "exit code 3", "killed by signal 9 (SIGKILL)"
    traceback: str = ""
    summary: str = ""  # all there is to say about an error of the user's, such as a misspelt key
    hint: str = ""
    secondary: bool = False  # a consequence of another rank's failure, if there is one

    @property
    def is_echo(self) -> bool:
        """Whether it is only the engine's SIGTERM that ended this rank."""
        return self.secondary and not self.traceback


class Records:
    """The records the ranks leave in the log directory, read as they appear."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._seen: set[str] = set()
        self.started: dict[int, dict[str, Any]] = {}
        self.error: dict[int, dict[str, Any]] = {}
        self.exit: dict[int, dict[str, Any]] = {}

    def refresh(self) -> None:
        """Read the records that are new."""
        for path in self._log_dir.iterdir():
            match = _RECORD.fullmatch(path.name)
            if match and path.name not in self._seen:
                self._seen.add(path.name)
                getattr(self, match[2])[int(match[1])] = json.loads(path.read_text(encoding="utf-8"))

    def stderr_limits(self) -> dict[int, int]:
        """Where in a failed rank's stderr the text of its own failure starts."""
        self.refresh()
        return {rank: int(record["stderr_bytes"]) for rank, record in self.error.items()}

    def finished(self) -> set[int]:
        """The ranks that ended well."""
        return {rank for rank, record in self.exit.items() if record["exit_code"] == 0}

    def failures(self) -> list[Failure]:
        """Every rank that failed so far, by rank."""
        found = []
        for rank in sorted(self.error.keys() | self.exit.keys()):
            if rank in self.error:
                found.append(_from_error(self.error[rank]))
            elif self.exit[rank]["exit_code"] != 0:
                found.append(_from_exit(self.exit[rank]))
        return found

    def vanished(self, engine_text: str) -> Failure | None:
        """The rank whose attendant was killed: no record says so, but Hydra names a pid and a signal."""
        pid, number = _HYDRA_PID.search(engine_text), _HYDRA_SIGNAL.search(engine_text)
        for rank, started in self.started.items():
            if pid and number and int(pid[1]) == started["attendant"] and rank not in self.exit:
                failure = _from_exit({**started, "exit_code": -int(number[1])})
                doubt = "mpiexec names this rank; it may have been another one, as several were gone at once"
                return replace(failure, hint=doubt) if len(self.started.keys() - self.exit.keys()) > 1 else failure
        return None


def _from_error(record: dict[str, Any]) -> Failure:
    what = f"{record['type']}: {record['message']}" if record["message"] else record["type"]
    if record["kind"] == "exit":
        what = f"exit code {record['exit_code']}" + (f": {record['message']}" if record["message"] else "")
    return Failure(
        rank=record["rank"],
        host=record["host"],
        time=record["time"],
        exit_code=record["exit_code"],
        what=what,
        traceback=record["traceback"],
        summary=(record["message"] or record["type"]) if record["summary_only"] else "",
        secondary=record["secondary"],
    )


def _from_exit(record: dict[str, Any]) -> Failure:
    code = record["exit_code"]
    hint = ""
    if code == -signal.SIGKILL:
        peak = record.get("max_rss_bytes")
        used = f" (the rank's peak was {peak / 2**30:.2f} GiB)" if peak else ""
        if record.get("oom_kills"):
            hint = f"the kernel killed a process here for want of memory{used}: raise the limit or use less"
        else:
            hint = f"if nobody sent it, the usual reason is memory{used}: see 'dmesg' or the job's memory limit"
    return Failure(
        rank=record["rank"],
        host=record["host"],
        time=record["time"],
        exit_code=code if code > 0 else 128 - code,
        what=f"exit code {code}" if code > 0 else f"killed by {signal_name(-code)}",
        hint=hint,
        secondary=code == -signal.SIGTERM,  # what engines send to the others
    )


def signal_name(number: int) -> str:
    """``signal 9 (SIGKILL)``."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
