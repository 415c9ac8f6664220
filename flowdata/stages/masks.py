"""Outlines of objects that follow their image, and the masks they enclose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import stage
from flowdata.stages.geometry import check_flip, check_scale, check_size, flip_axes

_FARTHEST = 2.0**30  # pixels; a corner that is farther out goes here, so that it fits an int32


@stage("object_segmentation_polygon_scale")
@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSegmentationPolygonScale:
    """Multiply the points of polygons by their image's scale.

    Args:
        points: Name of the points, which the result replaces.
        scale: Name of the factors for x and y, which ``resize`` makes.

    Shape:
        Points float32 (points, 2) as x, y; scale float32 (2,).

    Raises:
        ConfigError: the points or the scale are of another shape or dtype.

    Reference:
        ``oneflow.detection.object_segmentation_polygon_scale``.
    """

    draws: ClassVar[bool] = False
    points: str = "gt_segm"
    scale: str = "scale"

    def output_spec(self, specs: Specs) -> Specs:
        _check_points("object_segmentation_polygon_scale", specs, self.points)
        check_scale("object_segmentation_polygon_scale", specs, self.scale)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.points: sample[self.points] * sample[self.scale]})


@stage("object_segmentation_polygon_flip")
@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSegmentationPolygonFlip:
    """Mirror polygons as ``image_flip`` mirrors their image: x becomes ``width - x``.

    Args:
        points: Name of the points, which the result replaces.
        size: Name of the image's width and height, such as the ``new_size`` that ``resize`` makes.
        flip: Name of what is mirrored: 0 nothing, 1 left to right, 2 top to bottom, 3 both.

    Shape:
        Points float32 (points, 2) as x, y; size int32 (2,); flip a scalar.

    Raises:
        ConfigError: the points, the size or the flip are of another shape or dtype.
        RecordError: ``flip`` is another number.

    Reference:
        ``oneflow.detection.object_segmentation_polygon_flip``. Points lie between pixels, so no 1 is subtracted as it
        is for boxes, which count pixels.
    """

    draws: ClassVar[bool] = False
    points: str = "gt_segm"
    size: str = "new_size"
    flip: str = "mirror"

    def output_spec(self, specs: Specs) -> Specs:
        _check_points("object_segmentation_polygon_flip", specs, self.points)
        check_size("object_segmentation_polygon_flip", specs, self.size)
        check_flip("object_segmentation_polygon_flip", specs, self.flip)
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        points = sample[self.points].copy()
        axes = flip_axes("object_segmentation_polygon_flip", sample, self.flip)
        for axis, (extent, flip) in enumerate(zip(sample[self.size].tolist(), axes, strict=True)):
            if flip:
                points[:, axis] = np.float32(extent) - points[:, axis]
        return sample.replace(**{self.points: points})


@stage("object_segmentation_polygon_to_mask")
@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSegmentationPolygonToMask:
    """Fill the polygons of each object: 1 within any of them and on their borders, else 0.

    Args:
        points: Name of the polygons' points.
        index: Name of the place of each point: its number within its polygon, the polygon's within its object, the
            object's within the image.
        size: Name of the image's width and height, such as the ``new_size`` that ``resize`` makes.
        objects: Name of a value with a row for each object, which says how many there are: one without polygons gets
            a mask of zeros.
        output: Name of the result.

    Shape:
        Points float32 (points, 2) as x, y; index int32 (points, 3); size int32 (2,); output int8 (objects, height,
        width).

    Raises:
        ConfigError: a value is of another shape or dtype.
        RecordError: the index names an object that is not there.

    Reference:
        ``oneflow.detection.object_segmentation_polygon_to_mask``: corners are rounded to whole pixels, halves to even,
        and the pixels under the outline belong to the mask, which makes it up to a pixel larger on each side than what
        ``pycocotools`` makes of the same polygon. Different on purpose: polygons of one object that overlap are united
        and do not cut each other out; an image without objects is no error.
    """

    draws: ClassVar[bool] = False
    points: str = "gt_segm"
    index: str = "gt_segm_index"
    size: str = "new_size"
    objects: str = "gt_label"
    output: str = "gt_mask"

    def output_spec(self, specs: Specs) -> Specs:
        name = "object_segmentation_polygon_to_mask"
        _check_points(name, specs, self.points)
        check_size(name, specs, self.size)
        if specs[self.index].dtype != np.int32 or specs[self.index].shape != (None, 3):
            raise ConfigError(f"{name}: expected index: {self.index!r} to be int32 (points, 3), got "
                              f"{specs[self.index]}")  # fmt: skip
        if not specs[self.objects].shape:
            raise ConfigError(f"{name}: expected objects: {self.objects!r} to have a row for each object, got a scalar")
        return specs | {self.output: ArraySpec((None, None, None), np.dtype(np.int8))}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        points, index = sample[self.points], sample[self.index]
        width, height = sample[self.size].tolist()
        count = len(sample[self.objects])
        if len(index) != len(points):
            raise RecordError(f"expected {self.index!r} for {len(points)} points, found {len(index)}")
        if len(index) and not 0 <= index[:, 2].min() <= index[:, 2].max() < count:
            raise RecordError(
                f"expected {self.index!r} to name objects below {count}, the number of rows of {self.objects!r}, found "
                f"{index[:, 2].min()} to {index[:, 2].max()}"
            )
        return sample.replace(**{self.output: polygon_masks(points, index, count, height, width)})


def polygon_masks(points: Array, index: Array, count: int, height: int, width: int) -> Array:
    """The masks of ``count`` objects, see :class:`ObjectSegmentationPolygonToMask`."""
    masks = np.zeros((count, height, width), np.int8)
    corners = np.clip(np.rint(points), -_FARTHEST, _FARTHEST).astype(np.int32)
    starts = np.flatnonzero((index[1:, 1:] != index[:-1, 1:]).any(axis=1)) + 1 if len(index) else ()
    for polygon, place in zip(np.split(corners, starts), np.split(index, starts), strict=True):
        if len(polygon):
            # One call for each polygon: OpenCV applies the even-odd rule to those of one call together.
            cv2.fillPoly(masks[place[0, 2]].view(np.uint8), [polygon], 1)
    return masks


def _check_points(name: str, specs: Specs, points: str) -> None:
    spec = specs[points]
    if spec.dtype != np.float32 or len(spec.shape) != 2 or spec.shape[1] != 2:
        raise ConfigError(f"{name}: expected points: {points!r} to be float32 (points, 2), got {spec}")
