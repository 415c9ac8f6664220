"""A large COCO annotation file: how long a source takes to open it, the first time and from its cache, and its memory.

    python benchmarks/annotations.py [--images 100000] [--objects 860000] [--json FILE]

Writes an annotation file like that of COCO's training pictures (polygons of 24 points in the mean, half a gigabyte) and
empty pictures. Each opening is a fresh process; memory is its peak, that of Python and the libraries included.
Targets: opened in 10 s or less the first time and in 1 s or less afterwards, with at most four times the memory of the
file the first time.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from flowdata.bench.environment import environment
from flowdata.records.frames import INDEX_DIRECTORY
from flowdata.sources.coco import COCOSource

MAX_SECONDS = {"first": 10.0, "again": 1.0}
MAX_FIRST_BYTES = 4.0  # per byte of the file
CATEGORIES, SHAPES = 80, 2000


def write_files(folder: Path, images: int, objects: int) -> Path:
    """The annotation file, written row by row, and its pictures."""
    rng = random.Random(0)

    def polygon() -> list[float]:
        return [round(rng.uniform(0, 480), 2) for _ in range(2 * rng.randrange(4, 45))]

    shapes = [json.dumps([polygon() for _ in range(rng.choice((1, 1, 1, 1, 2)))]) for _ in range(SHAPES)]
    path = folder / "instances.json"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        for number in range(images):
            name = f"{number:012d}.jpg"
            (folder / name).touch()
            row = {"id": number, "file_name": name, "height": 480, "width": 640, "date_captured": "2013-11-14 17:02:52"}
            file.write(f"{', ' if number else ''}{json.dumps(row)}")
        file.write('], "annotations": [')
        for number in range(objects):
            box = [round(rng.uniform(0, 300), 2) for _ in range(4)]
            row = {"area": box[2] * box[3], "iscrowd": 0, "image_id": rng.randrange(images), "bbox": box,
                   "category_id": rng.randrange(CATEGORIES) + 1, "id": number}  # fmt: skip
            file.write(f'{", " if number else ""}{{"segmentation": {rng.choice(shapes)}, {json.dumps(row)[1:]}')
        categories = [{"id": id, "name": f"thing {id}"} for id in range(1, CATEGORIES + 1)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return path


def opening(annotations: Path) -> dict[str, float]:
    """Seconds and peak memory of one opening, in this process."""
    source = COCOSource(annotations, annotations.parent)
    start = time.perf_counter()
    source.open()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "images": len(source),
    }


def in_own_process(annotations: Path) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", str(annotations)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--objects", type=int, default=860_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for the files, of which there is one per image")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(opening(args.one)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in MAX_SECONDS}
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        annotations = write_files(Path(folder), args.images, args.objects)
        size = annotations.stat().st_size
        for _ in range(args.rounds):
            for cached in (annotations.parent / INDEX_DIRECTORY).glob("*"):
                cached.unlink()
            for name in MAX_SECONDS:
                rounds[name].append(in_own_process(annotations))
    found = {
        name: {key: statistics.median(each[key] for each in taken) for key in ("seconds", "peak_bytes")}
        for name, taken in rounds.items()
    }
    print(f"{args.objects} objects in {args.images} images, {size / 2**20:.0f} MiB:")
    for name, limit in MAX_SECONDS.items():
        print(
            f"opened the {'first time' if name == 'first' else 'next times'} in {found[name]['seconds']:.2f} s (target "
            f"{limit:g}), peak {found[name]['peak_bytes'] / 2**20:.0f} MiB"
        )
    memory = found["first"]["peak_bytes"] / size
    print(f"the first time takes {memory:.1f} times the memory of the file (target {MAX_FIRST_BYTES:g})")
    met = memory <= MAX_FIRST_BYTES and all(found[name]["seconds"] <= limit for name, limit in MAX_SECONDS.items())
    print("targets met" if met else "targets missed")
    if args.json:
        about = {"images": args.images, "objects": args.objects, "file_bytes": size, "load": psutil.getloadavg()[0]}
        result: dict[str, Any] = {**about, **found, "rounds": rounds, "met": met, "environment": environment()}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
