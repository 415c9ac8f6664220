"""From a COCO annotation file to a few flat arrays with offsets; the parsed JSON is not kept."""

from __future__ import annotations

import gc
import json
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import ConfigError, RecordError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Row = dict[str, Any]

_MIN_KEYPOINTS = 10  # visible ones, for an image of a keypoint data set to count as annotated
_MIN_POLYGON = 6  # numbers: three points
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class CocoIndex:
    """The images that count, by ascending id, and their objects, in the order of the annotation file.

    Args:
        image_ids: Id of each image.
        sizes: Height and width of each image in pixels, as the file says; int32 (images, 2).
        files: Name of each image's file.
        objects: First object of each image, and the number of all objects.
        boxes: x1, y1, x2, y2 of each object; float32 (objects, 4).
        labels: Class of each object, from 1; int32.
        polygons: First polygon of each object, and the number of all polygons.
        corners: First point of each polygon, and the number of all points.
        points: x, y of each polygon's points; float32 (points, 2).
    """

    image_ids: Ints
    sizes: NDArray[np.int32]
    files: tuple[str, ...]
    objects: Ints
    boxes: Floats
    labels: NDArray[np.int32]
    polygons: Ints
    corners: Ints
    points: Floats

    def segments(self, image: int) -> tuple[Floats, NDArray[np.int32]]:
        """The points of all polygons of an image, and where each belongs.

        Returns:
            float32 (points, 2), and int32 (points, 3): number of the point within its polygon, of the polygon within
            its object, and of the object within the image.
        """
        first, last = self.objects[image : image + 2]
        polygons = self.polygons[first : last + 1]
        corners = self.corners[polygons[0] : polygons[-1] + 1]
        lengths = np.diff(corners)
        object_of = np.repeat(np.arange(last - first), np.diff(polygons))  # of each polygon
        polygon_of = np.arange(len(lengths)) - (polygons[:-1] - polygons[0])[object_of]
        place = np.arange(corners[-1] - corners[0]) - np.repeat(corners[:-1] - corners[0], lengths)
        index = np.stack([place, np.repeat(polygon_of, lengths), np.repeat(object_of, lengths)], axis=1)
        return self.points[corners[0] : corners[-1]], index.astype(np.int32)


def build_index(tree: Any, file: Path, remove_images_without_annotations: bool = True) -> CocoIndex:
    """Pack the parsed content of an annotation file.

    Args:
        tree: What the JSON holds.
        file: Where it is from, for messages.
        remove_images_without_annotations: See :class:`COCOSource`.

    Raises:
        RecordError: something in it is not what it should be.
    """
    images, annotations, categories = (_rows(tree, file, name) for name in ("images", "annotations", "categories"))
    image_ids, order = _ids(images, file, "image")
    category_ids, _ = _ids(categories, file, "category")
    _ids(annotations, file, "annotation")
    sizes = np.stack([_ints(images, file, "image", name) for name in ("height", "width")], axis=1)[order]
    wrong = np.flatnonzero(((sizes < 1) | (sizes >= 2**31)).any(axis=1))
    if len(wrong):
        raise RecordError(
            f"{file}: image {image_ids[wrong[0]]}: expected height and width of 1 pixel or more, found "
            f"{sizes[wrong[0]].tolist()}"
        )
    files = [_file_name(images[row], file) for row in order.tolist()]

    objects = [each for each in annotations if each.get("iscrowd", 0) != 1]
    image_of = _positions(objects, file, "image_id", image_ids, "image")
    category_of = _positions(objects, file, "category_id", category_ids, "category")
    raw_boxes = _boxes(objects, file)
    if remove_images_without_annotations:
        kept = np.flatnonzero(_annotated(objects, file, image_of, raw_boxes, len(image_ids)))
    else:
        kept = np.arange(len(image_ids))
    new_position = np.full(len(image_ids), -1)
    new_position[kept] = np.arange(len(kept))

    boxes, valid = _clipped(raw_boxes, sizes[image_of])
    valid &= new_position[image_of] >= 0
    rows = np.flatnonzero(valid)
    rows = rows[np.argsort(new_position[image_of[rows]], kind="stable")]
    polygons, corners, points = _polygons([objects[row] for row in rows.tolist()], file)
    return CocoIndex(
        image_ids=image_ids[kept],
        sizes=sizes[kept].astype(np.int32),
        files=tuple(files[row] for row in kept.tolist()),
        objects=_starts(np.bincount(new_position[image_of[rows]], minlength=len(kept))),
        boxes=boxes[rows],
        labels=(category_of[rows] + 1).astype(np.int32),
        polygons=polygons,
        corners=corners,
        points=points,
    )


