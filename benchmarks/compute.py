"""Training steps, layers and the cost of single ops on the CPU, beside PyTorch.

    python benchmarks/compute.py [PART ...] [--rounds 7] [--json FILE]
    python benchmarks/compute.py --quick

Every side runs in a process of its own with equally many threads; all are measured once a round, in alternating order,
and a round in which other processes took more than 5 % of the processors is measured again. Ratios are medians of the
ratios within a round. Networks start from the same weights, and must have the same loss. Parts: layers, resnet18,
resnet50, mlp, transformer, overhead.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the clone that this file belongs to
    from benchmarks.computing.command import main

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the sides are ended all the same
    sys.exit(main(description=__doc__ or ""))
