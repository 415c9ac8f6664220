"""NVIDIA DALI on the CPU: ``python -m flowdata.bench.peers.dali SPEC.json``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowdata.bench.protocol import Arrays, Missing, Side, serve

# DALI's default, where nothing else is asked for. The batch that the consumer works on is in the queue, too: with a
# depth of 2, when the first has been taken, only the second has been asked for.
QUEUE_DEPTH = 2


def prepare(spec: dict[str, Any]) -> Side:
    """A DALI pipeline without a device; a random crop is part of its decoder."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        raise Missing('DALI is not installed; run: pip install "flowstack[peers]"')
    import numpy as np
    import nvidia.dali
    from nvidia.dali import fn, pipeline_def, types

    work, depth = spec["work"], spec["prefetch"] + 1 if spec["prefetch"] else QUEUE_DEPTH
    version = nvidia.dali.__version__

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=spec["batch_size"],
        num_threads=spec["workers"],
        device_id=None,
        prefetch_queue_depth=depth,
        seed=0,
    )
    def pictures() -> tuple[Any, Any]:
        labels = [index % 1000 for index in range(len(spec["files"]))]
        data, label = fn.readers.file(files=spec["files"], labels=labels, random_shuffle=True, name="files")
        if work["random_crop"] is None:
            images = fn.decoders.image(data, device="cpu", output_type=types.RGB, adjust_orientation=False)
        else:
            area, ratio, attempts = work["random_crop"]
            images = fn.decoders.image_random_crop(
                data,
                device="cpu",
                output_type=types.RGB,
                random_area=area,
                random_aspect_ratio=ratio,
                num_attempts=attempts,
                adjust_orientation=False,
            )
        if work["size"] is not None:
            size = {"size": work["size"]}
        else:
            size = {"resize_shorter": float(work["shorter"])}
        images = fn.resize(images, interp_type=types.INTERP_LINEAR, antialias=False, **size)
        images = fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            crop=work["crop"],
            crop_pos_y=work["crop_position"][0],
            crop_pos_x=work["crop_position"][1],
            mean=work["mean"],
            std=work["std"],
            mirror=fn.random.coin_flip(probability=work["mirror"]),
        )
        return images, label

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        pipeline = pictures()
        pipeline.build()

        def batches() -> Iterator[Arrays]:
            while True:
                images, labels = pipeline.run()
                yield {"image": np.asarray(images.as_tensor()), "label": np.asarray(labels.as_tensor())}

        yield batches()

    decoder = "decoders.image_random_crop" if work["random_crop"] is not None else "decoders.image"
    does = (f"DALI {version} on the CPU over the files: {spec['workers']} threads, prefetch_queue_depth {depth}, "
            f"{decoder}, resize (linear, no antialias), crop_mirror_normalize")  # fmt: skip
    return Side(does, start, {"nvidia-dali": version}, ahead=depth - 1)


if __name__ == "__main__":
    serve(prepare)
