"""Polygons and masks against the specification, plain pictures, and `pycocotools` at the documented difference."""

import cv2
import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec
from flowdata.sources.coco import COCOSource
from flowdata.stages.masks import (
    ObjectSegmentationPolygonFlip,
    ObjectSegmentationPolygonScale,
    ObjectSegmentationPolygonToMask,
)
from tests.helpers.records import sample_of

RNG = np.random.default_rng(0)
SPECS = COCOSource("a", "b").output_spec() | {
    "scale": ArraySpec((2,), np.dtype(np.float32)),
    "new_size": ArraySpec((2,), np.dtype(np.int32)),
    "mirror": ArraySpec((), np.dtype(np.int8)),
}
SQUARE = np.array([[2, 1], [5, 1], [5, 4], [2, 4]], np.float32)


def packed(objects):
    """Points and index of objects, each a list of polygons."""
    points, index = [np.zeros((0, 2))], [np.zeros((0, 3))]
    for number, polygons in enumerate(objects):
        for place, polygon in enumerate(polygons):
            points.append(polygon)
            index += [[(corner, place, number)] for corner in range(len(polygon))]
    return np.concatenate(points).astype(np.float32), np.concatenate(index).astype(np.int32)


def masks(objects, width=9, height=6):
    points, index = packed(objects)
    sample = sample_of(
        gt_segm=points, gt_segm_index=index, new_size=np.array([width, height], np.int32),
        gt_label=np.ones(len(objects), np.int32),
    )  # fmt: skip
    before = points.copy()
    found = ObjectSegmentationPolygonToMask()(sample, RNG)["gt_mask"]
    np.testing.assert_array_equal(points, before)
    assert found.dtype == np.int8
    assert found.shape == (len(objects), height, width)
    return found


def rows(mask):
    return ["".join(map(str, row)) for row in mask]


def test_borders_belong_to_the_mask():
    assert rows(masks([[SQUARE]])[0]) == [
        "000000000",
        "001111000",
        "001111000",
        "001111000",
        "001111000",
        "000000000",
    ]


def test_corners_are_rounded_halves_to_even():
    np.testing.assert_array_equal(masks([[SQUARE + 0.5]]), masks([[np.rint(SQUARE + 0.5)]]))
    found = masks([[[[0.5, 1.5], [2.5, 1.5], [2.5, 3.5], [0.5, 3.5]]]])[0]
    expected = np.zeros((6, 9), np.int8)
    expected[2:5, 0:3] = 1
    np.testing.assert_array_equal(found, expected)


def test_parts_of_an_object_are_united_where_they_overlap():
    united = masks([[SQUARE, SQUARE + 2]])[0]
    np.testing.assert_array_equal(united, masks([[SQUARE], [SQUARE + 2]]).max(axis=0))
    assert united[3, 4] == 1  # within both


def test_objects_without_polygons_have_empty_masks():
    found = masks([[], [SQUARE], [], []])
    assert found.any(axis=(1, 2)).tolist() == [False, True, False, False]
    assert masks([]).shape == (0, 6, 9)
    assert not masks([[], []]).any()


def test_equal_numbers_of_polygons_in_neighbouring_objects_stay_apart():
    found = masks([[SQUARE], [SQUARE + np.array([3, 0])]])
    assert not np.array_equal(found[0], found[1])
    assert found.sum(axis=(1, 2)).tolist() == [16, 16]


def test_points_far_outside():
    far = 1e30
    half = [[-far, -far], [4.4, -far], [4.4, far], [-far, far]]
    np.testing.assert_array_equal(masks([[half]])[0], np.broadcast_to(np.arange(9) <= 4, (6, 9)))
    assert not masks([[SQUARE + 100]]).any()


def test_an_index_that_does_not_fit():
    points, index = packed([[SQUARE]])
    values = {"gt_segm": points, "gt_segm_index": index, "new_size": np.array([9, 6], np.int32)}
    with pytest.raises(RecordError, match=r"expected 'gt_segm_index' to name objects below 0, .* found 0 to 0"):
        ObjectSegmentationPolygonToMask()(sample_of(**values, gt_label=np.zeros(0, np.int32)), RNG)
    values["gt_segm_index"] = index[:-1]
    with pytest.raises(RecordError, match="expected 'gt_segm_index' for 4 points, found 3"):
        ObjectSegmentationPolygonToMask()(sample_of(**values, gt_label=np.zeros(1, np.int32)), RNG)


