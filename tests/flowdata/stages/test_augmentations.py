"""What all augmentation stages have in common: specs, rows, untouched inputs, arguments, and the same bytes again."""

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec
from flowdata.seeding import NO_STREAM, sample_rng
from flowdata.stages.affine import Affine, Rotate
from flowdata.stages.augment import RandAugment, TrivialAugment
from flowdata.stages.color import (
    AutoContrast,
    ColorJitter,
    Equalize,
    GaussianBlur,
    Grayscale,
    Posterize,
    Sharpness,
    Solarize,
)
from flowdata.stages.crop import CenterCrop, Flip, Pad, RandomCrop
from flowdata.stages.erase import RandomErasing
from tests.helpers.records import picture, sample_of

STAGES = [
    Affine(degrees=20, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5, 5, -3, 3), fill=(1, 2, 3)),
    Affine(degrees=(5, 10), shear=3, interpolation="bilinear", center=(3, 4)),
    AutoContrast(probability=1),
    CenterCrop(size=(16, 12)),
    CenterCrop(size=(41, 36)),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=(0.5, 2), hue=0.2),
    Equalize(probability=1),
    Flip(),
    Flip(direction="vertical", probability=1),
    GaussianBlur(kernel_size=(5, 3)),
    Grayscale(),
    Grayscale(probability=0.5),
    Pad(padding=(1, 2, 3, 4), mode="reflect"),
    Posterize(bits=3),
    RandAugment(num_ops=3, magnitude=20, interpolation="bilinear"),
    RandomCrop(size=(20, 20), padding=3, fill=9),
    RandomErasing(probability=1),
    RandomErasing(probability=1, value="random"),
    Rotate(degrees=30),
    Sharpness(factor=2),
    Solarize(threshold=128),
    TrivialAugment(),
]
stage_cases = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: repr(stage)[:60])
IMAGE = picture(40, 33)


def stream(stage, index=0):
    return sample_rng(3, 1, index, stage.stage_name) if getattr(stage, "draws", True) else NO_STREAM


@stage_cases
def test_a_stage_keeps_its_promises(stage):
    window = picture(60, 60)[10:50, 20:53]  # not contiguous, as decoders with a crop leave it
    fixed = ArraySpec(window.shape, np.dtype(np.uint8), "HWC")
    ragged = ArraySpec((None, None, 3), np.dtype(np.uint8), "HWC")
    spec = stage.output_spec({"image": fixed, "label": ArraySpec((), np.dtype(np.int32))})["image"]
    assert len(stage.output_spec({"image": ragged})["image"].shape) == 3
    for index in range(8):
        before = window.copy()
        sample = sample_of(image=window, label=np.int32(3))
        result = stage(sample, stream(stage, index))
        assert result["label"] == 3
        assert (result["image"].shape, result["image"].dtype) == (spec.shape, spec.dtype)
        np.testing.assert_array_equal(window, before)
        # A row of the batch is used if it is free, and whoever computes it, it is the same.
        sample = sample_of(image=window.copy(), label=np.int32(3))
        sample.rows = {"image": np.empty(spec.shape, np.uint8)}
        again = stage(sample, stream(stage, index))
        np.testing.assert_array_equal(again["image"], result["image"])
        # and where the row holds the input, that is not overwritten while it is read
        if spec == fixed:
            row = np.empty(spec.shape, np.uint8)
            row[...] = window
            sample = sample_of(image=row, label=np.int32(3))
            sample.rows = {"image": row}
            np.testing.assert_array_equal(stage(sample, stream(stage, index))["image"], result["image"])
            np.testing.assert_array_equal(row, window)


@stage_cases
def test_gray_images_too(stage):
    if getattr(stage, "fill", 0) != 0:
        pytest.skip("a fill of three values is for three channels")
    if isinstance(stage, Grayscale):
        stage = Grayscale(probability=stage.probability, channels=1)
    gray = picture(40, 33, channels=1)
    spec = stage.output_spec({"image": ArraySpec(gray.shape, np.dtype(np.uint8), "HWC")})["image"]
    for index in range(5):
        assert stage(sample_of(image=gray), stream(stage, index))["image"].shape == spec.shape


