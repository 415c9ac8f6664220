"""Milliseconds per picture of decoding a random crop: all of the file, only its rows, only its window.

    python benchmarks/decode.py --json results.json

Every way decodes the same window of the same files in turn, in alternating order, in one process and one thread; the
result of each is compared with the first. What is printed are medians over pictures and rounds, and the median of the
ratio to decoding all of the same file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from flowdata import codec
from flowdata.codec.providers import describe, nvimgcodec_problem
from flowdata.stages.window import random_crop_window
from flowdata.tools.make import make_photos

Decode = Callable[[codec.WindowOf], codec.Image]


def ways_to_decode(data: bytes, rows: codec.RowOffsets, *, nvimgcodec: bool) -> dict[str, Decode]:
    """Name to a function that decodes a window of one file with row restarts."""
    ways: dict[str, Decode] = {
        "all, cv2": lambda window: codec.decode(data, window=window),
        "rows, cv2": lambda window: codec.decode(data, window=window, rows=rows),
    }
    if nvimgcodec:
        ways["window, nvimgcodec"] = lambda window: codec.decode(data, window=window, provider="nvimgcodec")
        ways["rows and window, nvimgcodec"] = lambda window: codec.decode(
            data, window=window, rows=rows, provider="nvimgcodec"
        )
    return ways


def measure(files: list[bytes], rounds: int, seed: int) -> dict[str, list[float]]:
    """Seconds per picture and round of each way."""
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        for index, data in enumerate(files):
            info = codec.image_info(data)
            rows = codec.row_offsets(data)
            assert rows is not None, "the benchmark makes files with row restarts"
            window = random_crop_window(np.random.default_rng([seed, number, index]), info.height, info.width)
            ways = list(ways_to_decode(data, rows, nvimgcodec=nvimgcodec_problem() is None).items())
            expected = ways[0][1](lambda *_, w=window: w)
            for name, decode in ways if (number + index) % 2 else reversed(ways):
                start = time.perf_counter()
                image = decode(lambda *_, w=window: w)
                times.setdefault(name, []).append(time.perf_counter() - start)
                assert np.array_equal(image, expected), f"{name}: other pixels than {ways[0][0]}"
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--photos", type=Path, default=None, help="directory of JPEG files; by default made for the run"
    )
    parser.add_argument("--count", type=int, default=200, help="pictures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="windows of each picture (%(default)s)")
    parser.add_argument(
        "--quality", type=int, default=92, help="JPEG quality of the files with row restarts (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the windows (%(default)s)")
    parser.add_argument("--json", type=Path, default=None, help="where to write the numbers")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as made:
        if args.photos is None:
            make_photos(Path(made), count=args.count, overwrite=True)
        originals = [path.read_bytes() for path in sorted((args.photos or Path(made)).rglob("*.jpg"))[: args.count]]
    files = [codec.encode_jpeg(codec.decode(data), args.quality, "4:4:4", row_restarts=True) for data in originals]
    plain = sum(len(codec.encode_jpeg(codec.decode(data), args.quality, "4:4:4")) for data in originals)
    size = sum(map(len, files))
    times = measure(files, args.rounds, args.seed)
    print(
        f"{len(files)} pictures, {size / len(files) / 1000:.1f} kB on average, restarts {size / plain - 1:+.2%} bytes"
    )
    print(f"decoders: {describe()}")
    base = times["all, cv2"]
    result = {}
    for name, seconds in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(seconds, base, strict=True))
        result[name] = {"median_ms": statistics.median(seconds) * 1e3, "median_ratio": ratio}
    for name in sorted(result, key=lambda name: -result[name]["median_ms"]):
        print(f"{name:<28} {result[name]['median_ms']:.3f} ms   {result[name]['median_ratio']:.2f} of decoding all")
    if args.json:
        content = {"pictures": len(files), "rounds": args.rounds, "decoders": describe(), "ways": result}
        args.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
