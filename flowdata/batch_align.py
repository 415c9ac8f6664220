"""A batch transform that puts images of different sizes into one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowdata.batch_transforms import batch_transform
from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Batch, Specs

_AXES = {"HWC": (0, 1), "CHW": (1, 2)}  # of height and width, by layout


@batch_transform("image_batch_align")
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageBatchAlign:
    """Put the images of a batch into one array, each at its top left, with zeros to the right and below.

    Args:
        alignment: Height and width of the array are the greatest of the batch, rounded up to a multiple of this power
            of two; 0 rounds nothing.
        size: Height and width of the array in pixels; by default those of the batch, rounded. They must have room for
            these.
        image: Name of the images, which the array replaces.

    Shape:
        Images (height, width, channels) or (channels, height, width), of any numeric dtype; output (samples, H, W,
        channels) or (samples, channels, H, W).

    Raises:
        ConfigError: an argument is out of range, or the images are of another layout.
        RecordError: the images are larger than ``size``.

    Reference:
        ``oneflow.nn.image.batch_align``. Different on purpose: ``size`` may be larger than what the images need, and 0
        is an alignment.
    """

    alignment: int = 0
    size: tuple[int, int] | None = None
    image: str = "image"

    def __post_init__(self) -> None:
        name = "image_batch_align"
        if self.alignment < 0 or self.alignment & (self.alignment - 1):
            raise ConfigError(f"{name}: expected alignment to be 0 or a power of two, got {self.alignment}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"{name}: expected size as (height, width) >= 1, got {self.size}")

    def output_spec(self, specs: Specs) -> Specs:
        spec = specs[self.image]
        if spec.layout not in _AXES:
            raise ConfigError(f"image_batch_align: expected image: {self.image!r} to be HWC or CHW, got {spec}")
        shape = list(spec.shape)
        for axis, extent in zip(_AXES[spec.layout], self.size or (None, None), strict=True):
            shape[axis] = extent
        return specs | {self.image: ArraySpec(tuple(shape), spec.dtype, spec.layout)}

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        aligned = self.align(batch[self.image], batch.specs[self.image], batch.indices.tolist())
        return batch.replace(**{self.image: aligned})

    def align(self, images: Sequence[Array], spec: ArraySpec, names: Sequence[object]) -> Array:
        """The array of these images.

        Args:
            images: The images.
            spec: What they have in common.
            names: What to call each in a message.

        Raises:
            RecordError: an image does not fit.
        """
        axes = _AXES[spec.layout]
        sizes = np.array([[each.shape[axis] for axis in axes] for each in images], np.int64).reshape(-1, 2)
        step = max(self.alignment, 1)
        needed = -(-sizes // step) * step
        height, width = size = self.size or tuple(needed.max(axis=0, initial=0).tolist())
        if (needed > size).any():
            worst = int(np.flatnonzero((needed > size).any(axis=1))[0])
            raise RecordError(
                f"image_batch_align: expected images of at most {height} x {width} pixels with alignment "
                f"{self.alignment}, found {sizes[worst, 0]} x {sizes[worst, 1]} in record {names[worst]}"
            )
        shape = [extent or 0 for extent in spec.shape]
        shape[axes[0]], shape[axes[1]] = height, width
        result = np.zeros((len(images), *shape), spec.dtype)
        for row, image in zip(result, images, strict=True):
            row[tuple(map(slice, image.shape))] = image
        return result
