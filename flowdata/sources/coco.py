"""COCO object annotations and their images as a numbered set of samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from flowdata.sources.coco_cache import load_index
from flowdata.sources.coco_index import CocoIndex, Ints


class COCOSource:
    """Read images and their objects as a COCO annotation file lists them.

    Objects marked ``iscrowd`` are left out, and so are those whose box is empty within the image: box, label and
    polygons together. Classes are numbered from 1 in the order of all category ids of the file.

    Each sample holds ``image`` (the undecoded file, uint8), ``image_id``, ``image_size`` (height, width), ``gt_bbox``
    (n, 4) as x1, y1, x2, y2 with the last pixel included, ``gt_label`` (n,), ``gt_segm`` (points, 2) with the points of
    all polygons, and ``gt_segm_index`` (points, 3), see :meth:`CocoIndex.segments`.

    Args:
        annotation_file: JSON file with ``images``, ``annotations`` and ``categories``.
        image_dir: Directory that the file names in it refer to.
        remove_images_without_annotations: Leave out images without an object larger than one pixel and, where the
            first object has keypoints, with fewer than 10 visible ones.

    Raises:
        ConfigError: from ``open``, when the annotation file or an image is missing, or no image is left.
        RecordError: from ``open``, when an annotation is not what it should be; from ``read``, when an image cannot be
            read.

    Reference:
        ``oneflow/user/data/coco_data_reader.cpp``. Different on purpose: ``iscrowd`` and ``segmentation`` may be
        missing, a triangle is a polygon, and a box that is left out takes its label and polygons with it.
    """

    def __init__(
        self,
        annotation_file: str | os.PathLike[str],
        image_dir: str | os.PathLike[str],
        remove_images_without_annotations: bool = True,
    ) -> None:
        self.annotation_file = Path(annotation_file)
        self.image_dir = Path(image_dir)
        self.remove_images_without_annotations = remove_images_without_annotations
        self._index: CocoIndex | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_index": None}

    @property
    def index(self) -> CocoIndex:
        """What the annotation file says."""
        self.open()
        assert self._index is not None, "open sets it or raises"
        return self._index

    def open(self) -> None:
        """Read the annotation file, or what is cached of it, and check that the images are there."""
        if self._index is not None:
            return
        index = load_index(self.annotation_file, self.remove_images_without_annotations)
        if not index.files:
            rule = " with annotations" if self.remove_images_without_annotations else ""
            raise ConfigError(f"{self.annotation_file}: expected images{rule}, found none")
        self._check_files(index.files)
        self._index = index

    def close(self) -> None:
        """Forget the annotations; ``open`` reads them again."""
        self._index = None

    def __len__(self) -> int:
        """Number of images that count."""
        return len(self.index.files)

    def output_spec(self) -> Specs:
        """The seven values of a sample."""
        return {
            "image": ArraySpec((None,), np.dtype(np.uint8)),
            "image_id": ArraySpec((), np.dtype(np.int64)),
            "image_size": ArraySpec((2,), np.dtype(np.int32), "height, width"),
            "gt_bbox": ArraySpec((None, 4), np.dtype(np.float32)),
            "gt_label": ArraySpec((None,), np.dtype(np.int32)),
            "gt_segm": ArraySpec((None, 2), np.dtype(np.float32)),
            "gt_segm_index": ArraySpec((None, 3), np.dtype(np.int32)),
        }

    def read(self, key: SampleKey) -> Sample:
        """Read one image's file, and what is known about it."""
        index, image = self.index, key.index
        path = self.image_dir / index.files[image]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror})") from None
        first, last = index.objects[image : image + 2]
        points, point_index = index.segments(image)
        values = {
            "image": np.frombuffer(bytearray(content), np.uint8),  # the caller's own
            "image_id": index.image_ids[image],
            "image_size": index.sizes[image].copy(),
            "gt_bbox": index.boxes[first:last].copy(),
            "gt_label": index.labels[first:last].copy(),
            "gt_segm": points.copy(),
            "gt_segm_index": point_index,
        }
        return Sample(key, values, str(path))

    def aspect_groups(self) -> Ints:
        """Group of each image by its shape: 0 for landscape, 1 for square to twice as high as wide, 2 and so on."""
        sizes = self.index.sizes.astype(np.int64)
        return sizes[:, 0] // sizes[:, 1]

    def fingerprint(self) -> str:
        """Digest of the images' names and of all annotations."""
        digest = hashlib.sha256(repr(self.index.files).encode())
        for each in fields(CocoIndex):
            if each.name != "files":
                digest.update(getattr(self.index, each.name).tobytes())
        return digest.hexdigest()[:16]

    def _check_files(self, files: Sequence[str]) -> None:
        """Compare with the lists of the directories: much faster than asking for each file."""
        listed: dict[str, set[str]] = {}
        missing = []
        for file in files:
            folder, name = os.path.split(self.image_dir / file)
            if folder not in listed:
                listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
            if name not in listed[folder]:
                missing.append(file)
        if missing:
            shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise ConfigError(
                f"{self.image_dir}: expected the {len(files)} images of {self.annotation_file}; missing: "
                f"{len(missing)} ({shown})"
            )
