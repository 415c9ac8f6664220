"""What the machine could do at most: ``python -m flowdata.bench.limit SPEC.json``.

The same calls of the image libraries with the same bytes, one process per worker and no framework: no order, no batch,
no random streams, no hand-over, results written into the same memory again and again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from flowdata.bench.calls import Call, make
from flowdata.bench.peers import opencv
from flowdata.bench.protocol import Arrays, Side, serve
from flowdata.stages.normalize import planes_apart

_CHUNK = 8  # pictures per draw from the common counter


def _work(spec: dict[str, Any], number: int, done: Any, stop: Any) -> None:
    cv2.setNumThreads(0)
    work = {**spec["work"], "random_crop": None}  # the windows are those of the calls
    todo = [Call(**each) for each in spec["calls"]]
    planes = np.empty((3, *work["crop"]), np.float32)
    at = number * 7919 % len(todo)  # every process starts elsewhere
    while not stop.is_set():
        for _ in range(_CHUNK):
            call = todo[at]
            descriptor = os.open(call.file, os.O_RDONLY)
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            os.close(descriptor)
            window = opencv.resized(make(call, data), work, call.whole)
            opencv.normalize_into(window, at % 2 < 2 * work["mirror"], work, planes, tuple(planes_apart(planes.shape)))
            at = (at + 1) % len(todo)
        done.release()


def prepare(spec: dict[str, Any]) -> Side:
    """Processes that all do the same until they are told to stop."""
    context = multiprocessing.get_context("fork")
    shape = 3, *spec["work"]["crop"]

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        done, stop = context.Semaphore(0), context.Event()
        processes = [
            context.Process(target=_work, args=(spec, number, done, stop), daemon=True)
            for number in range(spec["workers"])
        ]
        for process in processes:
            process.start()
        # A "batch" says only how many pictures were done; its pixels are never read.
        counted = {"image": np.broadcast_to(np.float32(0), (_CHUNK, *shape))}

        def batches() -> Iterator[Arrays]:
            while True:
                done.acquire()
                yield counted

        try:
            yield batches()
        finally:
            stop.set()
            for process in processes:
                process.join()

    libraries = sorted({each["library"] for each in spec["calls"]})
    does = (
        f"read, decode ({' and '.join(libraries)}, called with what the pipeline's decoder calls it with), resize "
        f"and normalize in {spec['workers']} processes, with no framework around them"
    )
    return Side(does, start, {"cv2": cv2.__version__})


if __name__ == "__main__":
    serve(prepare)
