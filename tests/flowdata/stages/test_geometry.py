"""Resizing and mirroring against plain arithmetic: sizes, centres, and where the result is written."""

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec
from flowdata.stages.geometry import ImageFlip, Resize, keep_aspect_size
from tests.helpers.records import picture, sample_of

RNG = np.random.default_rng(0)
RAGGED = ArraySpec((None, None, 3), np.dtype(np.uint8), "HWC")


def resize(image, **arguments):
    return Resize(**arguments)(sample_of(image=image), RNG)["image"]


def slow_bilinear(image, height, width):
    """Half-pixel centres, edge pixels repeated, in float64."""

    def weights(size, new_size):
        centre = (np.arange(new_size) + 0.5) * size / new_size - 0.5
        low = np.floor(centre).astype(int)
        return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), centre - low

    y0, y1, fy = weights(image.shape[0], height)
    x0, x1, fx = weights(image.shape[1], width)
    image = image.astype(np.float64)
    rows = image[y0] * (1 - fy)[:, None, None] + image[y1] * fy[:, None, None]
    return rows[:, x0] * (1 - fx)[:, None] + rows[:, x1] * fx[:, None]


# (height, width), arguments, (height, width): the vectors of the specification, and a few more.
KEEP_ASPECT = [
    ((349, 367), {"shorter": 256}, (256, 269)),
    ((480, 640), {"shorter": 800, "max_size": 1333}, (800, 1067)),
    ((300, 1000), {"shorter": 800, "max_size": 1333}, (400, 1333)),
    ((480, 640), {"longer": 1000, "min_size": 600}, (750, 1000)),
    ((300, 1000), {"longer": 1000, "min_size": 600}, (600, 2000)),
    ((367, 349), {"shorter": 256}, (269, 256)),
    ((1000, 300), {"shorter": 800, "max_size": 1333}, (1333, 400)),
    ((10, 10), {"longer": 4}, (4, 4)),
    ((4, 10), {"longer": 5}, (2, 5)),
    ((1, 1000), {"longer": 10}, (1, 10)),
]


@pytest.mark.parametrize(("size", "arguments", "expected"), KEEP_ASPECT)
def test_sizes_that_keep_the_aspect_ratio(size, arguments, expected):
    assert keep_aspect_size(*size, **arguments) == expected
    assert resize(np.zeros((*size, 3), np.uint8), **arguments).shape == (*expected, 3)
    spec = Resize(**arguments).output_spec({"image": ArraySpec((*size, 3), np.dtype(np.uint8), "HWC")})["image"]
    assert spec.shape == (*expected, 3)


def test_halves_round_to_even():
    assert keep_aspect_size(2, 4, longer=5) == (2, 5)  # 2.5
    assert keep_aspect_size(2, 4, longer=7) == (4, 7)  # 3.5


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(30, 50), (7, 9), (13, 40)])
def test_bilinear_is_the_plain_formula(size, channels):
    image = picture(20, 33, channels=channels)
    found = resize(image, size=size)
    assert found.dtype == np.uint8
    assert np.abs(found - slow_bilinear(image, *size)).max() <= 1  # fixed-point weights and one rounding
    exact = resize(image.astype(np.float32), size=size)
    np.testing.assert_allclose(exact, slow_bilinear(image, *size), rtol=0, atol=1e-3)


def test_nearest_and_area_by_whole_factors():
    image = picture(12, 12)
    np.testing.assert_array_equal(
        resize(image, size=(24, 36), interpolation="nearest"), image.repeat(2, axis=0).repeat(3, axis=1)
    )
    mean = image.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, size=(4, 4), interpolation="area") - mean).max() <= 0.5 + 1e-6


def test_bicubic_is_a_method_of_its_own():
    image = picture(12, 12)
    cubic = resize(image, size=(30, 30), interpolation="bicubic").astype(int)
    assert (cubic != resize(image, size=(30, 30))).any()
    assert np.abs(cubic - resize(image, size=(30, 30))).mean() < 5


def test_auto_is_bilinear_unless_pixels_get_lost():
    image = picture(20, 20)
    np.testing.assert_array_equal(resize(image, size=(10, 40), interpolation="auto"), resize(image, size=(10, 40)))
    np.testing.assert_array_equal(
        resize(image, size=(10, 39), interpolation="auto"), resize(image, size=(10, 39), interpolation="area")
    )


def test_a_window_of_an_image_resizes_as_its_copy():
    image = picture(40, 40)
    window = image[5:29, 7:30]
    np.testing.assert_array_equal(resize(window, size=(16, 16)), resize(window.copy(), size=(16, 16)))


