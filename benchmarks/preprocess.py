"""Images per second of JPEG -> random-resized-crop 224 -> mirror -> normalize -> float32 NCHW, against the peers.

    python benchmarks/preprocess.py --json results.json

Makes the photographs and their OFRecords on first use, then runs ``flowdata bench bench/preprocess --against
torch,dali,spdl``; peers that are not installed are left out. Further arguments are those of ``flowdata bench``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flowdata.cli import main as flowdata
from flowdata.dataset import FILE_NAME
from flowdata.tools.convert import convert_images
from flowdata.tools.make import make_photos

PARTS = 8


def prepare(data: Path, count: int) -> Path:
    """The folder of the OFRecords, made on first use."""
    photos, records = data / f"photos-{count}", data / f"records-{count}"
    if not (records / FILE_NAME).exists():
        print(f"making {count} photographs in {photos} ...", flush=True)
        make_photos(photos, count=count, overwrite=True)
        convert_images(photos, records, val_fraction=0, parts=min(PARTS, count), overwrite=True)
    return records


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="bench/preprocess", help="pipeline file or shipped name (%(default)s)")
    parser.add_argument("--data", type=Path, default=Path("data/bench"), help="where the data is kept (%(default)s)")
    parser.add_argument("--count", type=int, default=500, help="photographs (%(default)s)")
    args, further = parser.parse_known_args(argv)
    records = prepare(args.data, args.count)
    override = f"source.ofrecord.dir={records / 'train'}"
    return flowdata(["bench", args.config, override, "--against", "torch,dali,spdl", *further])


if __name__ == "__main__":
    sys.exit(main())
