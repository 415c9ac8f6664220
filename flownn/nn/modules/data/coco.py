"""Reading images with COCO annotations."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from flowdata.sample import SampleKey
from flowdata.sharding import ShardSpec
from flowdata.sources.coco import COCOSource
from flowdata.sources.endless import Batches, SampledKeys
from flownn import dtypes
from flownn.autograd import wrap
from flownn.nn.modules.data.arguments import check_count, local_shard, new_seed
from flownn.nn.modules.data.run import host_tensor
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["COCOReader"]

_SEED_OF_RANKS = 0  # where several ranks must shuffle alike and nobody said how


class COCOReader(Module):
    """Read batches of images and their objects as a COCO annotation file lists them, without end.

    A batch is always full: where an epoch ends it goes on with the next. The annotation file and the presence of all
    images are checked when the module is made. Images are read in the call; see `flownn.nn.modules.data`.

    Args:
        annotation_file: JSON file with ``images``, ``annotations`` and ``categories``.
        image_dir: Directory that the file names in it refer to.
        batch_size: Images in a batch of this rank.
        shuffle: Permute all images before each epoch, the first one too.
        random_seed: Seed of the permutations, any integer. None is a seed that nobody can foresee in a job of one rank,
            and 0 in a job of several, which must shuffle alike to share the images out.
        group_by_aspect_ratio: Put only images of one ``height // width`` into a batch. The others wait for the next
            batch of their kind, so the order changes a little, and some are delivered after the end of their epoch.
        remove_images_without_annotations: Leave out images without an object larger than one pixel and, where the
            first object has keypoints, with fewer than 10 visible ones.
        stride_partition: Rank r of n takes the images at places r, r + n, ... of the order; otherwise blocks of
            ``ceil(images / n)``.
        device: The cpu.
        placement: Not available: this module makes no global tensors.
        sbp: Not available.
        shard: Whose part of the images to read; None means this process's rank in its job.

    Shape:
        No input. Output, with B = batch_size, and the elements of a `flownn.tensor_buffer` in brackets:
        image (B,) [uint8 (bytes,): the file, undecoded]; image_id (B,) int64; image_size (B, 2) int32: height, width;
        gt_bbox (B,) [float32 (objects, 4): x1, y1, x2, y2, last pixel included]; gt_label (B,) [int32 (objects,), from
        1]; gt_segm (B,) [float32 (points, 2): x, y of all polygons]; gt_segm_index (B,) [int32 (points, 3): number of
        the point in its polygon, of the polygon in its object, of the object in the image].

    Raises:
        ConfigError: the annotation file or an image is missing, or no image is left.
        RecordError: an annotation is not what it should be; the message names it.
        ValueError: ``batch_size`` is out of range.
        NotImplementedError: ``placement`` or ``sbp`` is given.

    Reference:
        ``oneflow.nn.COCOReader``. Different on purpose: an object whose box is empty within the image is left out with
        its label and polygons; missing ``iscrowd`` and ``segmentation`` are allowed; image bytes are uint8.

    >>> import json, pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = pathlib.Path(folder.name)
    >>> _ = (root / "7.jpg").write_bytes(b"the file")
    >>> _ = (root / "objects.json").write_text(json.dumps({
    ...     "images": [{"id": 7, "file_name": "7.jpg", "height": 48, "width": 64}],
    ...     "categories": [{"id": 18}],
    ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 100, 6]}],
    ... }))
    >>> image, image_id, image_size, boxes, labels, *_ = COCOReader(root / "objects.json", root, batch_size=1)()
    >>> image_id, boxes.numpy(), labels.numpy()
    (tensor([7], dtype=flownn.int64), [array([[10., 20., 63., 25.]], dtype=float32)], [array([1], dtype=int32)])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        annotation_file: str | os.PathLike[str],
        image_dir: str | os.PathLike[str],
        batch_size: int,
        shuffle: bool = True,
        random_seed: int | None = None,
        group_by_aspect_ratio: bool = True,
        remove_images_without_annotations: bool = True,
        stride_partition: bool = True,
        device: Any = None,
        placement: Any = None,
        sbp: Any = None,
        *,
        shard: ShardSpec | None = None,
    ) -> None:
        super().__init__()
        shard = local_shard("COCOReader", shard, device, placement, sbp)
        self.batch_size = check_count("COCOReader", "batch_size", batch_size)
        if random_seed is None:
            random_seed = new_seed() if shard.count == 1 else _SEED_OF_RANKS
        self._source = COCOSource(annotation_file, image_dir, remove_images_without_annotations)
        self._keys = SampledKeys(len(self._source), shard, shuffle, int(random_seed), stride_partition)
        groups = self._source.aspect_groups() if group_by_aspect_ratio else None
        self._batches = Batches(self._keys, self.batch_size, groups)

    @property
    def dataset_size(self) -> int:
        """Images that count, of all ranks."""
        return len(self._source)

    def reader_state(self) -> dict[str, Any]:
        """Where this rank's reader is, as a JSON-able dictionary; ``state_dict`` has no room for it.

        It holds the seed, how many images were taken from the order, and epoch and number of those that wait for a
        batch of their aspect ratio.
        """
        waiting = [[(key.epoch, key.index) for key in batch] for batch in self._batches.waiting]
        return self._settings() | {"seed": self._keys.seed, "taken": self._keys.taken, "waiting": waiting}

    def load_reader_state(self, state: dict[str, Any]) -> None:
        """Go on where `reader_state` was called, with its seed.

        Raises:
            ValueError: the state is of a reader of other data, or with other arguments or another rank.
        """
        for name, value in self._settings().items():
            if state.get(name) != value:
                raise ValueError(
                    f"COCOReader: expected the state of a reader with {name} {value!r}, got {state.get(name)!r}"
                )
        self._keys = replace(self._keys, seed=state["seed"], taken=state["taken"], _epoch=-1)
        self._batches = replace(
            self._batches,
            keys=self._keys,
            waiting=[[SampleKey(*numbers) for numbers in batch] for batch in state["waiting"]],
        )

    def _settings(self) -> dict[str, Any]:
        """What decides, besides seed and position, which image comes next."""
        keys = self._keys
        return {
            "version": 1,
            "data": self._source.fingerprint(),
            "batch_size": self.batch_size,
            "rank": [keys.shard.index, keys.shard.count],
            "shuffle": keys.shuffle,
            "stride_partition": keys.stride,
            "group_by_aspect_ratio": self._batches.groups is not None,
        }

    def forward(self) -> tuple[Tensor, ...]:
        """Read the next batch; after an error, the same batch again."""
        keys = self._batches.take()
        try:
            samples = [self._source.read(key) for key in keys]
        except BaseException:
            self._batches.give_back(keys)
            raise
        outputs = []
        for name, spec in self._source.output_spec().items():
            if spec.fixed:
                outputs.append(wrap(np.stack([each[name] for each in samples])))
            else:
                outputs.append(host_tensor(dtypes.tensor_buffer, samples, name))
        return tuple(outputs)
