"""The directory of a run: resolved configuration, versions, metrics, checkpoints, summary."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from flowdata.records.frames import replace_atomically
from flowrun.recipe.checkpoint import list_checkpoints

# What may differ between a run and the one that continues it: how fast it goes, never what it computes.
_SPEED_ONLY = ("executor", "workers", "prefetch_batches", "samples_per_message")


class RunDirectory:
    """Files of one run; every write is by rank 0, whole or not at all.

    Args:
        path: The directory; made when first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"

    def start(self, config: Mapping[str, Any], ranks: int) -> None:
        """Write the resolved configuration and the versions it runs with."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        write_whole(self.path / "environment.json", json.dumps(environment(ranks), indent=1) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Forget what was measured after ``step``: those steps are about to be done again."""
        if self.metrics_path.exists():
            kept = [line for line in _whole_lines(self.metrics_path) if json.loads(line)["step"] <= step]
            write_whole(self.metrics_path, "".join(kept))

    def add_metrics(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append one JSON object per row, floats in full precision."""
        with self.metrics_path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def metrics(self) -> list[dict[str, Any]]:
        """All rows so far."""
        return [json.loads(line) for line in _whole_lines(self.metrics_path)]

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write what the run came to."""
        write_whole(self.path / "summary.json", json.dumps(dict(summary), indent=1) + "\n")


def _whole_lines(path: Path) -> list[str]:
    # A killed process can leave half a line at the end.
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def write_whole(path: Path, text: str) -> None:
    """Write a file under a temporary name, fsync and rename it, so that nobody ever sees half of it."""
    replace_atomically(path, lambda file: file.write(text.encode()))


def environment(ranks: int) -> dict[str, Any]:
    """Versions and machine, as a run records them."""
    packages = ("flowstack", "numpy", "scipy", "opencv-python-headless", "mpi4py", "mpich")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "ranks": ranks,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def new_run_directory(root: Path) -> Path:
    """A name below ``root`` that does not exist yet: the time, and a number where that is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        path = root / (stamp if number == 0 else f"{stamp}-{number}")
        if not path.exists():
            return path
    raise FileExistsError(f"{root}: a thousand runs began in this very second")


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that two runs must share for one to continue the other."""

    def strip(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: strip(item) for key, item in value.items() if key not in _SPEED_ONLY}
        return [strip(item) for item in value] if isinstance(value, list) else value

    rest: dict[str, Any] = strip(dict(config))
    return {key: value for key, value in rest.items() if key not in ("run", "log", "checkpoint")}


def find_resumable(run_dir: Path | None, root: Path, config: Mapping[str, Any]) -> Path | None:
    """The run that ``--resume auto`` continues: the named one, else the newest of equal configuration."""
    if run_dir is not None:
        return run_dir if list_checkpoints(run_dir / "checkpoints") else None
    wanted = json.loads(json.dumps(comparable(config)))
    candidates = []
    for path in root.glob("*/config.yaml"):
        checkpoints = list_checkpoints(path.parent / "checkpoints")
        if checkpoints:
            candidates.append((checkpoints[-1].stat().st_mtime_ns, path))
    for _, path in sorted(candidates, reverse=True):
        if comparable(yaml.safe_load(path.read_text())) == wanted:
            return path.parent
    return None
