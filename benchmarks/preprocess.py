"""Images per second of JPEG -> random-resized-crop 224 -> mirror -> normalize -> float32 NCHW, against torch + cv2.

    python benchmarks/preprocess.py --json results.json

Ours is the pipeline `configs/bench/preprocess.yaml` on OFRecords; the peer is a PyTorch DataLoader that does the same
work with OpenCV on the same JPEG files. Both are started, brought to a steady state, timed over the same number of
batches and stopped, in turn and in alternating order; what counts is the median over the rounds of the ratio within a
round. A round in which other processes took more than 5 % of the CPUs is measured again.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from flowdata.dataset import FILE_NAME
from flowdata.pipeline_config import load_pipeline
from flowdata.tools.convert import convert_images
from flowdata.tools.make import make_photos

SIZE = 224
MEAN = (123.68, 116.779, 103.939)  # per channel, pixel units
STD = (58.393, 57.12, 57.375)
PREFETCH_FACTOR = 2
TARGET = 1.35
MAX_OTHER_CPU = 0.05

Batches = Iterator[Any]
Side = Callable[[], AbstractContextManager[Batches]]


# -- the peer --------------------------------------------------------------------------------------------------------


def random_window(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random-resized-crop: 8 to 100 % of the area, aspect ratio 3:4 to 4:3."""
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def normalize_by_torch(image: NDArray[np.uint8], mirror: bool) -> Any:
    """Flip by OpenCV, then PyTorch in place."""
    import torch

    if mirror:
        image = cv2.flip(image, 1)
    mean, scale = _statistics()
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float().sub_(mean).mul_(scale)


@functools.cache
def _statistics() -> tuple[Any, Any]:
    import torch

    return torch.tensor(MEAN).view(3, 1, 1), 1 / torch.tensor(STD).view(3, 1, 1)


def normalize_by_cv2(image: NDArray[np.uint8], mirror: bool) -> Any:
    """Flip, split, and one fused multiply and add per plane."""
    import torch

    if mirror:
        image = cv2.flip(image, 1)
    out = np.empty((3, SIZE, SIZE), np.float32)
    for plane, target, mean, std in zip(cv2.split(image), out, MEAN, STD, strict=True):
        cv2.addWeighted(plane, 1 / std, plane, 0, -mean / std, dst=target, dtype=cv2.CV_32F)
    return torch.from_numpy(out)


NORMALIZERS = {"torch in place": normalize_by_torch, "cv2.addWeighted": normalize_by_cv2}


def fastest_normalizer() -> str:
    """The faster of the two on this machine, one thread each, as in a worker."""
    import torch

    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    times = dict.fromkeys(NORMALIZERS, math.inf)
    for _ in range(200):
        for name, normalize in NORMALIZERS.items():
            start = time.perf_counter()
            normalize(image, True)
            times[name] = min(times[name], time.perf_counter() - start)
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv2_threads)
    return min(times, key=lambda name: times[name])


class PeerDataset:
    """A map-style data set over the JPEG files, as a PyTorch user writes it."""

    def __init__(self, files: list[tuple[str, int]], normalizer: str) -> None:
        self.files, self.normalize = files, NORMALIZERS[normalizer]
        self.flags = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.files[index]
        with open(path, "rb") as file:
            image: Any = cv2.imdecode(np.frombuffer(file.read(), np.uint8), self.flags)
        top, left, height, width = random_window(*image.shape[:2])
        image = image[top : top + height, left : left + width]
        image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        return self.normalize(image, random.random() < 0.5), label


def _peer_worker(worker: int) -> None:
    cv2.setNumThreads(0)


def peer_side(files: list[tuple[str, int]], args: argparse.Namespace, normalizer: str) -> Side:
    """A DataLoader whose sampler runs through shuffled epochs without end, so that no epoch boundary is timed."""
    from torch.utils.data import DataLoader

    def order() -> Iterator[int]:
        rng = np.random.default_rng(0)
        whole = len(files) // args.batch_size * args.batch_size
        while True:
            yield from rng.permutation(len(files))[:whole].tolist()

    @contextmanager
    def start() -> Iterator[Batches]:
        loader: Any = DataLoader(
            PeerDataset(files, normalizer),  # type: ignore[arg-type]
            batch_size=args.batch_size,
            sampler=order(),
            num_workers=args.workers,
            prefetch_factor=PREFETCH_FACTOR,
            multiprocessing_context="fork",
            worker_init_fn=_peer_worker,
        )
        batches = iter(loader)
        try:
            yield (batch[0] for batch in batches)
        finally:
            batches._shutdown_workers()  # what the iterator's own destructor calls

    return start


# -- ours ------------------------------------------------------------------------------------------------------------


def our_side(records: Path, args: argparse.Namespace) -> Side:
    """The pipeline of the configuration, epoch after epoch."""
    overrides = [f"source.ofrecord.dir={records / 'train'}", f"workers={args.workers}", f"batch_size={args.batch_size}"]
    pipeline = load_pipeline(args.config, overrides)

    @contextmanager
    def start() -> Iterator[Batches]:
        with pipeline.loader() as loader:
            yield (batch["image"] for epoch in itertools.repeat(loader) for batch in epoch)

    return start


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measurement:
    """One timed stretch: images per second, and the share of all CPUs that other processes had meanwhile."""

    images_per_second: float
    other_cpu: float


def _cpu_seconds() -> tuple[float, float]:
    """CPU time of the machine that was not idle, and of this process with all its descendants."""
    times = psutil.cpu_times()
    busy = sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
    own = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:  # it ended since the listing; nothing of either side ends while it is timed
            continue
        own += used.user + used.system
    return busy, own


