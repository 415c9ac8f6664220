"""The numbered test vectors of the specification of readers and decoders, word for word; more tests lie elsewhere."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flowdata.errors import RecordError
from flowdata.records.frames import frame_offsets
from flowdata.records.writer import PartWriter, write_parts
from flowdata.sample import SampleKey
from flowdata.sharding import ShardSpec, split_range
from flowdata.sources.coco import COCOSource
from flowdata.sources.endless import PartKeys, SampledKeys
from flowdata.stages.boxes import ObjectBboxFlip
from flowdata.stages.geometry import keep_aspect_size
from flowdata.stages.masks import ObjectSegmentationPolygonFlip
from flowdata.stages.normalize import CropMirrorNormalize
from flowdata.stages.window import random_crop_window
from flowdist.env import RankInfo
from flownn.nn.modules.data import arguments
from tests.helpers.coco import write_coco
from tests.helpers.records import sample_of

nn = flow.nn
RNG = np.random.default_rng(0)
LABEL = nn.OFRecordRawDecoder("class/label", shape=(), dtype=flow.int32)


def test_vector_1_bytes_of_a_record(tmp_path: Path) -> None:
    expected = bytes.fromhex(
        "16 00 00 00 00 00 00 00 0a 14 0a 0b 63 6c 61 73 73 2f 6c 61 62 65 6c 12 05 22 03 0a 01 05"
    )
    assert len(expected) == 30
    with PartWriter(tmp_path / "part-0") as writer:
        writer.write({"class/label": np.array([5], np.int32)})
    assert (tmp_path / "part-0").read_bytes() == expected
    assert frame_offsets(tmp_path / "part-0").tolist() == [0, 30]
    assert LABEL(nn.OFRecordReader(tmp_path)()).tolist() == [5]


def test_vector_2_ten_parts_for_four_shards() -> None:
    starts = np.arange(11)  # one record in each part
    parts = [PartKeys(starts, ShardSpec(shard, 4)).parts(0).tolist() for shard in range(4)]
    assert parts == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]


def test_vector_3_images_of_each_shard() -> None:
    strided = ["0 4 8 2 6 0", "1 5 9 3 7 1", "2 6 0 4 8 2", "3 7 1 5 9 3"]
    blocks = ["0 1 2 2 3 4", "3 4 5 5 6 7", "6 7 8 8 9 0", "9 0 1 1 2 3"]
    for stride, expected in ((True, strided), (False, blocks)):
        for shard, numbers in enumerate(expected):
            keys = SampledKeys(10, ShardSpec(shard, 4), stride=stride)
            assert [key.index for key in islice(keys, 6)] == [int(number) for number in numbers.split()]


def test_vector_4_raw_values(tmp_path: Path) -> None:
    floats = {"two": np.array([1.5, 2.5], np.float32), "four": np.array([1, 2, 3, 4], np.float32)}
    write_parts(tmp_path, [floats | {"seven": np.array([7], np.int64)}], parts=1, suffix_length=-1)
    record = nn.OFRecordReader(tmp_path)()

    def raw(name: str, shape: tuple[int, ...], dtype: Any, truncate: bool = False) -> Any:
        return nn.OFRecordRawDecoder(name, shape, dtype, truncate=truncate)(record)[0].tolist()

    assert raw("two", (3,), flow.float32, truncate=True) == [1.5, 2.5, 0]
    assert raw("four", (3,), flow.float32, truncate=True) == [1, 2, 3]
    with pytest.raises(RecordError, match=r"expected 3 values for shape .*, found 4"):
        raw("four", (3,), flow.float32)
    assert raw("seven", (), flow.int32) == 7


class TooTall:
    """Random numbers that make every attempt too tall."""

    attempts = 0

    def random(self, dtype: Any) -> np.float32:
        self.attempts += 1
        return np.float32(0.999 if self.attempts % 2 else 0.0)

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        return low


def test_vector_5_crop_windows() -> None:
    windows = [random_crop_window(np.random.default_rng(seed), 100, 2000) for seed in range(2000)]
    assert {(top, height, width) for top, _, height, width in windows} == {(0, 100, 133)}
    lefts = [left for _, left, _, _ in windows]
    assert min(lefts) in range(5)
    assert max(lefts) in range(1863, 1868)
    rng: Any = TooTall()
    random_crop_window(rng, 100, 1000)
    assert rng.attempts > 0
    rng = TooTall()
    assert random_crop_window(rng, 100, 300, (0.25, 0.25), (0.01, 1.333333), 10)[2:] == (75, 99)
    assert rng.attempts == 20


def test_vector_6_crop_and_mirror() -> None:
    rows, columns = np.mgrid[0:256, 0:341]
    image = np.stack([rows, columns // 2, columns % 2], axis=-1).astype(np.uint8)  # a pixel says where it is
    stage = CropMirrorNormalize(crop=(224, 224), mean=(0.0,), std=(1.0,))
    for mirror, first in ((0, 58), (1, 281)):
        found = stage(sample_of(image=image, mirror=np.int8(mirror)), RNG)["image"]
        module = nn.CropMirrorNormalize("RGB", crop_h=224, crop_w=224)
        same = module(flow.tensor(image[None]), flow.tensor([mirror], dtype=flow.int8))
        np.testing.assert_array_equal(same.numpy()[0], found)
        assert (found[0, 0] == 16).all()
        assert (found[1, :, 0] * 2 + found[2, :, 0] == first).all()


def test_vector_7_sizes_that_keep_the_aspect_ratio() -> None:
    def size(width: int, height: int, **target: int) -> tuple[int, ...]:
        return keep_aspect_size(height, width, **target)[::-1]

    assert size(367, 349, shorter=256) == (269, 256)
    assert size(640, 480, shorter=800, max_size=1333) == (1067, 800)
    assert size(1000, 300, shorter=800, max_size=1333) == (1333, 400)
    assert size(640, 480, longer=1000, min_size=600) == (1000, 750)
    assert size(1000, 300, longer=1000, min_size=600) == (2000, 600)


def objects_file(folder: Path, boxes: list[list[float]], categories: list[int]) -> tuple[Path, Path]:
    """An annotation file of one image, 640 x 480."""
    return write_coco(folder, {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 640, "height": 480}],
        "categories": [{"id": id} for id in sorted(categories, reverse=True)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": categories[number % len(categories)], "bbox": box}
            for number, box in enumerate(boxes)
        ],
    })  # fmt: skip


def test_vector_8_boxes_and_classes(tmp_path: Path) -> None:
    file, folder = objects_file(tmp_path, [[10, 20, 1, 5], [600, 400, 100, 100], [-5, 10, 20, 20]], [1, 3, 90])
    outputs = nn.COCOReader(file, folder, 1)()
    assert outputs[3].numpy()[0].tolist() == [[600, 400, 639, 479], [0, 10, 14, 29]]
    assert outputs[4].numpy()[0].tolist() == [2, 3]
    file, folder = objects_file(tmp_path / "all", [[10, 10, 20, 20]] * 3, [1, 3, 90])
    assert COCOSource(file, folder).read(SampleKey(0, 0))["gt_label"].tolist() == [1, 2, 3]


def test_vector_9_flipped_boxes_and_polygons() -> None:
    size = {"new_size": np.array([640, 480], np.int32), "mirror": np.int8(1)}
    boxes = ObjectBboxFlip()(sample_of(gt_bbox=np.array([[20, 40, 80, 160]], np.float32), **size), RNG)["gt_bbox"]
    assert boxes.tolist() == [[559, 40, 619, 160]]
    points = np.array([[20, 40]], np.float32)
    found = ObjectSegmentationPolygonFlip()(sample_of(gt_segm=points, **size), RNG)["gt_segm"]
    assert found.tolist() == [[620, 40]]


def test_vector_10_coins() -> None:
    assert nn.CoinFlip(64, probability=0.0)().tolist() == [0] * 64
    assert nn.CoinFlip(64, probability=1.0)().tolist() == [1] * 64
    first, again = nn.CoinFlip(64, random_seed=7), nn.CoinFlip(64, random_seed=7)
    for _ in range(3):
        coins = first()
        assert (coins.dtype, tuple(coins.shape)) == (flow.int8, (64,))
        assert coins.tolist() == again().tolist()


def test_vector_11_the_parts_of_a_batch_of_both_are_those_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A global batch of 4, split along its first axis, and local batches of 2: the split is what ``shard`` says."""
    write_parts(tmp_path, [{"class/label": number} for number in range(12)], parts=3)
    tree = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 8} for number in range(1, 10)],
        "categories": [{"id": 1}],
        "annotations": [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5]}
                        for number in range(1, 10)],
    }  # fmt: skip
    file, folder = write_coco(tmp_path / "coco", tree)

    def batches(**shard: Any) -> tuple[list[Any], list[Any]]:
        records = nn.OFRecordReader(tmp_path, 2, 3, part_name_suffix_length=5, **shard)
        images = nn.COCOReader(file, folder, 2, random_seed=5, group_by_aspect_ratio=False, **shard)
        return [LABEL(records()).tolist() for _ in range(6)], [images()[1].tolist() for _ in range(6)]

    parts = [batches(shard=ShardSpec(rank, 2)) for rank in range(2)]
    for rank in range(2):
        monkeypatch.setattr(arguments, "rank_info", lambda rank=rank: RankInfo(rank, 2, rank, 2, 0))
        assert batches() == parts[rank]
    mine = [split_range(3, 2, rank) for rank in range(2)]  # part files, four records each
    labels = [[4 * part + row for part in own for row in range(4)] for own in mine]
    for rank in range(2):
        assert [label for batch in parts[rank][0] for label in batch] == (labels[rank] * 3)[:12]
    both = [id for pair in zip(parts[0][1], parts[1][1], strict=True) for id in np.array(pair).T.ravel().tolist()]
    assert sorted(both[:9]) == sorted(both[9:18]) == list(range(1, 10))  # one shuffled order, shared out by stride
