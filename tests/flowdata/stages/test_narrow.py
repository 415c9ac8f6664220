"""A crop after a resize: what nobody needs is not made, and what is made does not change by a bit."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from flowdata import Pipeline
from flowdata.codec import decoding, encode_jpeg
from flowdata.errors import StageError
from flowdata.sample import ArraySpec, Sample, SampleKey
from flowdata.seeding import NO_STREAM
from flowdata.stages import geometry
from flowdata.stages.decode import ImageDecoder
from flowdata.stages.geometry import Resize
from flowdata.stages.narrow import NarrowDecoder, NarrowResize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.helpers.records import oriented_jpeg, picture, sample_of

CROP = CropMirrorNormalize(crop=(56, 56), mean=120.0, std=60.0)


class Files:
    """Image files as a data set."""

    def __init__(self, *files):
        self.files = files

    def open(self):
        pass

    def close(self):
        pass

    def __len__(self):
        return len(self.files)

    def output_spec(self):
        return {"image": ArraySpec((None,), np.dtype(np.uint8))}

    def read(self, key):
        return Sample(key, {"image": np.frombuffer(self.files[key.index], np.uint8)})

    def fingerprint(self):
        return ""


def jpeg(height, width, subsampling="4:4:4"):
    return encode_jpeg(cv2.GaussianBlur(picture(height, width), (0, 0), 2), 90, subsampling)


def pipeline(source, resize=Resize(shorter=64), crop=CROP, **decoder):  # noqa: B008 - it is frozen
    return Pipeline(source, [ImageDecoder(**decoder), resize, crop], batch_size=1)


def plainly(pipeline, index=0):
    """What the stages make one by one, as they stand in the pipeline."""
    sample = pipeline.source.read(SampleKey(0, index))
    for each in pipeline.stages:
        sample = each(sample, NO_STREAM)
    return sample


def at_work(pipeline, numbers=range(1, 4)):
    return [type(each) for _, each in pipeline.at_work(numbers)]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_needed_is_resized_as_in_the_whole(seed):
    rng = np.random.default_rng(seed)
    narrow = 0
    for number in range(150):
        height, width = rng.integers(8, 700, 2).tolist()
        if number % 10 == 0:  # by exactly 2, OpenCV has another way
            height, width = height // 2 * 2, width // 2 * 2
            resize = Resize(size=(height // 2, width // 2))
        elif number % 3:
            resize = Resize(shorter=int(rng.integers(4, 300)))
        else:
            resize = Resize(size=tuple(rng.integers(4, 700, 2).tolist()))
        crop = CropMirrorNormalize(
            crop=tuple(int(rng.integers(1, extent + 1)) for extent in resize.result_size(height, width)),
            crop_position=tuple(rng.random(2).tolist()), mean=0.0, std=1.0,
        )  # fmt: skip
        image = rng.integers(0, 256, (height, width, (1, 3)[number % 2]), np.uint8)
        stage = resize.narrowed([crop])
        narrow += stage.extents(height, width) is not None
        both = [crop(each(sample_of(image=image), NO_STREAM), NO_STREAM)["image"] for each in (resize, stage)]
        np.testing.assert_array_equal(*both)
    assert narrow > 100


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "4:2:2"])
@pytest.mark.parametrize("color_space", ["RGB", "BGR", "GRAY"])
def test_a_pipeline_makes_what_its_stages_make_one_by_one(subsampling, color_space):
    sizes = [(300, 200), (200, 300), (64, 64), (65, 90), (57, 300), (128, 128), (1000, 70)]
    files = Files(*(jpeg(*size, subsampling) for size in sizes))
    made = pipeline(files, color_space=color_space)
    assert at_work(made) == [NarrowDecoder, NarrowResize, CropMirrorNormalize]
    for index in range(len(sizes)):
        np.testing.assert_array_equal(made.process(SampleKey(0, index))["image"], plainly(made, index)["image"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_cropped_upright(orientation):
    made = pipeline(
        Files(oriented_jpeg(orientation, height=90, width=130)), Resize(shorter=64, scale="scale", new_size="size"),
        replace(CROP, crop_position=(0.2, 0.1)), orientation="apply",
    )  # fmt: skip
    sample, expected = made.process(SampleKey(0, 0)), plainly(made)
    for name in ("image", "scale", "size"):
        np.testing.assert_array_equal(sample[name], expected[name])


def test_less_is_decoded(monkeypatch):
    heights = []

    def imdecode(data, color_space):
        heights.append((image := decode(data, color_space)).shape[0])
        return image

    decode = decoding._imdecode
    monkeypatch.setattr(decoding, "_imdecode", imdecode)
    pipeline(Files(jpeg(400, 300)), provider="cv2").process(SampleKey(0, 0))
    # The result has 85 rows, and the crop ends at row 14 + 56: after 329 of 400, which units of 8 make 336.
    assert heights == [336]


@pytest.mark.parametrize(
    ("resize", "crop"),
    [
        (Resize(shorter=64, interpolation="area"), CROP),
        (Resize(shorter=64, interpolation="auto"), CROP),
        (Resize(size=(64, 64)), replace(CROP, crop=None)),  # all of it
        (Resize(shorter=64), replace(CROP, output="other")),  # the resized image stays in the sample
    ],
)
def test_other_stages_stay_what_they_are(resize, crop):
    assert at_work(pipeline(Files(jpeg(90, 80)), resize, crop)) == [ImageDecoder, Resize, CropMirrorNormalize]


def test_a_stage_between_or_at_the_end_sees_whole_images():
    made = Pipeline(
        Files(jpeg(90, 80)), [ImageDecoder(), lambda sample, rng: sample, Resize(shorter=64), CROP], batch_size=1
    )
    assert at_work(made, range(1, 5))[0] is ImageDecoder
    assert at_work(made, range(1, 4))[2] is Resize  # what makes a part of the steps gets all of the image
    assert at_work(made, range(1, 5))[2] is NarrowResize


def test_an_image_that_is_too_small_for_the_crop_is_the_same_error():
    made = pipeline(Files(jpeg(90, 80)), replace(Resize(shorter=40)))
    with pytest.raises(
        StageError, match=r"stage crop_mirror_normalize.*\(56, 56\) is larger than the image of \(45, 40\)"
    ):
        made.process(SampleKey(0, 0))


def test_a_file_that_is_cut_short_is_the_same_error():
    made = pipeline(Files(jpeg(300, 200)[:-40]))
    with pytest.raises(StageError, match=r"stage image_decoder.*it was cut short"):
        made.process(SampleKey(0, 0))


def test_an_opencv_with_other_pixels_resizes_whole_images(monkeypatch):
    monkeypatch.setattr(geometry, "keeps_pixels", lambda: False)
    assert at_work(pipeline(Files(jpeg(90, 80)))) == [ImageDecoder, Resize, CropMirrorNormalize]