@stage_cases
def test_what_no_stage_takes(stage):
    for spec in (ArraySpec((3, 4, 4), np.dtype(np.uint8), "CHW"), ArraySpec((4, 4, 3), np.dtype(np.int32), "HWC")):
        with pytest.raises(ConfigError, match=f"{stage.stage_name}: expected image: 'image' to be .*uint8"):
            stage.output_spec({"image": spec})
    with pytest.raises(
        RecordError, match=rf"{stage.stage_name}: expected 'image' to have pixels, got shape \(0, 4, 3\)"
    ):
        stage(sample_of(image=np.zeros((0, 4, 3), np.uint8)), sample_rng(0, 0, 0, "x"))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Affine(degrees=(3, 2)), "affine: expected degrees as .* two ascending numbers"),
    (lambda: Affine(degrees=-1), "affine: expected degrees"),
    (lambda: Affine(degrees=1, translate=(0, 1.5)), "translate as two numbers from 0 to 1"),
    (lambda: Affine(degrees=1, scale=(0, 1)), "scale > 0"),
    (lambda: Affine(degrees=1, shear=(1, 2, 3)), "shear as"),
    (lambda: Affine(degrees=1, interpolation="cubic"), "interpolation to be nearest or bilinear, got 'cubic'"),
    (lambda: Affine(degrees=1, fill=300), "fill as one number or one per channel, 0 to 255, got 300"),
    (lambda: Rotate(degrees=1, fill=()), "rotate: expected fill"),
    (lambda: Rotate(degrees=(1, 2, 3)), "rotate: expected degrees"),
    (lambda: AutoContrast(probability=2), "autocontrast: expected probability from 0 to 1, got 2"),
    (lambda: CenterCrop(size=(0, 3)), r"center_crop: expected size as \(height, width\) >= 1"),
    (lambda: ColorJitter(brightness=-1), "color_jitter: expected brightness as a number >= 0"),
    (lambda: ColorJitter(contrast=(2, 1)), "expected contrast"),
    (lambda: ColorJitter(saturation=(0, float("inf"))), "expected saturation"),
    (lambda: ColorJitter(hue=0.6), "expected hue .* from -0.5 to 0.5"),
    (lambda: ColorJitter(hue=(-0.6, 0)), "expected hue"),
    (lambda: Flip(direction="diagonal"), "flip: expected direction to be horizontal or vertical"),
    (lambda: GaussianBlur(kernel_size=4), "gaussian_blur: expected kernel_size of odd numbers, got 4"),
    (lambda: GaussianBlur(kernel_size=3, sigma=0), "expected sigma > 0"),
    (lambda: GaussianBlur(kernel_size=3, sigma=(2, 1)), "expected sigma"),
    (lambda: Grayscale(channels=2), "grayscale: expected channels to be 1 or 3, got 2"),
    (lambda: Pad(padding=(1, 2, 3)), "pad: expected padding of 1, 2 or 4 numbers >= 0"),
    (lambda: Pad(padding=-1), "pad: expected padding"),
    (lambda: Pad(padding=1, mode="wrap"), "pad: expected mode to be one of constant, edge, reflect, symmetric"),
    (lambda: Posterize(bits=9), "posterize: expected bits from 0 to 8, got 9"),
    (lambda: Posterize(bits=1, probability=-1), "posterize: expected probability"),
    (lambda: Solarize(threshold=256), "solarize: expected threshold from 0 to 255"),
    (lambda: Sharpness(factor=-1), "sharpness: expected factor >= 0"),
    (lambda: RandomCrop(size=(3,)), "random_crop: expected size"),
    (lambda: RandomErasing(scale=(0, 2)), "random_erasing: expected scale"),
    (lambda: RandomErasing(ratio=(0, 2)), "random_erasing: expected ratio > 0"),
    (lambda: RandomErasing(value="noise"), "random_erasing: expected value as numbers or 'random'"),
    (lambda: RandomErasing(layout="NCHW"), "random_erasing: expected layout to be HWC or CHW"),
    (lambda: RandAugment(num_ops=-1), "rand_augment: expected num_ops >= 0"),
    (lambda: RandAugment(magnitude=31), "rand_augment: expected magnitude from 0 to num_magnitude_bins - 1 = 30"),
    (lambda: TrivialAugment(num_magnitude_bins=1), "trivial_augment: expected num_magnitude_bins >= 2"),
])  # fmt: skip
def test_arguments_are_checked(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


COLOUR = {"image": ArraySpec((8, 9, 3), np.dtype(np.uint8), "HWC"), "box": ArraySpec((4,), np.dtype(np.float32))}


@pytest.mark.parametrize(("stage", "message"), [
    (Rotate(degrees=1, fill=(1, 2)), "rotate: expected fill of 1 or 3 values, got 2"),
    (Pad(padding=1, fill=(1, 2)), "pad: expected fill of 1 or 3 values, got 2"),
    (RandAugment(fill=(1, 2)), "rand_augment: expected fill of 1 or 3 values"),
    (RandomErasing(value=(1, 2)), "random_erasing: expected value of 1 or 3 numbers, got 2"),
    (RandomErasing(value=-1), "random_erasing: expected value from 0 to 255 for a uint8 image"),
    (RandomErasing(layout="CHW"), "random_erasing: expected image: 'image' to be .* with layout: CHW"),
    (Grayscale(channels=1, probability=0.5), "grayscale: expected channels: 3, as the image has"),
    (Flip(flag="box"), "flip: expected flag: 'box' to be a scalar"),
])  # fmt: skip
def test_arguments_are_checked_against_the_image(stage, message):
    with pytest.raises(ConfigError, match=message):
        stage.output_spec(COLOUR)


@pytest.mark.parametrize(("stage", "message"), [
    (RandomCrop(size=(50, 20)), r"random_crop: expected an image of at least \(50, 20\) pixels, got \(40, 33\)"),
    (Pad(padding=40, mode="reflect"), "pad: reflect cannot put .* pixels around an image of"),
    (RandomCrop(size=(50, 20), padding=41, mode="symmetric"), "random_crop: symmetric cannot put"),
    (GaussianBlur(kernel_size=(81, 3)), "gaussian_blur: expected an image larger than half of kernel_size"),
])  # fmt: skip
def test_images_that_do_not_fit(stage, message):
    with pytest.raises(RecordError, match=message):
        stage(sample_of(image=IMAGE), stream(stage))
