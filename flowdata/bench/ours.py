"""Our side of a comparison: ``python -m flowdata.bench.ours SPEC.json``."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowdata.bench.protocol import Arrays, Side, serve


def prepare(spec: dict[str, Any]) -> Side:
    """The pickled pipeline, epoch after epoch."""
    sys.path[:] = spec["path"]  # stages may come from the caller's own modules
    pipeline = pickle.loads(Path(spec["pipeline"]).read_bytes())

    if spec.get("single_thread"):  # the serial executor's steps, timed as in a worker
        import cv2

        cv2.setNumThreads(0)

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        with pipeline.loader() as loader:
            yield (batch.arrays for epoch in itertools.repeat(loader) for batch in epoch if batch.size)

    how = "in the calling process" if pipeline.executor == "serial" else f"{pipeline.workers} worker processes"
    return Side(f"this pipeline, {how}, {pipeline.prefetch_batches} batches ahead", start)


if __name__ == "__main__":
    serve(prepare)
