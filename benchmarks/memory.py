"""Resident memory of 200 training steps of ResNet-18 on 64x64 pictures, batch 16; ours and PyTorch's, a process each.

    python benchmarks/memory.py [--steps 200] [--json FILE]

Prints how far the resident size strays after step 20 (target: within 2 %) and the peak against PyTorch's
(target: at most 1.1 times). Without PyTorch only the first figure is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
BATCH, SIDE, CLASSES = 16, 64, 1000
SETTLED = 20  # steps
FLAT, PEAK = 0.02, 1.1


def flownn_step() -> Callable[[Any, Any], None]:
    import flownn as flow

    model = flow.models.create("resnet18", num_classes=CLASSES)
    optimizer = flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = flow.nn.CrossEntropyLoss()

    def step(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        criterion(model(flow.from_numpy(images)), flow.from_numpy(labels)).backward()
        optimizer.step()

    return step


def torch_step() -> Callable[[Any, Any], None]:
    import torch

    class Block(torch.nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            nn = torch.nn
            self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn1, self.bn2, self.relu = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            self.short = nn.Identity()
            if stride > 1 or channels != width:
                self.short = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.short(x))

    nn = torch.nn
    blocks = [Block(a, b, s) for a, b, s in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)) for a, b, s in
              ((a, b, s), (b, b, 1))]  # fmt: skip
    model = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def step(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        criterion(model(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
        optimizer.step()

    return step


def measure(library: str, steps: int) -> dict[str, Any]:
    """Resident bytes after each step, and the peak."""
    step = {"flownn": flownn_step, "torch": torch_step}[library]()
    rng = np.random.default_rng(0)
    process, sizes = psutil.Process(), []
    for _ in range(steps):
        step(rng.standard_normal((BATCH, 3, SIDE, SIDE), dtype=np.float32), rng.integers(0, CLASSES, BATCH))
        sizes.append(process.memory_info().rss)
    return {"rss": sizes, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def in_own_process(library: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", library, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one", choices=["flownn", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.steps)))
        return
    libraries = ["flownn", *(["torch"] if importlib.util.find_spec("torch") else [])]
    found = {library: in_own_process(library, args.steps) for library in libraries}
    for library, row in found.items():
        settled = row["rss"][SETTLED:]
        row["rss_mib"] = [round(size / 2**20, 1) for size in row.pop("rss")]
        row["stray"] = max(abs(size / settled[0] - 1) for size in settled)
        print(f"{library:7} after step {SETTLED}: {settled[0] / 2**20:6.1f} MiB, strays by {row['stray']:.2%} "
              f"(target {FLAT:.0%}), peak {row['peak'] / 2**20:6.1f} MiB")  # fmt: skip
    if "torch" in found:
        ratio = found["flownn"]["peak"] / found["torch"]["peak"]
        print(f"peak {ratio:.2f} x PyTorch's (target {PEAK:g})")
    else:
        print("PyTorch is not installed: nothing to compare the peak with")
    if args.json:
        args.json.write_text(json.dumps({"python": platform.python_version(), **found}) + "\n")


if __name__ == "__main__":
    main()
