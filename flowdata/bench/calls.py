"""What a pipeline's decoder really hands to the image libraries: for the limit, which times the same calls alone.

Between a picture file and the library lies what the decoder does to decode less: rows cut out of the file, a header
that says that the picture ends earlier, a window for a library that decodes nothing else. So the decoder is run, and
what reaches the library is written down.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdata.bench.peers import opencv
from flowdata.bench.work import decoder_of, pictures
from flowdata.codec import Window
from flowdata.codec.observed import observed
from flowdata.codec.providers import decode_by_nvimgcodec
from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline import Pipeline
from flowdata.seeding import NO_STREAM, sample_rng
from flowdata.stages.narrow import Part

CV2, NVIMGCODEC = "cv2", "nvimgcodec"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an image library, and what is done with the result.

    Args:
        file: File with the bytes that it gets.
        library: Who decodes, :data:`CV2` or :data:`NVIMGCODEC`.
        window: Top, left, height and width that nvImageCodec is asked for.
        size: Height and width of the part of the result that goes on to the next stage.
        whole: Height and width of the picture whose top left that part is, where only that is resized.
    """

    file: str
    library: str
    window: Window | None
    size: tuple[int, int]
    whole: tuple[int, int] | None = None


def decoder_calls(pipeline: Pipeline, files: Sequence[str], folder: Path) -> list[Call]:
    """The call that makes each picture, in the first epoch; where one fails and another follows, the last one.

    Args:
        pipeline: Whose decoder.
        files: The pictures of its first records, from :func:`flowdata.bench.work.write_files`.
        folder: For what is not the whole of such a file.

    Raises:
        ConfigError: the decoder hands nothing to a library that is known here.
    """
    name, decoder = decoder_of(pipeline)
    at_work = dict(pipeline.at_work(range(1, len(pipeline.step_names))))[name]
    calls = []
    for path, (sample, whole) in zip(files, pictures(pipeline), strict=False):
        key = sample.key
        rng = sample_rng(pipeline.seed, key.epoch, key.index, name) if getattr(at_work, "draws", True) else NO_STREAM
        try:
            with observed() as found:
                image: Any = at_work(sample, rng)[decoder.output]
        except RecordError:
            if pipeline.on_error == "raise":
                raise
            continue
        if not found:
            raise ConfigError(f"stage {name}: it decoded {path} with neither {CV2} nor {NVIMGCODEC}")
        library, data, window = found[-1]
        if data != whole:
            path = os.fspath(folder / Path(path).name)
            Path(path).write_bytes(data)
        whole_size = None
        if isinstance(image, Part):
            image, whole_size = image.pixels, image.extents.whole
        calls.append(Call(path, library, window, (image.shape[0], image.shape[1]), whole_size))
    return calls


def make(call: Call, data: bytes) -> NDArray[np.uint8]:
    """The call again, and of its result a part of the size that goes on."""
    height, width = call.size
    if call.window is not None:
        image = decode_by_nvimgcodec(data, call.window, bgr=False)
        assert image is not None, "it was decoded before"
    else:
        image = opencv.decode(data)
    return image[:height, :width] if call.whole else image[-height:, -width:]
