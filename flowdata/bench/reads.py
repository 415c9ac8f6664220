"""Records per second that a source gives to so many readers: ``python -m flowdata.bench.reads SPEC.json``."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flowdata.bench.protocol import Arrays, Side, serve
from flowdata.sample import SampleKey

_READS_AHEAD = 4  # per reader


def prepare(spec: dict[str, Any]) -> Side:
    """Threads that read in the pipeline's order and forget."""
    sys.path[:] = spec["path"]
    pipeline = pickle.loads(Path(spec["pipeline"]).read_bytes())
    readers = spec["readers"]
    one = {"record": np.zeros(1, np.uint8)}

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        pipeline.source.open()
        plans = ((epoch, pipeline.epoch_plan(epoch)) for epoch in itertools.count())
        keys = (SampleKey(epoch, index) for epoch, plan in plans for index in plan.indices.tolist())
        with ThreadPoolExecutor(readers) as pool:
            waiting = [pool.submit(pipeline.source.read, next(keys)) for _ in range(readers * _READS_AHEAD)]

            def batches() -> Iterator[Arrays]:
                while True:
                    waiting.pop(0).result()
                    waiting.append(pool.submit(pipeline.source.read, next(keys)))
                    yield one

            yield batches()
        pipeline.source.close()

    return Side(f"{readers} readers", start)


if __name__ == "__main__":
    serve(prepare)
