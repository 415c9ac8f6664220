"""SPDL's thread pipeline with OpenCV: ``python -m flowdata.bench.peers.spdl SPEC.json``."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from flowdata.bench.protocol import Arrays, Missing, Side, serve

PREFETCH = 2  # batches in the sink per thread, as the DataLoader's prefetch_factor, where nothing else is asked for


def prepare(spec: dict[str, Any]) -> Side:
    """Threads that read, decode, resize and normalize; one step more collates."""
    if importlib.util.find_spec("spdl") is None:
        raise Missing('SPDL is not installed; run: pip install "flowstack[peers]"')
    if importlib.util.find_spec("cv2") is None:
        raise Missing("OpenCV is not installed; run: pip install opencv-python-headless")
    import cv2
    import numpy as np
    from spdl.pipeline import PipelineBuilder

    from flowdata.bench.peers import opencv

    cv2.setNumThreads(0)
    work, files, batch_size = spec["work"], spec["files"], spec["batch_size"]
    ahead = spec["prefetch"] or PREFETCH * spec["workers"]

    def load(index: int) -> tuple[Any, int]:
        with open(files[index], "rb") as file:
            image = opencv.resized(opencv.decode(file.read()), work)
        planes = np.empty((3, *image.shape[:2]), np.float32)
        opencv.normalize_into(image, random.random() < work["mirror"], work, planes)
        return planes, index % 1000

    def collate(samples: list[tuple[Any, int]]) -> Arrays:
        return {"image": np.stack([image for image, _ in samples]), "label": np.array([label for _, label in samples])}

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        pipeline = (
            PipelineBuilder()
            .add_source(opencv.endless_order(len(files), batch_size))
            .pipe(load, concurrency=spec["workers"])
            .aggregate(batch_size)
            .pipe(collate)
            .add_sink(ahead)
            .build(num_threads=spec["workers"] + 1)
        )
        with pipeline.auto_stop():
            yield iter(pipeline)

    version = metadata.version("spdl")
    does = (f"SPDL {version} pipeline over the files: {spec['workers']} threads, cv2 reads, decodes, resizes and "
            f"normalizes (cv2.addWeighted), one more collates, {ahead} batches ahead")  # fmt: skip
    return Side(does, start, {"spdl": version, "cv2": cv2.__version__}, ahead)


if __name__ == "__main__":
    serve(prepare)