def test_it_writes_into_the_row_of_the_batch_and_leaves_its_input_alone():
    image = picture(20, 30)
    before = image.copy()
    row = np.empty((8, 8, 3), np.uint8)
    sample = sample_of(image=image)
    sample.rows = {"image": row}
    found = Resize(size=(8, 8))(sample, RNG)
    assert found["image"] is row
    np.testing.assert_array_equal(row, resize(image, size=(8, 8)))
    np.testing.assert_array_equal(image, before)
    # A second stage that would read and write the same memory gets other memory.
    again = Resize(size=(8, 8), interpolation="area")(found.replace(image=row[::-1]), RNG)
    assert not np.may_share_memory(again["image"], row)


def test_specs():
    assert Resize(size=(3, 4)).output_spec({"image": RAGGED})["image"].shape == (3, 4, 3)
    assert Resize(shorter=3).output_spec({"image": RAGGED})["image"].shape == (None, None, 3)
    for wrong in (ArraySpec((3, 4, 4), np.dtype(np.uint8), "CHW"), ArraySpec((4, 4, 3), np.dtype(np.int32), "HWC"),
                  ArraySpec((4, 4, 7), np.dtype(np.uint8), "HWC")):  # fmt: skip
        with pytest.raises(ConfigError, match="resize: expected image: 'image' to be uint8 or float32 HWC"):
            Resize(size=(3, 4)).output_spec({"image": wrong})


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "expected one of size, shorter, longer, got none"),
    ({"size": (2, 2), "shorter": 2}, "got size and shorter"),
    ({"size": (2, 0)}, "width >= 1, got 0"),
    ({"size": (2,)}, r"size as \(height, width\), got \(2,\)"),
    ({"shorter": 0}, "shorter >= 1, got 0"),
    ({"shorter": 5, "max_size": 4}, "shorter <= max_size, got max_size 4 and shorter 5"),
    ({"longer": 5, "max_size": 6}, "max_size limits the longer side"),
    ({"longer": 5, "min_size": 6}, "longer >= min_size, got min_size 6 and longer 5"),
    ({"size": (2, 2), "min_size": 1}, "min_size limits"),
    ({"size": (2, 2), "interpolation": "linear"}, "interpolation to be one of bilinear, .* got 'linear'"),
])  # fmt: skip
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ConfigError, match=f"resize: .*{message}"):
        Resize(**arguments)


def test_an_image_without_pixels_is_an_error():
    with pytest.raises(RecordError, match=r"resize: expected 'image' to have pixels, got shape \(0, 4, 3\)"):
        resize(np.zeros((0, 4, 3), np.uint8), size=(2, 2))


def test_scale_and_new_size_are_of_width_and_height():
    found = Resize(shorter=8, scale="s", new_size="n")(sample_of(image=np.zeros((10, 31, 3), np.uint8)), RNG)
    np.testing.assert_array_equal(found["s"], np.array([25 / 31, 0.8], np.float32), strict=True)
    np.testing.assert_array_equal(found["n"], np.array([25, 8], np.int32), strict=True)
    specs = Resize(size=(3, 4), scale="s", new_size="n").output_spec({"image": RAGGED})
    assert (specs["s"].shape, specs["s"].dtype, specs["n"].shape, specs["n"].dtype) == ((2,), "f4", (2,), "i4")
    assert set(Resize(size=(3, 4)).output_spec({"image": RAGGED})) == {"image"}


# ---------------------------------------------------------------- image_flip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("code", "y", "x"), [(0, 1, 1), (1, 1, -1), (2, -1, 1), (3, -1, -1)])
def test_flips(code, y, x, dtype, channels):
    image = picture(6, 9, channels=channels).astype(dtype)
    before = image.copy()
    row = np.zeros_like(image)
    sample = sample_of(image=image, mirror=np.int8(code))
    sample.rows = {"image": row}
    found = ImageFlip()(sample, RNG)["image"]
    np.testing.assert_array_equal(found, before[::y, ::x], strict=True)
    np.testing.assert_array_equal(image, before)
    assert (found is row) == (code != 0)


def test_what_cannot_be_flipped():
    for code in (4, -1):
        with pytest.raises(RecordError, match=rf"image_flip: expected 'mirror' as 0 .* or 3 \(both\), found {code}"):
            ImageFlip()(sample_of(image=picture(3, 3), mirror=np.int8(code)), RNG)
    specs = {"image": RAGGED, "mirror": ArraySpec((), np.dtype(np.int8))}
    assert ImageFlip().output_spec(specs) == specs
    for wrong in (ArraySpec((), np.dtype(np.float32)), ArraySpec((1,), np.dtype(np.int8))):
        with pytest.raises(ConfigError, match="image_flip: expected flip: 'mirror' to be an integer scalar"):
            ImageFlip().output_spec(specs | {"mirror": wrong})
    with pytest.raises(ConfigError, match="image_flip: expected image: 'image' to be uint8 or float32 HWC"):
        ImageFlip().output_spec(specs | {"image": ArraySpec((3, None, None), np.dtype(np.float32), "CHW")})
