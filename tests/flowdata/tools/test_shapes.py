"""Drawn scenes: the pixels, the annotations and the masks say the same."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flowdata import codec, rle
from flowdata.errors import ConfigError
from flowdata.sample import SampleKey
from flowdata.sources.coco import COCOSource
from flowdata.stages.masks import polygon_masks
from flowdata.tools.shapes import CATEGORIES, MadeShapes, make_shapes, scene, within

COUNT = 48


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes") / "data"
    tree = make_shapes(out, count=COUNT)
    assert isinstance(tree, MadeShapes)
    return out


@pytest.fixture(scope="module")
def tree(shapes: Path) -> dict:
    return json.loads((shapes / "annotations.json").read_text())


def test_pixels_are_coloured_exactly_where_an_object_is(shapes: Path) -> None:
    for number in range(0, COUNT, 4):  # PNG
        image = codec.decode((shapes / "images" / f"{number:06d}.png").read_bytes()).astype(int)
        covered = np.any([shape.mask for shape in scene(0, number).shapes] or [np.zeros(image.shape[:2], bool)], axis=0)
        np.testing.assert_array_equal(np.ptp(image, axis=2) > 0, covered)


def test_no_two_objects_touch() -> None:
    for number in range(COUNT):
        masks = [shape.mask for shape in scene(0, number).shapes]
        assert all(mask.any() for mask in masks)
        assert np.sum(masks, axis=0).max(initial=0) <= 1


def test_a_triangle_by_hand() -> None:
    triangle = np.array([[0, 0], [4, 0], [0, 4]], np.float64)
    assert within(triangle, 4, 5).astype(int).tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_there_is_something_of_everything(tree: dict) -> None:
    rows = tree["annotations"]
    images = {row["id"]: row for row in tree["images"]}
    assert Counter(row["category_id"] for row in rows).keys() == CATEGORIES.keys()
    assert len({(row["height"], row["width"]) for row in images.values()}) >= 5
    without = set(images) - {row["image_id"] for row in rows}
    assert len(without) >= COUNT // 8
    crowds = [row for row in rows if row["iscrowd"]]
    assert crowds
    for row in crowds:
        mask = rle.decode(row["segmentation"])
        assert mask.shape == (images[row["image_id"]]["height"], images[row["image_id"]]["width"])
        assert mask.sum() == row["area"]
    assert any(len(row["segmentation"]) > 1 for row in rows if not row["iscrowd"])
    assert any(row["area"] <= 2 for row in rows)
    assert any(row["bbox"][2] == 1 for row in rows)


def test_annotations_are_those_of_the_scenes(shapes: Path, tree: dict) -> None:
    """Read as a pipeline reads them: the outline of the filled polygons is the only difference to the exact masks."""
    source = COCOSource(shapes / "annotations.json", shapes / "images", remove_images_without_annotations=False)
    assert len(source) == COUNT
    for number in range(COUNT):
        sample = source.read(SampleKey(0, number))
        drawn = scene(0, number)
        counted = [shape for shape in drawn.shapes if not shape.crowd]
        # What is a pixel wide has no box between different pixels; the reader leaves it out.
        kept = [shape for shape in counted if min(np.ptp(np.concatenate(shape.polygons), axis=0)) > 1]
        assert len(kept) == len(sample["gt_label"])
        masks = polygon_masks(
            sample["gt_segm"], sample["gt_segm_index"], len(kept), *sample["image_size"].tolist()
        ).astype(bool)
        for shape, mask, box in zip(kept, masks, sample["gt_bbox"], strict=True):
            rows, columns = (np.flatnonzero(shape.mask.any(axis=axis)) for axis in (1, 0))
            corners = np.concatenate(shape.polygons)
            np.testing.assert_allclose(box, [*corners.min(axis=0), *(corners.max(axis=0) - 1)], atol=0.011)
            # No pixel's centre is outside (of a circle's polygon: by 0.05); a sharp corner may reach farther.
            assert (box[:2] - 0.56 <= [columns[0], rows[0]]).all()
            assert (box[2:] + 0.56 >= [columns[-1], rows[-1]]).all()
            assert (mask | ~shape.mask).mean() > 0.999  # hardly a pixel of the object is missing
            assert (mask & ~shape.mask).sum() < 2.5 * sum(np.abs(np.diff(p, axis=0)).sum() for p in shape.polygons) + 8


def test_equal_seeds_give_equal_files(shapes: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "same", count=COUNT)
    for path in sorted(shapes.rglob("*.*")):
        assert (tmp_path / "same" / path.relative_to(shapes)).read_bytes() == path.read_bytes()
    make_shapes(tmp_path / "other", count=2, seed=1)
    assert (tmp_path / "other/images/000000.png").read_bytes() != (shapes / "images/000000.png").read_bytes()


def test_it_does_not_overwrite_unasked(shapes: Path) -> None:
    before = (shapes / "annotations.json").read_bytes()
    with pytest.raises(ConfigError, match="expected an empty or new directory"):
        make_shapes(shapes, count=1)
    assert (shapes / "annotations.json").read_bytes() == before


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools 2.0
def test_pycocotools_reads_the_same(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="compares with pycocotools").COCO(shapes / "annotations.json")
    mask_tools = pytest.importorskip("pycocotools.mask")
    assert sorted(coco.imgs) == list(range(1, COUNT + 1))
    source = COCOSource(shapes / "annotations.json", shapes / "images", remove_images_without_annotations=False)
    categories = sorted(coco.getCatIds())
    for number in range(COUNT):
        sample = source.read(SampleKey(0, number))
        counted = coco.loadAnns(coco.getAnnIds(imgIds=number + 1, iscrowd=False))
        counted = [row for row in counted if min(row["bbox"][2:]) > 1]
        assert sample["gt_label"].tolist() == [categories.index(row["category_id"]) + 1 for row in counted]
        corners = [[x, y, x + width - 1, y + height - 1] for x, y, width, height in (row["bbox"] for row in counted)]
        np.testing.assert_allclose(sample["gt_bbox"], np.reshape(corners, (-1, 4)), atol=1e-4)
        rows = coco.loadAnns(coco.getAnnIds(imgIds=number + 1))
        for row, shape in zip(rows, scene(0, number).shapes, strict=True):
            theirs = coco.annToMask(row).astype(bool)
            if shape.crowd:
                np.testing.assert_array_equal(theirs, shape.mask)
                assert mask_tools.toBbox(coco.annToRLE(row)).tolist() == row["bbox"]
            else:  # it samples outlines five times finer, so a pixel on the outline may be on either side
                length = sum(np.abs(np.diff(p, axis=0)).sum() for p in shape.polygons)
                assert (theirs ^ shape.mask).sum() <= 0.25 * length + 2
