"""PyTorch's DataLoader with OpenCV: ``python -m flowdata.bench.peers.torch SPEC.json``."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowdata.bench.protocol import Arrays, Missing, Side, serve

PREFETCH_FACTOR = 2  # batches per worker, PyTorch's default, where nothing else is asked for


def prepare(spec: dict[str, Any]) -> Side:
    """A map-style data set over the files and the default collate, forked workers."""
    if importlib.util.find_spec("torch") is None:
        raise Missing("PyTorch is not installed; run: pip install torch")
    if importlib.util.find_spec("cv2") is None:
        raise Missing("OpenCV is not installed; run: pip install opencv-python-headless")
    import cv2
    import numpy as np
    import torch
    from torch.utils.data import DataLoader

    from flowdata.bench.peers import opencv

    work = spec["work"]
    factor = -(-spec["prefetch"] // spec["workers"]) if spec["prefetch"] else PREFETCH_FACTOR
    mean, scale = torch.tensor(work["mean"]).view(3, 1, 1), 1 / torch.tensor(work["std"]).view(3, 1, 1)

    def by_torch(image: Any, mirror: bool) -> Any:
        if mirror:
            image = cv2.flip(image, 1)
        image = np.ascontiguousarray(image)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous().float().sub_(mean).mul_(scale)

    def by_opencv(image: Any, mirror: bool) -> Any:
        planes = np.empty((3, *image.shape[:2]), np.float32)
        opencv.normalize_into(image, mirror, work, planes)
        return torch.from_numpy(planes)

    normalizers = {"torch in place": by_torch, "cv2.addWeighted": by_opencv}
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)  # as in a worker
    cv2.setNumThreads(0)
    choice = spec.get("choice") or opencv.fastest(normalizers, work["crop"])
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    normalize = normalizers[choice]

    class Pictures:
        def __len__(self) -> int:
            return len(spec["files"])

        def __getitem__(self, index: int) -> tuple[Any, int]:
            with open(spec["files"][index], "rb") as file:
                image = opencv.decode(file.read())
            return normalize(opencv.resized(image, work), random.random() < work["mirror"]), index % 1000

    def one_thread(worker: int) -> None:
        cv2.setNumThreads(0)

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        loader: Any = DataLoader(
            Pictures(),
            batch_size=spec["batch_size"],
            sampler=opencv.endless_order(len(spec["files"]), spec["batch_size"]),
            num_workers=spec["workers"],
            prefetch_factor=factor,
            multiprocessing_context="fork",
            worker_init_fn=one_thread,
        )
        batches = iter(loader)
        try:
            yield ({"image": images, "label": labels} for images, labels in batches)
        finally:
            batches._shutdown_workers()  # what the iterator's own destructor calls

    does = (
        f"torch {torch.__version__} DataLoader over the files: fork, {spec['workers']} workers, prefetch_factor "
        f"{factor}, cv2 decodes and resizes (one thread), normalize by {choice}, default collate"
    )
    versions = {"torch": str(torch.__version__), "cv2": cv2.__version__}
    return Side(does, start, versions, factor * spec["workers"], choice)


if __name__ == "__main__":
    serve(prepare)
