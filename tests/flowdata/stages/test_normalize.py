"""CropMirrorNormalize and ImageNormalize against the formula written out in float32 and float64."""

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec
from flowdata.stages.normalize import CropMirrorNormalize, ImageNormalize
from tests.helpers.records import picture, sample_of

RNG = np.random.default_rng(0)
IMAGENET = {"mean": (123.68, 116.779, 103.939), "std": (58.393, 57.12, 57.375)}


def spec(*shape, dtype=np.uint8, layout="HWC"):
    return {"image": ArraySpec(shape, np.dtype(dtype), layout)}


def normalize(image, mirror=None, **arguments):
    stage = CropMirrorNormalize(**arguments)
    sample = sample_of(image=image) if mirror is None else sample_of(image=image, mirror=np.int8(mirror))
    found = stage(sample, RNG)["image"]
    expected = stage.output_spec(spec(*image.shape))["image"]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return found


def reference(image, mirror, crop, position, mean, std, dtype):
    """Row by row and column by column, as the operator is specified."""
    height, width, channels = image.shape
    top = int(np.float32(height - crop[0]) * np.float32(position[0]))
    left = int(np.float32(width - crop[1]) * np.float32(position[1]))
    out = np.empty((channels, *crop), dtype)
    for x in range(crop[1]):
        source = left + (crop[1] - 1 - x if mirror else x)
        for c in range(channels):
            column = image[top : top + crop[0], source, c].astype(dtype)
            out[c, :, x] = (column - dtype(mean[c])) * (dtype(1) / dtype(std[c]))
    return out


@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("position", [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (0.3, 0.77)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_it_is_the_formula(mirror, position, layout):
    image = picture(31, 45, seed=2)
    found = normalize(image, mirror, crop=(20, 24), crop_position=position, layout=layout, **IMAGENET)
    if layout == "NHWC":
        found = found.transpose(2, 0, 1)
    exact = reference(image, mirror, (20, 24), position, **IMAGENET, dtype=np.float64)
    # One rounding of the scale, one of the offset and one of the result: a few units in the last place of 255 / std.
    np.testing.assert_allclose(found, exact, rtol=0, atol=4 * np.finfo(np.float32).eps * 255 / min(IMAGENET["std"]))
    single = reference(image, mirror, (20, 24), position, **IMAGENET, dtype=np.float32)
    np.testing.assert_allclose(found, single, rtol=0, atol=8 * np.finfo(np.float32).eps * 255 / min(IMAGENET["std"]))


def test_every_pixel_value_is_within_tolerance():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for mean, std in [(0.0, 1.0), (127.5, 127.5), (103.939, 57.375), (0.0, 255.0), (10.0, -2.0)]:
        found = normalize(ramp, mean=mean, std=std)[0].ravel()
        exact = (np.arange(256) - mean) / std
        np.testing.assert_allclose(found, exact, rtol=0, atol=4 * np.finfo(np.float32).eps * 255 / abs(std))


def test_the_offset_and_column_of_the_specification():
    image = np.zeros((256, 341, 3), np.uint8)
    image[:, :, 1] = np.arange(341) % 256
    image[:, :, 0] = np.arange(256)[:, None]
    image[:, :, 2] = np.arange(341) // 256
    found = normalize(image, 1, crop=(224, 224), mean=0.0, std=1.0)
    assert found[0, 0, 0] == 16
    assert found[1, 0, 0] + 256 * found[2, 0, 0] == 281
    plain = normalize(image, 0, crop=(224, 224), mean=0.0, std=1.0)
    assert plain[1, 0, 0] == 58


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_value_stands_for_all_channels(channels):
    image = picture(9, 11, channels=channels)
    np.testing.assert_array_equal(
        normalize(image, mean=10.0, std=(3.0,)), normalize(image, mean=(10.0,) * channels, std=(3.0,) * channels)
    )


def test_both_layouts_hold_the_same_numbers():
    image = picture(9, 11)
    chw, hwc = (normalize(image, 1, layout=layout, **IMAGENET) for layout in ("NCHW", "NHWC"))
    np.testing.assert_array_equal(chw, hwc.transpose(2, 0, 1))


def test_a_window_of_a_larger_image_gives_what_its_copy_gives():
    window = picture(40, 40)[3:30, 5:33]
    for mirror in (0, 1):
        np.testing.assert_array_equal(
            normalize(window, mirror, **IMAGENET), normalize(window.copy(), mirror, **IMAGENET)
        )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_writes_into_the_row_of_the_batch_and_leaves_its_input_alone(layout, channels):
    image = picture(12, 10, channels=channels)
    before = image.copy()
    stage = CropMirrorNormalize(mean=1.0, std=2.0, layout=layout, output="x")
    batch = np.full((2, *stage.output_spec(spec(*image.shape))["x"].shape), np.nan, np.float32)
    sample = sample_of(image=image, mirror=1)
    sample.rows = {"x": batch[1]}
    found = stage(sample, RNG)
    assert found["x"] is sample.rows["x"]
    assert np.isnan(batch[0]).all()
    np.testing.assert_array_equal(batch[1], normalize(image, 1, mean=1.0, std=2.0, layout=layout))
    np.testing.assert_array_equal(image, before)
    assert found["image"] is image


def test_specs():
    fixed = CropMirrorNormalize(crop=(3, 4), **IMAGENET)
    assert fixed.output_spec(spec(None, None, 3))["image"] == ArraySpec((3, 3, 4), np.dtype(np.float32), "CHW")
    last = CropMirrorNormalize(crop=(3, 4), layout="NHWC", **IMAGENET)
    assert last.output_spec(spec(None, None, 3))["image"] == ArraySpec((3, 4, 3), np.dtype(np.float32), "HWC")
    whole = CropMirrorNormalize(mean=0.0, std=1.0)
    assert whole.output_spec(spec(5, 6, 1))["image"].shape == (1, 5, 6)


@pytest.mark.parametrize(("arguments", "specs", "message"), [
    ({}, spec(None, None, 3), "crop is needed because 'image' differs in size"),
    ({"crop": (6, 4)}, spec(5, 6, 3), r"crop \(6, 4\) is larger than the image of \(5, 6\) pixels"),
    ({}, spec(5, 6, 3, dtype=np.float32), "expected image: 'image' to be uint8 HWC"),
    ({}, spec(3, 5, 6, layout="CHW"), "expected image: 'image' to be uint8 HWC"),
    ({}, spec(5, 6, 4), "expected mean of 1 or 4 values, got 3"),
    ({"mean": 0.0}, spec(5, 6, 4), "expected std of 1 or 4 values, got 3"),
    ({}, spec(5, 6, 3) | {"mirror": ArraySpec((2,), np.dtype(np.int8))}, "expected mirror: 'mirror' to be a scalar"),
])  # fmt: skip
def test_it_must_fit_the_image(arguments, specs, message):
    with pytest.raises(ConfigError, match=f"crop_mirror_normalize: .*{message}"):
        CropMirrorNormalize(**{**IMAGENET, **arguments}).output_spec(specs)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"crop": (0, 4)}, r"crop as \(height, width\) >= 1, got \(0, 4\)"),
    ({"crop": (4,)}, "crop as"),
    ({"crop_position": (0.5, 1.1)}, "crop_position as two numbers from 0 to 1"),
    ({"crop_position": (-0.1, 0.5)}, "crop_position"),
    ({"std": (1.0, 0.0, 1.0)}, "std without 0"),
    ({"mean": ()}, "mean as one or more finite numbers"),
    ({"mean": float("nan")}, "mean as one or more finite numbers"),
    ({"layout": "CHW"}, "layout to be NCHW or NHWC, got 'CHW'"),
])  # fmt: skip
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ConfigError, match=f"crop_mirror_normalize: expected .*{message}"):
        CropMirrorNormalize(**{**IMAGENET, **arguments})


