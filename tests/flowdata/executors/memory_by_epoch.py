"""Memory after each epoch of a pipeline, by a process of its own: ``python -m … EXECUTOR CUT LEAK EPOCHS FOLDER``.

Prints a JSON list: bytes of the process and its workers, what they share counted once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil

from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import pipeline_from
from flowdata.sample import Sample, Specs

LEAK_BYTES = 32 << 10  # per sample
_kept: list[Any] = []


@dataclass(frozen=True)
class Leak:
    """A user's stage that keeps something of every sample."""

    stage_name: ClassVar[str] = "leak"
    draws: ClassVar[bool] = False

    def output_spec(self, specs: Specs) -> Specs:
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        _kept.append(bytearray(b"x" * LEAK_BYTES))
        return sample


def pipeline(folder: str, executor: str, *, cut: bool, leak: bool) -> Pipeline:
    """What a training run does, and a value whose size differs."""
    return pipeline_from({
        "source": {"ofrecord": {"dir": folder, "parts": 1}},
        "order": "shuffled",
        "batch_size": 16,
        "executor": executor,
        "workers": 1 if cut else 2,
        "outputs": ["image", "label", "file"],
        "stages": [
            {"ofrecord_raw_decoder": {"feature": "class/label", "output": "label"}},
            {"ofrecord_bytes_decoder": {"feature": "encoded", "output": "file"}},
            *([{"cut": {"workers": 1}}] if cut else []),
            "ofrecord_image_decoder_random_crop",
            {"resize": {"size": [64, 64]}},
            *([f"{__spec__.name}:Leak"] if leak else []),
            "coin_flip",
            {"crop_mirror_normalize": {"mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}},
        ],
    }, allow_imports=True)  # fmt: skip


def memory_of(pid: int) -> int:
    """Bytes of a process; of pages that it shares its part.

    Without those of files such as libraries: of them, its part grows when another program that uses them ends.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = [int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    assert len(kib) == 2, "Linux says so since version 5.4"
    return sum(kib) * 1024


def main(executor: str, cut: str, leak: str, epochs: str, folder: str) -> None:
    """Run so many epochs and measure after each."""
    family, libc = psutil.Process(), ctypes.CDLL(None)
    sizes = []
    with pipeline(folder, executor, cut=cut == "1", leak=leak == "1").loader() as loader:
        for _ in range(int(epochs)):
            for batch in loader:
                assert batch.size
            del batch
            time.sleep(0.2)  # until what is prepared ahead is ready
            gc.collect()
            libc.malloc_trim(0)  # else a batch more or less of free memory stays with the allocator
            sizes.append(sum(memory_of(each.pid) for each in [family, *family.children(recursive=True)]))
    print(json.dumps(sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
