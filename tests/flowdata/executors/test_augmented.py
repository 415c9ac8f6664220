"""Augmented samples are the same bytes whoever makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from flowdata.sources.order import Shuffled
from flowdata.stages.affine import Affine, Rotate
from flowdata.stages.augment import RandAugment, TrivialAugment
from flowdata.stages.color import AutoContrast, ColorJitter, Equalize, GaussianBlur, Grayscale, Sharpness
from flowdata.stages.crop import Flip, RandomCrop
from flowdata.stages.erase import RandomErasing
from flowdata.stages.normalize import CropMirrorNormalize
from tests.flowdata.executors.synthetic import epochs, serial
from tests.helpers.records import picture


@dataclass(frozen=True)
class Pictures:
    """Small images, a different one for each number."""

    length: int = 22

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return self.length

    def output_spec(self) -> Specs:
        return {"image": ArraySpec((None, None, 3), np.dtype(np.uint8), "HWC")}

    def read(self, key: SampleKey) -> Sample:
        return Sample(key, {"image": picture(30 + key.index % 5, 28, seed=key.index)}, f"picture {key.index}")

    def fingerprint(self) -> str:
        return f"pictures {self.length}"


AUGMENTED = Pipeline(
    Pictures(),
    [
        Affine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5, interpolation="bilinear"),
        Rotate(degrees=10),
        RandomCrop(size=(24, 24), padding=2),
        Flip(),
        ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
        Grayscale(probability=0.2),
        AutoContrast(),
        Equalize(),
        Sharpness(factor=1.5),
        GaussianBlur(kernel_size=3),
        RandAugment(),
        TrivialAugment(),
        CropMirrorNormalize(mean=127.5, std=127.5),
        RandomErasing(value="random", layout="CHW"),
    ],
    batch_size=5, order=Shuffled(), seed=7, executor="process", samples_per_message=2,
)  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_makes_the_same_bytes(workers: int) -> None:
    with replace(AUGMENTED, workers=workers).loader() as loader, serial(AUGMENTED).loader() as expected:
        assert epochs(loader, 2) == epochs(expected, 2)


def test_each_epoch_and_each_seed_looks_different() -> None:
    def by_index(loader: Loader) -> dict[int, np.ndarray]:
        return {
            index: image
            for batch in loader
            for index, image in zip(batch.indices.tolist(), batch["image"], strict=True)
        }

    with serial(AUGMENTED).loader() as loader, serial(replace(AUGMENTED, seed=8)).loader() as other:
        first, second, reseeded = by_index(loader), by_index(loader), by_index(other)
    for index in range(22):
        assert (first[index] != second[index]).any()
        assert (first[index] != reseeded[index]).any()
