"""The index of a large data set: how fast it is built and opened, and what its order, plan and first batch cost.

    python benchmarks/index.py [--records 1280000] [--parts 256] [--json FILE]

Makes part files whose records are a length and zeros: small records, and a tenth as many of the length of photographs
(sparse files, of which every header still takes a page).
Targets, warm: the index is built at 300,000 records/s or faster and opened from its cache in 50 ms or less; nothing
that a pipeline does with the numbers of all records takes more than 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from flowdata.bench.environment import environment
from flowdata.dataset import part_name
from flowdata.errors import RecordError
from flowdata.pipeline import ExecutorName, Pipeline
from flowdata.records.frames import INDEX_DIRECTORY
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Buffered, Order, Sequential, Shuffled

MIN_RECORDS_PER_S, MAX_OPEN_MS, MAX_PIPELINE_S = 300_000, 50.0, 0.5
EXECUTORS: tuple[ExecutorName, ...] = ("serial", "thread", "process")
SIZES = {
    "small records": (1, 60, 400),
    "photographs": (10, 60_000, 160_000),
}  # part of the records, least and most bytes
PAGE = 4096


class Numbers:
    """A source of which only the length is large."""

    def __init__(self, length: int) -> None:
        self.length = length

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return self.length

    def output_spec(self) -> Specs:
        """The record's number."""
        return {"number": ArraySpec((), np.dtype(np.int64))}

    def read(self, key: SampleKey) -> Sample:
        """The record's number."""
        return Sample(key, {"number": np.asarray(key.index)}, "a number")

    def fingerprint(self) -> str:
        """Its length."""
        return f"numbers {self.length}"

    def aspect_groups(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Three groups."""
        return np.arange(self.length, dtype=np.int64) * 7919 % 3


def make_part(path: Path, lengths: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Write the headers; what lies between them is zeros, or a hole where it is long."""
    offsets = np.concatenate([[0], np.cumsum(lengths + 8)])
    headers = lengths.astype("<i8").view(np.uint8).reshape(-1, 8)
    if lengths.mean() < PAGE:
        content = np.zeros(int(offsets[-1]), np.uint8)
        content[offsets[:-1, None] + np.arange(8)] = headers
        content.tofile(path)
        return
    with path.open("wb", buffering=0) as file:
        file.truncate(int(offsets[-1]))
        for offset, header in zip(offsets[:-1].tolist(), headers, strict=True):
            os.pwrite(file.fileno(), header.tobytes(), offset)


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def index_times(folder: Path, records: int, parts: int, rounds: int) -> dict[str, float]:
    """Build and open the index, several times."""
    build, opened = [], []
    for _ in range(rounds):
        shutil.rmtree(folder / INDEX_DIRECTORY, ignore_errors=True)
        build.append(seconds(OFRecordSource(folder, parts).open))
        opened.append(seconds(OFRecordSource(folder, parts).open))
    source = OFRecordSource(folder, parts)
    if len(source) != records:
        raise RecordError(f"{folder}: expected {records} records, found {len(source)}")
    return {
        "build_s": statistics.median(build),
        "records_per_s": records / statistics.median(build),
        "open_ms": 1e3 * statistics.median(opened),
    }


def pipeline_times(records: int) -> dict[str, float]:
    """Seconds of each thing that grows with the number of records."""
    source = Numbers(records)
    orders: dict[str, Order] = {"sequential": Sequential(), "shuffled": Shuffled(), "buffered": Buffered(16384)}
    found = {
        f"plan of an epoch, {name}": seconds(
            lambda order=order: Pipeline(source, batch_size=256, order=order).epoch_plan(1)
        )
        for name, order in orders.items()
    }
    grouped = Pipeline(source, batch_size=256, order=Shuffled(), group_by_aspect_ratio=True)
    found["plan of an epoch, aspect groups"] = seconds(lambda: grouped.epoch_plan(1))
    for executor in EXECUTORS:
        pipeline = Pipeline(source, batch_size=256, order=Shuffled(), executor=executor, workers=2)
        start = time.perf_counter()
        with pipeline.loader() as loader:
            next(iter(loader))
            found[f"first batch, {executor}"] = time.perf_counter() - start
            loader.seek(3, len(loader) // 2)
            found[f"batch after seek, {executor}"] = seconds(lambda loader=loader: next(iter(loader)))
            size = len(json.dumps(loader.state_dict()))
            if size >= 1024:
                raise AssertionError(f"the state has {size} bytes, expected less than 1 KB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_280_000)
    parser.add_argument("--parts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="folder for the part files, on a file system that has holes")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.scratch is not None:
        args.scratch.mkdir(parents=True, exist_ok=True)
    psutil.cpu_percent()
    result: dict[str, Any] = {"records": args.records, "parts": args.parts, "index": {}}
    for name, (share, least, most) in SIZES.items():
        records, parts = args.records // share, max(1, args.parts // share)
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            lengths = np.random.default_rng(0).integers(least, most, records)
            for number, own in enumerate(np.array_split(lengths, parts)):
                make_part(Path(folder) / part_name(number), own)
            found = result["index"][name] = index_times(Path(folder), records, parts, args.rounds)
        print(
            f"{name}: {records} in {parts} parts: built in {found['build_s']:.2f} s, "
            f"{found['records_per_s']:,.0f} records/s (target {MIN_RECORDS_PER_S:,}); opened in "
            f"{found['open_ms']:.1f} ms (target {MAX_OPEN_MS:g})"
        )
    result["pipeline_s"] = pipeline_times(args.records)
    for name, value in result["pipeline_s"].items():
        print(f"{name}: {value:.3f} s (target {MAX_PIPELINE_S:g})")
    result["met"] = (
        all(
            each["records_per_s"] >= MIN_RECORDS_PER_S and each["open_ms"] <= MAX_OPEN_MS
            for each in result["index"].values()
        )
        and max(result["pipeline_s"].values()) <= MAX_PIPELINE_S
    )
    result["environment"] = environment()
    result["load"] = psutil.getloadavg()[0]
    print("targets met" if result["met"] else "targets missed")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