@pytest.mark.parametrize(("code", "expected"), [(0, (20, 30)), (1, (620, 30)), (2, (20, 450)), (3, (620, 450))])
def test_flips(code, expected):
    points = np.array([[20, 30]], np.float32)
    sample = sample_of(gt_segm=points, new_size=np.array([640, 480], np.int32), mirror=np.int8(code))
    assert ObjectSegmentationPolygonFlip()(sample, RNG)["gt_segm"].tolist() == [list(expected)]
    assert points.tolist() == [[20, 30]]


def test_scales_differ_by_axis():
    sample = sample_of(gt_segm=np.array([[1, 2], [3, 4.5]], np.float32), scale=np.array([2, 0.5], np.float32))
    expected = np.array([[2, 1], [6, 2.25]], np.float32)
    np.testing.assert_array_equal(ObjectSegmentationPolygonScale()(sample, RNG)["gt_segm"], expected, strict=True)


def test_specs():
    scale, flip, fill = (
        ObjectSegmentationPolygonScale(), ObjectSegmentationPolygonFlip(), ObjectSegmentationPolygonToMask(),
    )  # fmt: skip
    assert scale.output_spec(SPECS) == flip.output_spec(SPECS) == SPECS
    assert fill.output_spec(SPECS)["gt_mask"] == ArraySpec((None, None, None), np.dtype(np.int8))
    for stage in (scale, flip, fill):
        with pytest.raises(ConfigError, match=r"expected points: 'gt_segm' to be float32 \(points, 2\)"):
            stage.output_spec(SPECS | {"gt_segm": SPECS["gt_bbox"]})
    with pytest.raises(ConfigError, match=r"expected index: 'gt_segm_index' to be int32 \(points, 3\)"):
        fill.output_spec(SPECS | {"gt_segm_index": SPECS["gt_segm"]})
    with pytest.raises(ConfigError, match="expected objects: 'mirror' to have a row for each object"):
        ObjectSegmentationPolygonToMask(objects="mirror").output_spec(SPECS)
    for stage in (ObjectSegmentationPolygonFlip(size="image_size"), ObjectSegmentationPolygonToMask(size="image_size")):
        with pytest.raises(ConfigError, match="expected size: 'image_size' to be width and height"):
            stage.output_spec(SPECS)


# ---------------------------------------------------------------- pycocotools


def star(rng, width, height):
    """A ring of corners at different distances from a centre: rarely convex, never crossing itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 30)))
    centre = rng.uniform(0, [width, height])
    reach = rng.uniform(0.1, 0.5, len(angles)) * min(width, height)
    corners = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners.clip(0, [width, height])  # as annotators do; pycocotools is not exact outside


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools 2.0
def test_masks_are_those_of_pycocotools_up_to_a_pixel():
    coco = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools")
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(200):
        width, height = rng.integers(20, 200, 2).tolist()
        polygons = [star(rng, width, height) for _ in range(rng.integers(1, 4))]
        ours = masks([polygons], width, height)[0].view(np.uint8)
        runs = coco.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
        theirs = coco.decode(coco.merge(runs))
        outline = np.zeros((height + 1, width + 1), np.uint8)  # it may lie on the right and lower border of the image
        cv2.polylines(outline, [np.rint(polygon).astype(np.int32) for polygon in polygons], True, 1)
        beside = cv2.dilate(outline, np.ones((3, 3), np.uint8))
        assert ((ours != theirs) <= beside[:-1, :-1]).all()
        differences.append(((ours > theirs).sum(), (theirs > ours).sum(), theirs.sum()))
    more, fewer, size = np.sum(differences, axis=0)
    assert fewer < 0.01 * size < more  # the outline belongs to ours, and only half of it to theirs
