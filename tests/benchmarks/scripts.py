"""The scripts as users start them, and what the documentation says of their results."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.jobs import environment

ROOT = Path(__file__).resolve().parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The script, with nothing on its path but what it finds itself."""
    words = [sys.executable, f"benchmarks/{script}", *map(str, arguments)]
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=280, check=False)


def documented_fields(heading: str) -> set[str]:
    """First names in the tables of a section of the documentation."""
    text = (ROOT / "docs/benchmarks.md").read_text().partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
