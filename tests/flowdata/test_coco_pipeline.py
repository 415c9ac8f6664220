"""The shipped COCO pipeline on drawn scenes: what it delivers, in which groups, from any executor, after any stop."""

import json
from dataclasses import replace
from itertools import chain, islice

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.errors import ConfigError
from flowdata.pipeline_config import load_pipeline, pipeline_from
from flowdata.seeding import sample_rng
from flowdata.sharding import ShardSpec
from flowdata.sources.coco import COCOSource
from flowdata.sources.order import Shuffled
from flowdata.tools.shapes import make_shapes, scene
from tests.flowdata.executors.synthetic import content

COUNT = 30
MEAN = np.array([102.9801, 115.9465, 122.7717], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("shapes") / "data"
    make_shapes(out, count=COUNT)
    return out


def coco(folder, **changes):
    overrides = [
        f"data.dir={folder}", "stages.1.resize.shorter=96", "stages.1.resize.max_size=160", "batch_size=4",
        "source.coco.remove_images_without_annotations=false", "executor=serial",
    ]  # fmt: skip
    return replace(load_pipeline("pipelines/coco_train", overrides), **changes)


def everything(pipeline, epochs=2, shard=None):
    with pipeline.loader(shard) as loader:
        return [content(batch) for _ in range(epochs) for batch in loader]


def test_the_shipped_pipeline_is_that_of_the_reference():
    pipeline = load_pipeline("pipelines/coco_train")
    assert [each.stage_name for each in pipeline.stages] == [
        "image_decoder", "resize", "object_bbox_scale", "object_segmentation_polygon_scale", "coin_flip", "image_flip",
        "object_bbox_flip", "object_segmentation_polygon_flip", "object_segmentation_polygon_to_mask",
        "image_normalize",
    ]  # fmt: skip
    specs = pipeline.output_specs()
    assert specs["image"].shape == (3, None, None)
    assert (specs["image"].dtype, specs["image"].layout) == (np.float32, "CHW")
    assert list(specs) == ["image", "image_id", "new_size", "gt_bbox", "gt_label", "gt_mask"]
    assert pipeline.source.remove_images_without_annotations
    assert pipeline.order == Shuffled()


def slow(folder, tree, id, flip):
    """One image's values, from the file and the annotations, without a stage of ours."""
    [image] = [row for row in tree["images"] if row["id"] == id]
    pixels = codec.decode((folder / "images" / image["file_name"]).read_bytes(), "BGR")
    height, width = pixels.shape[:2]
    new_width, new_height = min(
        ((round(96 * max(width / height, 1)), round(96 * max(height / width, 1)))),
        ((160, round(160 * height / width)) if width > height else (round(160 * width / height), 160)),
    )
    larger = new_width * new_height >= width * height
    pixels = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR if larger else cv2.INTER_AREA)
    boxes, labels, masks = [], [], []
    for row in tree["annotations"]:
        x, y, w, h = row["bbox"]
        if row["image_id"] != id or row["iscrowd"] or min(w, h) <= 1:
            continue
        scale = np.array([new_width / width, new_height / height] * 2)
        x1, y1, x2, y2 = np.array([x, y, x + w - 1, y + h - 1]) * scale
        boxes.append([new_width - 1 - x2, y1, new_width - 1 - x1, y2] if flip else [x1, y1, x2, y2])
        labels.append({1: 1, 2: 2, 5: 3, 9: 4}[row["category_id"]])
        mask = np.zeros((new_height, new_width), np.uint8)
        for polygon in row["segmentation"]:
            points = np.array(polygon, np.float32).reshape(-1, 2) * scale[:2].astype(np.float32)
            if flip:
                points[:, 0] = new_width - points[:, 0]
            cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
        masks.append(mask)
    if flip:
        pixels = pixels[:, ::-1]
    return (
        (pixels - MEAN).transpose(2, 0, 1), np.array(boxes).reshape(-1, 4), labels,
        np.array(masks, np.int8).reshape(-1, new_height, new_width),
    )  # fmt: skip


def test_what_it_delivers(folder):
    tree = json.loads((folder / "annotations.json").read_text())
    pipeline = coco(folder)
    seen, flips = [], 0
    with pipeline.loader() as loader:
        for batch in loader:
            for row, (id, index) in enumerate(zip(batch["image_id"].tolist(), batch.indices.tolist(), strict=True)):
                flip = sample_rng(0, 0, index, "coin_flip").random() < 0.5
                image, boxes, labels, masks = slow(folder, tree, id, flip)
                _, height, width = image.shape
                assert batch["new_size"][row].tolist() == [width, height]
                np.testing.assert_array_equal(batch["image"][row, :, :height, :width], image)
                assert not batch["image"][row, :, height:].any()
                assert not batch["image"][row, :, :, width:].any()
                np.testing.assert_allclose(batch["gt_bbox"][row], boxes, atol=1e-3)
                assert batch["gt_label"][row].tolist() == labels
                np.testing.assert_array_equal(batch["gt_mask"][row], masks, strict=True)
                seen.append(id)
                flips += flip
    assert sorted(seen) == list(range(1, COUNT + 1))
    assert 0 < flips < COUNT


