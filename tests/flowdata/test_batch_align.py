"""Images of different sizes in one array."""

from dataclasses import replace

import numpy as np
import pytest

from flowdata.batch_align import ImageBatchAlign
from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec, Batch
from flowdata.seeding import NO_STREAM
from tests.helpers.records import picture

SIZES = [(5, 9), (12, 3), (7, 7)]


def spec_of(layout, dtype=np.uint8, size=(None, None)):
    return {"image": ArraySpec((*size, 3) if layout == "HWC" else (3, *size), np.dtype(dtype), layout)}


def batch_of(layout, dtype=np.uint8, sizes=SIZES):
    images = [picture(*size, seed=number).astype(dtype) for number, size in enumerate(sizes)]
    images = [each if layout == "HWC" else each.transpose(2, 0, 1) for each in images]
    return described(Batch({"image": images, "other": 1}, np.arange(len(sizes)) + 40, 0, 0, len(sizes)), layout, dtype)


def described(batch, layout, dtype=np.uint8, size=(None, None)):
    return replace(batch, specs=spec_of(layout, dtype, size))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize(("arguments", "height", "width"), [
    ({}, 12, 9), ({"alignment": 8}, 16, 16), ({"alignment": 1}, 12, 9), ({"size": (20, 10)}, 20, 10),
    ({"size": (16, 24), "alignment": 8}, 16, 24),
])  # fmt: skip
def test_each_image_stands_at_the_top_left_of_zeros(arguments, height, width, layout, dtype):
    batch, transform = batch_of(layout, dtype), ImageBatchAlign(**arguments)
    found = transform(batch, NO_STREAM)
    images = found["image"]
    assert images.dtype == dtype
    assert isinstance(batch["image"], list)  # its input stays
    assert found["other"] == 1
    if layout == "CHW":
        images = images.transpose(0, 2, 3, 1)
    assert images.shape == (3, height, width, 3)
    for number, (image, (h, w)) in enumerate(zip(images, SIZES, strict=True)):
        np.testing.assert_array_equal(image[:h, :w], picture(h, w, seed=number))
        assert not image[h:].any()
        assert not image[:, w:].any()
    made = transform.output_spec(batch.specs)["image"]
    size = arguments.get("size", (None, None))
    assert made.shape == ((*size, 3) if layout == "HWC" else (3, *size))


def test_images_of_one_size_are_an_array_already():
    images = np.stack([picture(5, 6), picture(5, 6, seed=1)])
    batch = described(Batch({"image": images}, np.arange(2), 0, 0, 2), "HWC", size=(5, 6))
    found = ImageBatchAlign(alignment=4)(batch, NO_STREAM)
    assert found["image"].shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(found["image"][:, :5, :6], images)


def test_an_empty_part_of_a_batch():
    assert ImageBatchAlign(alignment=4)(batch_of("CHW", sizes=[]), NO_STREAM)["image"].shape == (0, 3, 0, 0)
    assert ImageBatchAlign(size=(4, 5))(batch_of("CHW", sizes=[]), NO_STREAM)["image"].shape == (0, 3, 4, 5)


def test_images_that_do_not_fit():
    with pytest.raises(RecordError, match="at most 10 x 10 pixels with alignment 0, found 12 x 3 in record 41"):
        ImageBatchAlign(size=(10, 10))(batch_of("HWC"), NO_STREAM)
    with pytest.raises(RecordError, match="at most 12 x 16 pixels with alignment 8, found 12 x 3 in record 41"):
        ImageBatchAlign(size=(12, 16), alignment=8)(batch_of("HWC"), NO_STREAM)


def test_wrong_arguments():
    for wrong in (-1, 3, 24):
        with pytest.raises(ConfigError, match="alignment to be 0 or a power of two"):
            ImageBatchAlign(alignment=wrong)
    with pytest.raises(ConfigError, match="size as"):
        ImageBatchAlign(size=(0, 1))
    with pytest.raises(ConfigError, match="expected image: 'image' to be HWC or CHW"):
        ImageBatchAlign().output_spec({"image": ArraySpec((None,), np.dtype(np.uint8))})
