"""COCO annotations and their images to OFRecord part files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from flowdata.errors import ConfigError, DataError, RecordError
from flowdata.records.wire import Feature, Kind
from flowdata.sources.coco_index import CocoIndex, build_index, load_annotations
from flowdata.tools.pictures import ROWS, ImageOptions, prepare_picture
from flowdata.tools.writing import (
    Conversion,
    Converted,
    Progress,
    Skipped,
    check_parts,
    convert_items,
    prepare_output,
    reason,
)

COCO_FEATURES: dict[str, Kind] = {
    "encoded": "bytes", "image_id": "int64", "height": "int32", "width": "int32", "object/bbox/label": "int32",
    "object/segm/points": "float", "object/segm/index": "int32",
    **{f"object/bbox/{side}": "float" for side in ("xmin", "ymin", "xmax", "ymax")},
}  # fmt: skip


def convert_coco(
    annotations: Path,
    images: Path,
    out: Path,
    *,
    split: str = "train",
    parts: int = 8,
    keep_unannotated: bool = False,
    quality: int = 95,
    short_side: int | None = None,
    row_restarts: bool = False,
    workers: int | None = None,
    digests: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Write the images of a COCO annotation file, with their objects, as OFRecords in the order of image ids.

    Which objects count and what their boxes are is as for :class:`flowdata.sources.coco.COCOSource`. Labels count from
    1 in the order of category ids; class 0 is called ``background``. A record has ``encoded``, ``image_id``,
    ``height``, ``width``, ``filename``, for each object one value of ``object/bbox/xmin``, ``ymin``, ``xmax``, ``ymax``
    (the last pixel included) and ``object/bbox/label``, and the polygons as ``object/segm/points`` (x, y, x, y, …) with
    ``object/segm/index``: for each point its number in the polygon, the polygon's in the object, the object's in the
    image. Images that cannot be read or have another size than the annotations say are skipped and listed.

    Args:
        annotations: JSON file with ``images``, ``annotations`` and ``categories``.
        images: Directory that the file names in it refer to.
        out: Directory to write; made if needed.
        split: Name of the split, ``train`` or ``val``.
        parts: Part files.
        keep_unannotated: Also convert images without an object larger than one pixel.
        quality: JPEG quality of what is encoded again: all but baseline JPEG.
        short_side: Pixels to which the shorter side of larger images is reduced; boxes and points are multiplied by the
            same factors, as the stages ``object_bbox_scale`` and ``object_segmentation_polygon_scale`` do.
        row_restarts: See :class:`flowdata.tools.pictures.ImageOptions`.
        workers: Threads that read and decode; by default one per usable processor.
        digests: Also write a checksum per record.
        overwrite: Write although ``out`` is not empty; removes the data set that it holds, not other files.
        progress: Called with the number of images done and the number of images.

    Raises:
        ConfigError: an argument is out of range, a file or directory is missing, ``out`` is in use.
        DataError: the annotations are damaged, or no image could be read.
    """
    options = ImageOptions(quality=quality, short_side=short_side, row_restarts=row_restarts)
    if not images.is_dir():
        raise ConfigError(f"convert coco: {images} is not a directory; expected the images of {annotations}")
    tree = load_annotations(annotations)
    index = build_index(tree, annotations, remove_images_without_annotations=not keep_unannotated)
    check_parts(f"convert coco: {annotations}", parts, len(index.files))
    prepare_output(out, overwrite)
    return convert_items(
        out,
        source=f"convert coco: {images}",
        classes=["background", *_category_names(tree)],
        features=COCO_FEATURES | ({ROWS: "int32"} if row_restarts else {}),
        splits={split: (parts, range(len(index.files)))},
        read=lambda number: _read(index, number, images, options),
        workers=workers,
        digests=digests,
        progress=progress,
    )


def _category_names(tree: Any) -> list[str]:
    """In the order of ids; an id where there is no name."""
    rows = sorted(tree["categories"], key=lambda row: row["id"])
    return [str(row.get("name", row["id"])) for row in rows]


def _read(index: CocoIndex, number: int, images: Path, options: ImageOptions) -> Converted | Skipped:
    name = index.files[number]
    try:
        if not (images / name).is_file():
            raise RecordError("a broken link, or no regular file")
        picture = prepare_picture((images / name).read_bytes(), options)
        height, width = index.sizes[number].tolist()
        if picture.original != (height, width):
            found = f"{picture.original[0]} x {picture.original[1]}"
            raise RecordError(f"the image has {found} pixels, the annotations say {height} x {width}")
    except (DataError, OSError) as error:
        return Skipped(name, reason(error))
    first, last = index.objects[number : number + 2]
    points, place = index.segments(number)
    boxes = index.boxes[first:last]
    if picture.shape[:2] != picture.original:
        scale = np.array([picture.shape[1] / width, picture.shape[0] / height], np.float32)
        boxes, points = boxes * np.tile(scale, 2), points * scale
    features: dict[str, Any] = {
        "encoded": picture.encoded,
        "image_id": np.int64(index.image_ids[number]),
        "filename": os.fsencode(name),
        "height": picture.shape[0],
        "width": picture.shape[1],
        "object/bbox/label": index.labels[first:last],
        "object/segm/points": points.reshape(-1),
        "object/segm/index": place.reshape(-1),
    }
    for side, values in zip(("xmin", "ymin", "xmax", "ymax"), boxes.T, strict=True):
        features[f"object/bbox/{side}"] = Feature("float", np.ascontiguousarray(values))
    if picture.rows is not None:
        features[ROWS] = picture.rows
    return Converted(features, picture.kept)
