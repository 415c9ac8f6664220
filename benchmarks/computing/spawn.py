"""Start a module as several ranks: ``python -m benchmarks.computing.spawn N MODULE ARGUMENTS...``."""

from __future__ import annotations

import os
import subprocess
import sys

if __name__ == "__main__":
    size, words = int(sys.argv[1]), [sys.executable, "-P", "-m", *sys.argv[2:]]
    ranks = [
        subprocess.Popen(words, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size)}) for rank in range(size)
    ]
    sys.exit(max(rank.wait() for rank in ranks))
