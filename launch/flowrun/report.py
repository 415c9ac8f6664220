"""Who failed first, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flowrun.logs import last_lines
from flowrun.plan import compress_ranks
from flowrun.records import Failure


def root_cause(failures: Iterable[Failure]) -> Failure:
    """The earliest failure that is not a consequence of another one; the earliest at all if there is none."""
    return min(failures, key=lambda failure: (failure.secondary, failure.time))


def describe_failure(
    root: Failure,
    failures: list[Failure],
    finished: set[int],
    *,
    nprocs: int,
    log_dir: Path,
    shown: bool,
    tail_lines: int,
) -> list[str]:
    """The failure report, line by line.

    Args:
        root: The failure to explain.
        failures: All failures; the others are only named.
        finished: The ranks that ended well.
        nprocs: Number of ranks of the job.
        log_dir: Where the logs are.
        shown: Whether the root's stderr was on the screen already.
        tail_lines: How many of its last lines to show otherwise, when there is no traceback.
    """
    if root.summary:
        return [f"flowrun: error: {root.summary}"]
    lines = [f"flowrun: rank {root.rank} of {nprocs} on {root.host} failed: {root.what}"]
    log = log_dir / f"rank-{root.rank:05d}.err"
    if root.traceback:
        lines += root.traceback.rstrip("\n").split("\n")
    elif not shown:
        lines += [f"  {line}" for line in last_lines(log, tail_lines)]
    if root.hint:
        lines.append(f"flowrun: {root.hint}")
    groups: dict[str, list[int]] = {}
    failed = {failure.rank: failure for failure in failures}
    for rank in set(range(nprocs)) - {root.rank}:
        groups.setdefault("finished" if rank in finished else _fate(failed.get(rank), root), []).append(rank)
    for fate, ranks in sorted(groups.items(), key=lambda item: min(item[1])):
        lines.append(f"flowrun: rank{'s' if len(ranks) > 1 else ''} {compress_ranks(ranks)}: {fate}")
    lines.append(f"flowrun: log of rank {root.rank}: {log}")
    return lines


def _fate(failure: Failure | None, root: Failure) -> str:
    if failure is None or failure.is_echo:
        return f"ended after rank {root.rank} failed"
    return "the same" if failure.what == root.what else failure.what