def test_an_image_smaller_than_the_crop_is_an_error():
    with pytest.raises(RecordError, match=r"crop \(8, 8\) is larger than the image of \(7, 20\) pixels"):
        CropMirrorNormalize(crop=(8, 8), **IMAGENET)(sample_of(image=picture(7, 20)), RNG)


# ---------------------------------------------------------------- image_normalize


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("std", [(1.0, 1.0, 1.0), (58.393, 57.12, 57.375), 2.5])
@pytest.mark.parametrize("mean", [(102.9801, 115.9465, 122.7717), 7.0])
def test_whole_images_of_any_size(mean, std, layout, dtype):
    image = picture(7, 11).astype(dtype)
    before = image.copy()
    stage = ImageNormalize(mean=mean, std=std, layout=layout)
    found = stage(sample_of(image=image), RNG)["image"]
    kind = np.float64 if dtype == np.float64 else np.float32
    expected = np.stack([
        (before[:, :, channel].astype(kind) - kind(np.broadcast_to(mean, 3)[channel]))
        / kind(np.broadcast_to(std, 3)[channel]) for channel in range(3)
    ], axis=0 if layout == "NCHW" else 2)  # fmt: skip
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(image, before)
    spec = stage.output_spec({"image": ArraySpec((None, None, 3), np.dtype(dtype), "HWC")})["image"]
    assert spec == ArraySpec((3, None, None) if layout == "NCHW" else (None, None, 3), np.dtype(kind), layout[1:])


def test_normalized_images_of_one_size_go_into_the_batch():
    row = np.empty((3, 4, 5), np.float32)
    sample = sample_of(image=picture(4, 5))
    sample.rows = {"image": row}
    assert ImageNormalize(mean=1, std=2)(sample, RNG)["image"] is row


def test_what_cannot_be_normalized():
    image = {"image": ArraySpec((None, None, 3), np.dtype(np.uint8), "HWC")}
    with pytest.raises(ConfigError, match="image_normalize: expected std without 0"):
        ImageNormalize(mean=1, std=(1, 0, 1))
    with pytest.raises(ConfigError, match="image_normalize: expected mean as one or more finite numbers"):
        ImageNormalize(mean=(), std=1)
    with pytest.raises(ConfigError, match="image_normalize: expected layout"):
        ImageNormalize(mean=1, std=1, layout="CHW")
    with pytest.raises(ConfigError, match="image_normalize: expected mean of 1 or 3 values, got 2"):
        ImageNormalize(mean=(1, 2), std=1).output_spec(image)
    with pytest.raises(ConfigError, match="image_normalize: expected image: 'image' to be uint8, float32 or float64"):
        ImageNormalize(mean=1, std=1).output_spec({"image": ArraySpec((None, None, 3), np.dtype(np.int32), "HWC")})
