"""A data-parallel training step of two ranks with one compute thread each, beside PyTorch's DDP over gloo.

    python benchmarks/ddp_step.py [--rounds 7] [--json FILE]
    python benchmarks/ddp_step.py --quick

Interleaved in one run: our step; the same step of the same processes without communication; the same allreduces alone;
PyTorch's step on its own model. Also which threads of a rank had CPU time, and how many processors a rank alone uses.
Starts its ranks itself, with `flowrun`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent  # the clone that this file belongs to
    sys.path[:0] = [str(root), str(root / "launch")]
    from benchmarks.computing.ddp import main

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the sides are ended all the same
    sys.exit(main(description=__doc__ or ""))