def test_image_boxes_and_masks_of_an_object_still_belong_together(folder):
    """Each changed by itself, they are where the object's exact pixels are, changed as a picture."""
    compared = 0
    with coco(folder).loader() as loader:
        for batch in loader:
            for row, (id, index) in enumerate(zip(batch["image_id"].tolist(), batch.indices.tolist(), strict=True)):
                width, height = batch["new_size"][row].tolist()
                color = np.ptp(batch["image"][row, :, :height, :width] + MEAN[:, None, None], axis=0)
                shapes = [each for each in scene(0, id - 1).shapes if each.mask.sum() > 2 and not each.crowd]
                flip = sample_rng(0, 0, index, "coin_flip").random() < 0.5
                for shape in shapes:
                    exact = cv2.resize(shape.mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
                    exact = (exact[:, ::-1] if flip else exact) > 0.5
                    if exact.sum() < 300:
                        continue
                    overlaps = [(mask & exact).sum() / (mask | exact).sum() for mask in batch["gt_mask"][row]]
                    found = int(np.argmax(overlaps))
                    assert overlaps[found] > 0.8  # the outline belongs to the mask
                    ys, xs = np.nonzero(exact)
                    np.testing.assert_allclose(
                        batch["gt_bbox"][row][found], [xs.min(), ys.min(), xs.max(), ys.max()], atol=2.5
                    )
                    inside = cv2.erode(batch["gt_mask"][row][found].view(np.uint8), np.ones((5, 5), np.uint8)) > 0
                    assert color[inside].min() > 40  # grey is what is no object
                    compared += 1
    assert compared > 20


def test_batches_hold_one_aspect_group_and_are_padded_a_little(folder):
    pipeline = coco(folder)
    groups = COCOSource(folder / "annotations.json", folder / "images", False).aspect_groups()
    assert len(set(groups.tolist())) == 3
    sizes = []
    for _ in range(2):
        with pipeline.loader() as loader:
            assert len(loader) == sum(-(-count // 4) for count in np.unique(groups, return_counts=True)[1])
            for batch in loader:
                assert len(set(groups[batch.indices].tolist())) == 1
                height, width = batch["image"].shape[2:]
                assert height % 32 == width % 32 == 0
                assert (height, width) == tuple((-(-batch["new_size"].max(axis=0) // 32) * 32)[::-1])
                sizes.append((height, width))
    assert len(set(sizes)) >= 3


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("shards", [1, 2])
def test_worker_processes_deliver_the_same_bytes(folder, shards, workers):
    serial = coco(folder)
    process = coco(folder, executor="process", workers=workers)
    for index in range(shards):
        shard = ShardSpec(index, shards)
        assert everything(process, shard=shard) == everything(serial, shard=shard)


def endless(loader):
    while True:
        for batch in loader:
            yield content(batch)


@pytest.mark.parametrize("executor", ["serial", "process"])
@pytest.mark.parametrize("taken", [1, 4, 9, 13])
def test_a_restart_goes_on_where_it_stopped(folder, taken, executor):
    expected = everything(coco(folder), epochs=2)
    with coco(folder, executor=executor).loader() as loader:
        before = list(islice(endless(loader), taken))
        state = json.dumps(loader.state_dict())
    assert len(state) < 1000
    with coco(folder, executor=executor, prefetch_batches=1).loader() as loader:
        loader.load_state_dict(json.loads(state))
        after = list(islice(endless(loader), len(expected) - taken))
    assert before + after == expected


def test_a_restart_with_more_ranks_delivers_the_same_images(folder):
    with coco(folder).loader() as loader:
        list(islice(endless(loader), 3))
        state = loader.state_dict()
        expected = [batch["image_id"].tolist() for batch in loader]
    parts = []
    for rank in range(3):
        with coco(folder).loader(ShardSpec(rank, 3)) as loader:
            loader.load_state_dict(state)
            parts.append([batch["image_id"].tolist() for batch in loader])
    assert [list(chain(*ids)) for ids in zip(*parts, strict=True)] == expected


def test_grouping_is_part_of_what_a_state_belongs_to(folder):
    with coco(folder).loader() as loader:
        state = loader.state_dict()
    with coco(folder, group_by_aspect_ratio=False).loader() as loader:
        with pytest.raises(ConfigError, match="the state was saved by another pipeline"):
            loader.load_state_dict(state)


@pytest.mark.parametrize("mode", ["keep", "drop", "wrap"])
def test_remainders_of_groups(folder, mode):
    groups = COCOSource(folder / "annotations.json", folder / "images", False).aspect_groups()
    sizes = np.unique(groups, return_counts=True)[1]
    expected = {"keep": sizes, "drop": sizes // 8 * 8, "wrap": -(-sizes // 8) * 8}[mode].sum()
    with coco(folder, last_batch=mode, batch_size=8).loader() as loader:
        batches = list(loader)
        assert len(batches) == len(loader)
    assert sum(batch.size for batch in batches) == expected
    if mode != "keep":
        assert {batch.size for batch in batches} == {8}


def test_sources_without_sizes_have_no_groups(tmp_path):
    tree = {"source": {"ofrecord": {"dir": str(tmp_path)}}, "batch_size": 1, "group_by_aspect_ratio": True}
    with pytest.raises(ConfigError, match=r"needs a source that knows the sizes of its images, .* got OFRecordSource"):
        pipeline_from(tree)
    with pytest.raises(ConfigError, match="group_by_aspect_ratio: expected a valid boolean"):
        pipeline_from(tree | {"group_by_aspect_ratio": "height"})
