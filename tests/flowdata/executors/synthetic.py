"""A source and stages that need no files, and a look at which processes are left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import ArraySpec, Batch, Sample, SampleKey, Specs

TOKEN = "FLOWDATA_TEST_TOKEN"


@dataclass(frozen=True)
class Numbers:
    """Records made from their number: a small image, a label and boxes whose count differs."""

    length: int = 53
    boxes: bool = True

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return self.length

    def output_spec(self) -> Specs:
        specs = {
            "image": ArraySpec((5, 7, 3), np.dtype(np.float32), "HWC"),
            "boxes": ArraySpec((None, 4), np.dtype(np.float64)),
            "label": ArraySpec((), np.dtype(np.int64)),
        }
        return specs if self.boxes else {name: spec for name, spec in specs.items() if spec.fixed}

    def read(self, key: SampleKey) -> Sample:
        data = {"image": np.full((5, 7, 3), key.index, np.float32), "label": np.int64(key.index)}
        if self.boxes:
            data["boxes"] = np.arange(key.index % 4 * 4, dtype=np.float64).reshape(-1, 4)
        return Sample(key, data, f"number {key.index}")

    def fingerprint(self) -> str:
        return f"numbers {self.length}"


@dataclass(frozen=True)
class Mixed:
    """Another permutation in each epoch."""

    def permutation(self, seed: int, epoch: int, length: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(length)


def noise(sample: Sample, rng: np.random.Generator) -> Sample:
    image = sample.destination("image", (5, 7, 3), np.float32)
    np.add(sample["image"], rng.standard_normal((5, 7, 3), np.float32), out=image)
    return sample.replace(image=image)


@dataclass(frozen=True)
class At:
    """Do something to the records with certain indices, and pass all on."""

    indices: tuple[int, ...]
    action: Callable[[], object]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.key.index in self.indices:
            self.action()
        return sample


@dataclass(frozen=True)
class Sleep:
    seconds: float

    def __call__(self) -> None:
        time.sleep(self.seconds)


def numbers(*stages: Callable[[Sample, np.random.Generator], Sample], **changes: object) -> Pipeline:
    """A pipeline of :class:`Numbers` in worker processes."""
    pipeline = Pipeline(
        Numbers(), (noise, *stages), batch_size=8, order=Mixed(), seed=3, executor="process", workers=2,
        samples_per_message=3, max_worker_restarts=0,
    )  # fmt: skip
    return replace(pipeline, **changes)


def serial(pipeline: Pipeline) -> Pipeline:
    return replace(pipeline, executor="serial")


def content(batch: Batch) -> tuple[object, ...]:
    """Everything about a batch that consumers can see, as plain values that compare by bytes."""

    def plain(array: np.ndarray) -> tuple[object, ...]:
        assert array.flags.c_contiguous
        assert array.flags.writeable
        return array.shape, array.dtype.str, array.tobytes()

    arrays = [
        (name, [plain(each) for each in value] if isinstance(value, list) else plain(value))
        for name, value in batch.items()
    ]
    return batch.epoch, batch.step, batch.global_size, plain(batch.indices), arrays


def epochs(loader: Loader, count: int) -> list[tuple[object, ...]]:
    """The contents of all batches of the next epochs."""
    return [content(batch) for _ in range(count) for batch in loader]


def family(token: str) -> dict[int, str]:
    """Processes that inherited the token in their environment and are not zombies, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                inherits = f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if inherits and state not in "ZX":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


def server_of(processes: dict[int, str]) -> int:
    """The one of these processes whose parent is this process."""
    [server] = [
        pid for pid in processes
        if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    ]  # fmt: skip
    return server


def slot_mappings() -> int:
    """How many shared memories of slots this process has mapped."""
    return sum("flowdata-" in line for line in Path("/proc/self/maps").read_text().splitlines())
