"""Boxes that follow their image when it is scaled or mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Array, Sample, Specs
from flowdata.stages import stage
from flowdata.stages.geometry import check_flip, check_scale, check_size, flip_axes


@stage("object_bbox_scale")
@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectBboxScale:
    """Multiply the corners of boxes by their image's scale.

    Args:
        boxes: Name of the boxes, which the result replaces.
        scale: Name of the factors for x and y, which ``resize`` makes.

    Shape:
        Boxes float32 (objects, 4) as x1, y1, x2, y2; scale float32 (2,).

    Raises:
        ConfigError: the boxes or the scale are of another shape or dtype.

    Reference:
        ``oneflow.detection.object_bbox_scale``. The last pixel of a box is scaled as its first is, so a box that is
        enlarged ends up to one pixel of the old image before the border that it touched.
    """

    draws: ClassVar[bool] = False
    boxes: str = "gt_bbox"
    scale: str = "scale"

    def output_spec(self, specs: Specs) -> Specs:
        _check_boxes("object_bbox_scale", specs, self.boxes)
        check_scale("object_bbox_scale", specs, self.scale)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.boxes: sample[self.boxes] * np.tile(sample[self.scale], 2)})


@stage("object_bbox_flip")
@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectBboxFlip:
    """Mirror boxes as ``image_flip`` mirrors their image: x1 becomes ``width - 1 - x2`` and so on.

    Args:
        boxes: Name of the boxes, which the result replaces.
        size: Name of the image's width and height, such as the ``new_size`` that ``resize`` makes.
        flip: Name of what is mirrored: 0 nothing, 1 left to right, 2 top to bottom, 3 both.

    Shape:
        Boxes float32 (objects, 4) as x1, y1, x2, y2 with the last pixel included; size int32 (2,); flip a scalar.

    Raises:
        ConfigError: the boxes, the size or the flip are of another shape or dtype.
        RecordError: ``flip`` is another number.

    Reference:
        ``oneflow.detection.object_bbox_flip``.
    """

    draws: ClassVar[bool] = False
    boxes: str = "gt_bbox"
    size: str = "new_size"
    flip: str = "mirror"

    def output_spec(self, specs: Specs) -> Specs:
        _check_boxes("object_bbox_flip", specs, self.boxes)
        check_size("object_bbox_flip", specs, self.size)
        check_flip("object_bbox_flip", specs, self.flip)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        axes = flip_axes("object_bbox_flip", sample, self.flip)
        return sample.replace(**{self.boxes: _flipped(sample[self.boxes], sample[self.size], axes)})


def _flipped(boxes: Array, size: Array, axes: tuple[bool, bool]) -> Array:
    result = boxes.copy()
    for axis, (extent, flip) in enumerate(zip(size.tolist(), axes, strict=True)):
        if flip:
            result[:, [axis, axis + 2]] = np.float32(extent - 1) - boxes[:, [axis + 2, axis]]
    return result


def _check_boxes(name: str, specs: Specs, boxes: str) -> None:
    spec = specs[boxes]
    if spec.dtype != np.float32 or len(spec.shape) != 2 or spec.shape[1] != 4:
        raise ConfigError(f"{name}: expected boxes: {boxes!r} to be float32 (objects, 4), got {spec}")
