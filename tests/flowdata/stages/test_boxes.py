"""Boxes against the vectors of the specification, and against the pixels that they bound."""

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec
from flowdata.sources.coco import COCOSource
from flowdata.stages.boxes import ObjectBboxFlip, ObjectBboxScale
from flowdata.stages.geometry import ImageFlip
from tests.helpers.records import sample_of

RNG = np.random.default_rng(0)
SPECS = {
    "gt_bbox": ArraySpec((None, 4), np.dtype(np.float32)),
    "scale": ArraySpec((2,), np.dtype(np.float32)),
    "new_size": ArraySpec((2,), np.dtype(np.int32)),
    "mirror": ArraySpec((), np.dtype(np.int8)),
}


def flip(boxes, size, code):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    before = boxes.copy()
    sample = sample_of(gt_bbox=boxes, new_size=np.array(size, np.int32), mirror=np.int8(code))
    found = ObjectBboxFlip()(sample, RNG)["gt_bbox"]
    np.testing.assert_array_equal(boxes, before)
    assert found.dtype == np.float32
    return found


def test_the_box_of_the_specification():
    box = [20, 40, 80, 160]
    assert flip(box, (640, 480), 0).tolist() == [box]
    assert flip(box, (640, 480), 1).tolist() == [[559, 40, 619, 160]]
    assert flip(box, (640, 480), 2).tolist() == [[20, 319, 80, 439]]
    assert flip(box, (640, 480), 3).tolist() == [[559, 319, 619, 439]]
    assert flip([], (640, 480), 3).shape == (0, 4)


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_flipped_box_bounds_the_flipped_pixels(code):
    for x1, y1, x2, y2 in RNG.integers(0, [10, 10, 10, 10], (20, 4)):
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        image = np.zeros((12, 17, 1), np.uint8)
        image[y1 : y2 + 1, x1 : x2 + 1] = 1
        flipped = ImageFlip()(sample_of(image=image, mirror=np.int8(code)), RNG)["image"]
        ys, xs, _ = np.nonzero(flipped)
        assert flip([x1, y1, x2, y2], (17, 12), code).tolist() == [[xs.min(), ys.min(), xs.max(), ys.max()]]


def test_scales_differ_by_axis():
    boxes = np.array([[1, 2, 3, 4], [0, 0.5, 7, 9]], np.float32)
    before = boxes.copy()
    found = ObjectBboxScale()(sample_of(gt_bbox=boxes, scale=np.array([2, 0.5], np.float32)), RNG)["gt_bbox"]
    expected = np.array([[2, 1, 6, 2], [0, 0.25, 14, 4.5]], np.float32)
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(boxes, before)
    none = ObjectBboxScale()(sample_of(gt_bbox=boxes[:0], scale=np.ones(2, np.float32)), RNG)["gt_bbox"]
    assert none.shape == (0, 4)


def test_specs():
    for stage in (ObjectBboxScale(), ObjectBboxFlip()):
        assert stage.output_spec(SPECS) == SPECS
        with pytest.raises(ConfigError, match=r"expected boxes: 'gt_bbox' to be float32 \(objects, 4\)"):
            stage.output_spec(SPECS | {"gt_bbox": ArraySpec((None, 5), np.dtype(np.float32))})
    with pytest.raises(ConfigError, match=r"expected scale: 'scale' to be float32 \(2,\)"):
        ObjectBboxScale().output_spec(SPECS | {"scale": ArraySpec((), np.dtype(np.float32))})
    with pytest.raises(RecordError, match="object_bbox_flip: expected 'mirror' as 0"):
        flip([], (4, 4), 5)


def test_the_size_in_a_coco_file_has_the_wrong_order():
    specs = SPECS | COCOSource("a", "b").output_spec()
    with pytest.raises(ConfigError, match="expected size: 'image_size' to be width and height"):
        ObjectBboxFlip(size="image_size").output_spec(specs)
