"""From nothing to a model trained on two ranks: write the digits, train the shipped recipe, show one summary."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowdata.errors import ConfigError, DataError
from flowdata.tools.doctor import INSTALL, find_mpiexec

RECIPE = "train/digits"
SECONDS_TO_END = 10
SUMMARY_KEYS = (
    "accuracy", "images_per_second", "data_wait_seconds", "train_seconds", "kernel_provider", "run_dir", "picture",
    "epochs", "ranks", "checkpoint",
)  # fmt: skip


def quickstart(
    directory: Path,
    *,
    run_dir: Path | None = None,
    ranks: int = 2,
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> int:
    """Write the digits unless they are there, train on them, and print the summary of the run.

    Args:
        directory: The data set's directory; made if needed.
        run_dir: Where the run writes; by default a new directory named after the time, below ``runs/quickstart``.
        ranks: Training processes.
        seed: Seed of the initial weights and the augmentation; the split into train and val stays the same.
        overrides: More ``key=value`` settings for the recipe.

    Returns:
        0, or the exit code of the training that failed.

    Raises:
        ConfigError: there is no ``mpiexec`` for several ranks, or ``run_dir`` holds a finished run.
        DataError: the training ended well but left no complete summary.
    """
    if ranks > 1 and find_mpiexec() is None:
        raise ConfigError(f"quickstart: {ranks} ranks need mpiexec and there is none; run: {INSTALL} mpich")
    run_dir = run_dir or Path("runs/quickstart") / time.strftime("%Y%m%d-%H%M%S")
    if (run_dir / "summary.json").exists():
        raise ConfigError(f"quickstart: {run_dir} holds a finished run; give another --run-dir")
    _ensure_digits(directory)
    command = [
        sys.executable, "-m", "flowrun", "-n", str(ranks), RECIPE,
        f"data.dir={directory}", f"run.dir={run_dir}", f"seed={seed}", *overrides,
    ]  # fmt: skip
    print(f"$ {' '.join(command)}", flush=True)
    code = _run(command)
    if code:
        print(f"flowdata: error: quickstart: the training ended with exit code {code}", file=sys.stderr)
        return code
    print(describe(read_summary(run_dir), directory))
    return 0


def _run(command: Sequence[str]) -> int:
    """Exit code of a command; 128 + the signal that ended it, as shells report it."""
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except BaseException:
        # Ctrl-C reaches the training too, which ends its ranks itself; `subprocess.run` would not give it the time.
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return code if code >= 0 else 128 - code


def _ensure_digits(directory: Path) -> None:
    from flowdata.dataset import FILE_NAME, DatasetInfo
    from flowdata.tools.make import make_digits

    if (directory / FILE_NAME).exists():
        info = DatasetInfo.load(directory)
    else:
        # without a dataset.json, what lies there was left by an interrupted run
        info = make_digits(directory, overwrite=True)
    counts = ", ".join(f"{split.records} {name}" for name, split in info.splits.items())
    print(f"handwritten digits in {directory}: {counts}", flush=True)


def read_summary(run_dir: Path) -> dict[str, Any]:
    """The run's ``summary.json``.

    Raises:
        DataError: it is missing, unreadable or lacks a key.
    """
    path = run_dir / "summary.json"
    try:
        summary = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"quickstart: expected the training to write {path}: {error}") from None
    if missing := [key for key in SUMMARY_KEYS if key not in summary]:
        raise DataError(f"quickstart: {path} lacks {', '.join(missing)}")
    return dict(summary)


def describe(summary: dict[str, Any], directory: Path) -> str:
    """The summary as the user reads it, with the next three commands to try."""
    share = summary["data_wait_seconds"] / max(summary["train_seconds"], 1e-9)
    run, checkpoint = summary["run_dir"], summary["checkpoint"]
    rows = {
        "test accuracy": f"{summary['accuracy']:.4f} after {summary['epochs']} epochs on {summary['ranks']} rank(s)",
        "speed": f"{summary['images_per_second']:.0f} images/s, {summary['train_seconds']:.1f} s of training",
        "waiting for data": f"{summary['data_wait_seconds']:.2f} s ({share:.1%} of the training)",
        "kernel provider": summary["kernel_provider"],
        "run directory": run,
        "picture": summary["picture"] or f"none (needs matplotlib: {INSTALL} matplotlib)",
    }
    width = max(map(len, rows))
    lines = ["", *(f"{name:<{width}}  {value}" for name, value in rows.items()), "", "next:"]
    ranks = summary["ranks"]
    lines += [
        f"  flowrun -n {ranks} {RECIPE} data.dir={directory} mode=eval checkpoint={checkpoint}",
        f"  flowdata inspect {directory}",
        f"  flowdata convert images YOUR_FOLDERS data/yours && flowrun -n {ranks} train/images data.dir=data/yours",
    ]
    return "\n".join(lines)
