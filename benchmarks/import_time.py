"""How long ``import flownn`` takes beside ``import numpy``, each in a fresh process, in turn.

    python benchmarks/import_time.py [--rounds 15] [--json FILE]

Prints the medians in milliseconds and their ratio; the target is 3.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = 3.0
NAMES = ("numpy", "flownn")


def import_ms(name: str, byte_code: str) -> float:
    """Milliseconds that the import takes in a process that has imported nothing but ``time``.

    Both from byte code, as an installed package has it, whatever this shell says about writing some.
    """
    code = f"import time; t = time.perf_counter(); import {name}; print((time.perf_counter() - t) * 1e3)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                          env=environment | {"PYTHONPYCACHEPREFIX": byte_code})  # fmt: skip
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as byte_code:
        for round_ in range(args.rounds + 1):
            for name in NAMES if round_ % 2 else reversed(NAMES):
                elapsed = import_ms(name, byte_code)
                if round_:  # the first one compiles and fills the page cache
                    times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["flownn"] / medians["numpy"]
    for name, values in times.items():
        print(f"import {name:7} {medians[name]:6.1f} ms (from {min(values):.1f} to {max(values):.1f})")
    print(f"ratio {ratio:.2f} (target {TARGET:g})")
    if args.json:
        result = {"python": platform.python_version(), "ms": times, "median_ms": medians, "ratio": ratio}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