def measure(side: Side, args: argparse.Namespace) -> Measurement:
    """Start one side, let it fill its queues, time ``args.batches`` batches, and end it."""
    shape = (args.batch_size, 3, SIZE, SIZE)
    with side() as batches:
        for batch in itertools.islice(batches, args.warmup):
            if tuple(batch.shape) != shape or "float32" not in str(batch.dtype):
                raise SystemExit(f"expected float32 batches of shape {shape}, got {batch.dtype} {tuple(batch.shape)}")
        busy, own = _cpu_seconds()
        start = time.perf_counter()
        for _ in itertools.islice(batches, args.batches):
            continue
        seconds = time.perf_counter() - start
        busy_after, own_after = _cpu_seconds()
    other = (busy_after - busy) - (own_after - own)
    return Measurement(args.batches * args.batch_size / seconds, max(0.0, other) / (seconds * (os.cpu_count() or 1)))


def run_rounds(sides: dict[str, Side], args: argparse.Namespace) -> tuple[list[dict[str, Any]], int]:
    """Interleaved rounds, and how many were measured again because the machine was not quiet."""
    rounds: list[dict[str, Any]] = []
    repeated = 0
    while len(rounds) < args.rounds:
        names = list(sides) if (len(rounds) + repeated) % 2 == 0 else list(sides)[::-1]
        measured = {name: measure(sides[name], args) for name in names}
        other = max(each.other_cpu for each in measured.values())
        ours, peer = (measured[name].images_per_second for name in sides)
        quiet = other <= MAX_OTHER_CPU
        again = not quiet and repeated < args.max_repeats
        print(f"round {len(rounds) + 1}: ours {ours:7.0f}  peer {peer:7.0f}  ratio {ours / peer:.3f}  "
              f"others {other:4.0%} CPU{'  -> again' if again else ''}", flush=True)  # fmt: skip
        if again:
            repeated += 1
            continue
        rounds.append({name: asdict(measured[name]) for name in sides} | {"ratio": ours / peer, "quiet": quiet})
    return rounds, repeated


# -- the run ---------------------------------------------------------------------------------------------------------


def prepare(args: argparse.Namespace) -> tuple[list[tuple[str, int]], Path]:
    """The photographs and their OFRecords, made on first use."""
    photos, records = args.data / f"photos-{args.count}", args.data / f"records-{args.count}"
    if not (records / FILE_NAME).exists():
        print(f"making {args.count} photographs in {photos} ...", flush=True)
        make_photos(photos, count=args.count, overwrite=True)
        convert_images(photos, records, val_fraction=0, parts=min(8, args.count), overwrite=True)
    folders = sorted(path for path in photos.iterdir() if path.is_dir())
    files = [(str(file), label) for label, folder in enumerate(folders) for file in sorted(folder.glob("*.jpg"))]
    for path, _ in files:  # into the page cache, for both sides
        Path(path).read_bytes()
    for part in (records / "train").glob("part-*"):
        part.read_bytes()
    return files, records


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    packages = ("flowstack", "numpy", "opencv-python-headless", "torch")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "platform": platform.platform(),
        "cpu": model,
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from the source tree" if package == "flowstack" else "not installed"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="bench/preprocess", help="pipeline file or shipped name (%(default)s)")
    parser.add_argument("--data", type=Path, default=Path("data/bench"), help="where the data is kept (%(default)s)")
    parser.add_argument("--count", type=int, default=500, help="photographs (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of either side (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="images in a batch (%(default)s)")
    parser.add_argument("--batches", type=int, default=24, help="batches timed in a round (%(default)s)")
    parser.add_argument("--warmup", type=int, default=6, help="batches taken before the clock starts (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (%(default)s)")
    parser.add_argument("--max-repeats", type=int, default=14, help="disturbed rounds to repeat (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args(argv)
    if min(args.count, args.workers, args.batch_size, args.batches, args.warmup, args.rounds) < 1:
        parser.error("counts must be at least 1")
    if args.batch_size > args.count:
        parser.error(f"--batch-size {args.batch_size} is more than the --count {args.count} photographs")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: without the peer there is no ratio to measure")
        return 0
    files, records = prepare(args)
    normalizer = fastest_normalizer()
    mean_bytes = sum(os.path.getsize(path) for path, _ in files) / len(files)
    print(f"{len(files)} photographs of {mean_bytes / 1000:.1f} kB; batch {args.batch_size}, {args.workers} workers; "
          f"the peer normalizes by {normalizer}", flush=True)  # fmt: skip
    sides = {"ours": our_side(records, args), "peer": peer_side(files, args, normalizer)}
    rounds, repeated = run_rounds(sides, args)

    ratios = [each["ratio"] for each in rounds]
    result: dict[str, Any] = {
        "benchmark": "preprocess",
        "environment": environment(),
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "photographs": {"count": len(files), "mean_bytes": mean_bytes},
        "peer": f"torch DataLoader (fork, prefetch_factor {PREFETCH_FACTOR}) with cv2; normalize by {normalizer}",
        "rounds": rounds,
        "rounds_repeated": repeated,
        "rounds_disturbed": sum(not each["quiet"] for each in rounds),
        "images_per_second": {
            name: statistics.median(each[name]["images_per_second"] for each in rounds) for name in sides
        },
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "largest": max(ratios), "target": TARGET},
    }
    rates = result["images_per_second"]
    print(f"\nmedian of {len(rounds)} rounds: ours {rates['ours']:.0f} images/s, torch + cv2 {rates['peer']:.0f}")
    print(f"ratio {result['ratio']['median']:.3f} (from {min(ratios):.3f} to {max(ratios):.3f}; target {TARGET})")
    if result["rounds_disturbed"]:
        print(
            f"warning: in {result['rounds_disturbed']} round(s) other processes took more than {MAX_OTHER_CPU:.0%} CPU"
        )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