def load_annotations(file: Path) -> Any:
    """What the JSON of an annotation file holds; polygons are arrays, of a sixth of the memory of their lists.

    Raises:
        ConfigError: there is no such file.
        RecordError: it holds no JSON.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of new lists, none of them garbage: looking through them takes longer than reading them
    try:
        content = file.read_bytes()
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        del content  # half a gigabyte for a hundred thousand images
        return json.loads(text, object_hook=_with_arrays)
    except OSError as error:
        raise ConfigError(f"{file}: the annotation file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecordError(f"{file}: expected JSON ({error})") from None
    finally:
        if collecting:
            gc.enable()


def _with_arrays(row: Row) -> Row:
    """A JSON object as soon as it is read; what is no polygon of numbers stays, to be complained about later."""
    polygons = row.get("segmentation")
    if type(polygons) is list:
        with suppress(TypeError, OverflowError):
            row["segmentation"] = [array("f", each) if _is_polygon(each) else each for each in polygons]
    return row


def _rows(tree: Any, file: Path, name: str) -> list[Row]:
    rows = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RecordError(f"{file}: expected a list of objects under {name!r}, found {_short(rows)}")
    return rows


def _ids(rows: list[Row], file: Path, kind: str) -> tuple[Ints, Ints]:
    """The ids in ascending order, and the row of each."""
    ids = _ints(rows, file, kind, "id")
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise RecordError(f"{file}: expected each {kind} id once, found {repeated[0]} repeatedly")
    return ids, order


def _ints(rows: list[Row], file: Path, kind: str, name: str) -> Ints:
    """One whole number of each row."""
    if not rows:
        return np.zeros(0, np.int64)
    values = np.array([row.get(name) for row in rows], object)
    if values.ndim == 1 and all(type(value) is int for value in values):
        with suppress(OverflowError):
            return values.astype(np.int64)
    if values.ndim == 1 and all(map(_is_whole, values)):
        return values.astype(np.float64).astype(np.int64)
    raise _first_bad(rows, file, kind, name, "a whole number", _is_whole)


def _is_whole(value: Any) -> bool:
    return type(value) in (int, float) and -(2**63) <= value < 2**63 and float(value).is_integer()


def _first_bad(
    rows: list[Row], file: Path, kind: str, name: str, expected: str, good: Callable[[Any], bool]
) -> RecordError:
    """The error of the first row whose value is not as expected; there is one."""
    place, row = next((place, row) for place, row in enumerate(rows) if not good(row.get(name)))
    which = f"{kind} {row['id']}" if name != "id" and "id" in row else f"{kind} number {place + 1}"
    return RecordError(f"{file}: {which}: expected {name} as {expected}, found {_short(row.get(name, 'none'))}")


def _file_name(row: Row, file: Path) -> str:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise RecordError(f"{file}: image {row['id']}: expected file_name as text, found {_short(name)}")
    return name


def _positions(rows: list[Row], file: Path, name: str, ids: Ints, kind: str) -> Ints:
    """Where the id that each row names stands among the sorted ids."""
    wanted = _ints(rows, file, "annotation", name)
    positions = np.searchsorted(ids, wanted)
    known = np.isin(wanted, ids)
    if not known.all():
        worst = int(np.flatnonzero(~known)[0])
        raise RecordError(
            f"{file}: annotation {rows[worst]['id']}: expected {name} of one of {len(ids)} {kind} entries, found "
            f"{wanted[worst]}"
        )
    return positions


def _boxes(rows: list[Row], file: Path) -> Floats:
    """x, y, width, height of each row."""
    try:
        with np.errstate(over="ignore"):
            boxes = np.array([row.get("bbox") for row in rows], np.float32).reshape(len(rows), 4)
    except (TypeError, ValueError):
        raise _first_bad(rows, file, "annotation", "bbox", "four numbers", _is_box) from None
    if not np.isfinite(boxes).all():
        raise _first_bad(rows, file, "annotation", "bbox", "four finite numbers", _is_box)
    return boxes


def _is_box(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 4 and all(isinstance(each, (int, float)) for each in value)
    return numbers and all(abs(each) <= _LARGEST for each in value)


def _annotated(rows: list[Row], file: Path, image_of: Ints, boxes: Floats, images: int) -> NDArray[np.bool_]:
    """Whether each image has an object of more than one pixel and, in a keypoint data set, enough visible keypoints."""
    kept = np.bincount(image_of[(boxes[:, 2] > 1) & (boxes[:, 3] > 1)], minlength=images) > 0
    has_keypoints = np.array(["keypoints" in row for row in rows], bool)
    if has_keypoints.any():
        visible = np.bincount(image_of, [_visible(row, file) for row in rows], minlength=images)
        present, first = np.unique(image_of, return_index=True)
        counted = present[has_keypoints[first]]
        kept[counted] &= visible[counted] >= _MIN_KEYPOINTS
    return kept


def _visible(row: Row, file: Path) -> int:
    keypoints = row.get("keypoints", [])
    if not isinstance(keypoints, list) or len(keypoints) % 3 or not all(isinstance(v, (int, float)) for v in keypoints):
        raise RecordError(
            f"{file}: annotation {row['id']}: expected keypoints as x, y, visibility of each, found {_short(keypoints)}"
        )
    return sum(visibility > 0 for visibility in keypoints[2::3])


def _clipped(boxes: Floats, sizes: Ints) -> tuple[Floats, NDArray[np.bool_]]:
    """x1, y1, x2, y2 within the image, last pixel included; and whether anything is left of each box."""
    low = boxes[:, :2]
    high = low + np.maximum(boxes[:, 2:] - np.float32(1), 0)
    limit = (sizes[:, ::-1] - 1).astype(np.float32)  # width first
    low, high = (np.clip(each, 0, limit) for each in (low, high))
    return np.concatenate([low, high], axis=1), np.all(high > low, axis=1)


def _polygons(rows: list[Row], file: Path) -> tuple[Ints, Ints, Floats]:
    """First polygon of each row, first point of each polygon, and the points."""
    segmentations = [row.get("segmentation") or [] for row in rows]
    lists = all(type(polygons) is list for polygons in segmentations)
    flat = list(chain.from_iterable(segmentations)) if lists else []
    if not (lists and all(map(_is_polygon, flat))):
        for row, polygons in zip(rows, segmentations, strict=True):
            _check_polygons(row, polygons, file)
    counts = np.fromiter(map(len, segmentations), np.int64, len(segmentations))
    lengths = np.fromiter(map(len, flat), np.int64, len(flat))
    try:
        packed = (each if type(each) is array else array("f", each) for each in flat)
        numbers = np.frombuffer(bytearray().join(packed), np.float32)
    except (TypeError, OverflowError) as error:
        raise RecordError(f"{file}: expected polygons of numbers, found something else ({error})") from None
    if not np.isfinite(numbers).all():
        raise RecordError(f"{file}: expected polygons of finite numbers, found {numbers[~np.isfinite(numbers)][0]}")
    return _starts(counts), _starts(lengths // 2), numbers.reshape(-1, 2)


def _check_polygons(row: Row, polygons: Any, file: Path) -> None:
    if isinstance(polygons, dict):
        raise RecordError(
            f"{file}: annotation {row['id']}: expected segmentation as polygons, found a run-length mask, which only "
            "objects with iscrowd may have; convert it to polygons or remove it"
        )
    for polygon in polygons if isinstance(polygons, list) else [polygons]:
        if not _is_polygon(polygon):
            raise RecordError(
                f"{file}: annotation {row['id']}: expected each polygon as x, y of three points or more, found "
                f"{_short(polygon)}"
            )


def _is_polygon(value: Any) -> bool:
    return type(value) in (list, array) and len(value) >= _MIN_POLYGON and len(value) % 2 == 0


def _starts(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
