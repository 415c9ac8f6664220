"""Pixel functions against slow, obvious arithmetic and, where it is installed, against torchvision."""

import math

import cv2
import numpy as np
import pytest

from flowdata.stages import pixels
from tests.helpers.records import picture

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
IMAGES = {
    "noise": NOISE,
    "smooth": picture(40, 31),
    "gray": picture(20, 30, channels=1),
    "three equal channels": picture(20, 30, channels=1).repeat(3, axis=2),
    "flat": np.full((6, 7, 3), 77, np.uint8),
    "dark": np.zeros((5, 4, 3), np.uint8),
    "small": NOISE[:2, :5],
    "a pixel": NOISE[:1, :1],
    "a window": picture(60, 60)[7:40, 9:33],
    "few levels": (NOISE // 100) * 100,
}
FACTORS = [0.0, 0.1, 0.5, 0.73, 1.0, 1.3, 1.9, 3.0]
TURNS = [-0.5, -0.37, -0.1, 0.0, 0.05, 0.25, 0.41, 0.5]
image_cases = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def run(function, image, *arguments):
    """The result, after checks that it lies in ``out`` and that the image is as it was."""
    before, out = image.copy(), np.full(image.shape, 99, np.uint8)
    found = function(image, *arguments, out)
    assert np.shares_memory(found, out)
    np.testing.assert_array_equal(image, before)
    return found


def apart(found, expected):
    return np.abs(found.astype(int) - np.asarray(expected).astype(int)).max(initial=0)


# -- slow and obvious ------------------------------------------------------------------------------------------------


def rounded_down(value):
    return np.floor(np.clip(value, 0, 255) + 1e-9)


def slow_gray(image):
    if image.shape[2] == 1:
        return image.astype(np.int64)
    return (image.astype(np.int64) @ [2989, 5870, 1140])[..., np.newaxis] // 10000


def slow_blend(image, other, factor):
    return rounded_down(image * factor + other * (1 - factor))


def slow_hue(image, turn):
    if image.shape[2] == 1:
        return image
    import colorsys

    def turned(pixel):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        return np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255.999

    return np.floor([[turned(pixel) for pixel in row] for row in image.astype(np.float64)])


def slow_sharpness(image, factor):
    height, width, _ = image.shape
    if min(height, width) <= 2:
        return image
    result = image.astype(np.float64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = image[y - 1 : y + 2, x - 1 : x + 2].astype(np.float64).sum(axis=(0, 1)) + 4.0 * image[y, x]
            result[y, x] = slow_blend(image[y, x], np.rint(around / 13), factor)
    return result


def slow_equalize(image):
    result = image.copy()
    for channel in range(image.shape[2]):
        values = image[..., channel].ravel().tolist()
        step = (len(values) - values.count(max(values))) // 255
        if step:
            table = [min((sum(v < level for v in values) + step // 2) // step, 255) for level in range(256)]
            result[..., channel] = np.array(table)[image[..., channel]]
    return result


def slow_autocontrast(image):
    low, high = image.min(axis=(0, 1)).astype(float), image.max(axis=(0, 1)).astype(float)
    return np.where(low == high, image, rounded_down((image - low) * 255 / np.where(low == high, 1, high - low)))


@image_cases
def test_blends_by_plain_arithmetic(image):
    for factor in FACTORS:
        assert apart(run(pixels.brightness, image, factor), rounded_down(image * factor)) <= 1
        mean = slow_gray(image).mean()
        assert apart(run(pixels.contrast, image, factor), slow_blend(image, mean, factor)) <= 1
        gray = image if image.shape[2] == 1 else slow_gray(image)
        assert apart(run(pixels.saturation, image, factor), slow_blend(image, gray, factor)) <= 1
        assert apart(run(pixels.sharpness, image, factor), slow_sharpness(image, factor)) <= 1


@image_cases
def test_hue_by_plain_arithmetic(image):
    for turn in TURNS:
        assert apart(run(pixels.hue, image, turn), slow_hue(image, turn)) <= 1


@image_cases
def test_levels_by_plain_arithmetic(image):
    for bits in range(9):
        np.testing.assert_array_equal(run(pixels.posterize, image, bits), image >> (8 - bits) << (8 - bits))
    for threshold in (0, 1, 127.5, 200, 255):
        expected = np.where(image >= threshold, 255 - image, image)
        np.testing.assert_array_equal(run(pixels.solarize, image, threshold), expected)
    np.testing.assert_array_equal(run(pixels.equalize, image), slow_equalize(image))
    assert apart(run(pixels.autocontrast, image), slow_autocontrast(image)) <= 1


def test_gray_of_every_colour():
    levels = np.arange(256, dtype=np.uint8)
    for red in range(256):
        colours = np.stack(np.broadcast_arrays(np.uint8(red), levels[:, None], levels), axis=-1)
        np.testing.assert_array_equal(pixels.gray(colours)[..., np.newaxis], slow_gray(colours))


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (5, 3), (3, 7)])
@pytest.mark.parametrize("sigma", [0.1, 0.8, 3.0])
def test_blur_by_plain_arithmetic(kernel_size, sigma):
    def weights(size):
        values = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
        return values / values.sum()

    image = IMAGES["smooth"]
    rows, columns = map(weights, kernel_size)
    padded = np.pad(image, ((len(rows) // 2,) * 2, (len(columns) // 2,) * 2, (0, 0)), mode="reflect")
    expected = sum(
        rows[y] * columns[x] * padded[y : y + image.shape[0], x : x + image.shape[1]]
        for y in range(len(rows))
        for x in range(len(columns))
    )
    assert apart(run(pixels.blur, image, kernel_size, sigma), np.rint(expected)) <= 1


MATRICES = [
    {"angle": 17.3}, {"angle": -100, "translate": (3, 5), "scale": 1.3, "shear": (5, -8)}, {"angle": 90},
    {"angle": 0, "translate": (7, -3)}, {"angle": 0, "shear": (20, 0)}, {"angle": 33, "scale": 0.6},
    {"angle": 10, "centre": (-8, 6)},
]  # fmt: skip


def source_places(image, matrix):
    """Row and column of the image that each pixel of the result shows."""
    height, width, _ = image.shape
    places = np.empty((2, height, width))
    for y in range(height):
        for x in range(width):
            dx, dy = matrix @ [x - (width - 1) / 2, y - (height - 1) / 2, 1]
            places[:, y, x] = dy + (height - 1) / 2, dx + (width - 1) / 2
    return places


def half_way(image, matrix):
    """Which pixels of the result show a place between two pixels, so that in float32 it may be either."""
    return (np.abs(source_places(image, matrix) % 1 - 0.5) < 1e-4).any(axis=0)


@pytest.mark.parametrize("arguments", MATRICES, ids=str)
@pytest.mark.parametrize("name", ["noise", "smooth", "gray", "a window"])
def test_nearest_warp_by_plain_arithmetic(arguments, name):
    image = IMAGES[name]
    matrix = pixels.affine_matrix(**arguments)
    fill = (10, 20, 30)[: image.shape[2]]
    found = run(lambda picture, out: pixels.warp(picture, matrix, out, fill=fill), image)
    rows, columns = np.rint(source_places(image, matrix)).astype(int)
    for y in range(image.shape[0]):
        for x in np.flatnonzero(~half_way(image, matrix)[y]):
            row, column = rows[y, x], columns[y, x]
            inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
            assert found[y, x].tolist() == (image[row, column].tolist() if inside else list(fill))


@pytest.mark.parametrize("arguments", MATRICES, ids=str)
def test_bilinear_warp_by_plain_arithmetic(arguments):
    image = IMAGES["smooth"]
    matrix, fill = pixels.affine_matrix(**arguments), (10, 20, 30)
    found = run(lambda picture, out: pixels.warp(picture, matrix, out, "bilinear", fill), image)
    rows, columns = source_places(image, matrix)
    framed = np.empty((300, 300, 3))
    framed[:] = fill
    framed[100 : 100 + image.shape[0], 100 : 100 + image.shape[1]] = image
    y, x = np.floor(rows).astype(int) + 100, np.floor(columns).astype(int) + 100
    down, right = (rows + 100 - y)[..., None], (columns + 100 - x)[..., None]
    expected = (framed[y, x] * (1 - down) * (1 - right) + framed[y, x + 1] * (1 - down) * right
                + framed[y + 1, x] * down * (1 - right) + framed[y + 1, x + 1] * down * right)  # fmt: skip
    assert apart(found, np.rint(expected)) <= (1 if cv2.__version__ >= "5" else 8)


def test_an_affine_matrix_is_the_inverse_of_rotation_times_scale_times_shears():
    angle, shear_x, shear_y = (math.radians(each) for each in (30, 10, -5))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shears = np.array([[1, 0], [-math.tan(shear_y), 1]]) @ np.array([[1, -math.tan(shear_x)], [0, 1]])
    forward = 1.5 * rotation @ shears
    matrix = pixels.affine_matrix(30, (4, -3), 1.5, (10, -5), (2, 1))
    for point in ([0.0, 0.0], [3.0, -7.0]):
        there = forward @ (np.array(point) - [2, 1]) + [2, 1] + [4, -3]
        np.testing.assert_allclose(matrix @ [*there, 1], point, atol=1e-12)


# -- torchvision -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tv():
    """Its functions, from and to (height, width, channels)."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from torchvision.transforms.v2 import functional

    def call(name, image, *arguments, **options):
        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return getattr(functional, name)(tensor, *arguments, **options).permute(1, 2, 0).numpy()

    return call


@pytest.mark.torch
@image_cases
def test_colours_as_torchvision(image, tv):
    for factor in FACTORS:
        np.testing.assert_array_equal(run(pixels.brightness, image, factor), tv("adjust_brightness", image, factor))
        for function, name in ((pixels.contrast, "adjust_contrast"), (pixels.saturation, "adjust_saturation"),
                               (pixels.sharpness, "adjust_sharpness")):  # fmt: skip
            assert apart(run(function, image, factor), tv(name, image, factor)) <= 1, (name, factor)
    for turn in TURNS:
        assert apart(run(pixels.hue, image, turn), tv("adjust_hue", image, turn)) <= 1
    for bits in range(9):
        np.testing.assert_array_equal(run(pixels.posterize, image, bits), tv("posterize", image, bits))
    for threshold in (0.0, 127.5, 255.0):
        np.testing.assert_array_equal(run(pixels.solarize, image, threshold), tv("solarize", image, threshold))
    np.testing.assert_array_equal(run(pixels.equalize, image), tv("equalize", image))
    np.testing.assert_array_equal(run(pixels.autocontrast, image), tv("autocontrast", image))
    assert apart(pixels.gray(image)[..., np.newaxis], tv("rgb_to_grayscale", image)) <= 1


@pytest.mark.torch
@pytest.mark.parametrize("turn", TURNS)
def test_hue_of_many_colours_as_torchvision(turn, tv):
    levels = np.array([*range(0, 256, 15), 1, 2, 127, 128, 254], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    assert apart(run(pixels.hue, colours, turn), tv("adjust_hue", colours, turn)) <= 1


@pytest.mark.torch
@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0, 5.0])
def test_blur_as_torchvision(sigma, tv):
    for image in (IMAGES["noise"], IMAGES["smooth"], IMAGES["gray"]):
        for height, width in ((3, 3), (5, 7), (23, 23)):
            expected = tv("gaussian_blur", image, [width, height], [sigma, sigma])
            assert apart(run(pixels.blur, image, (height, width), sigma), expected) <= 1


@pytest.mark.torch
@pytest.mark.parametrize("name", ["noise", "smooth", "gray", "a window", "a pixel"])
@pytest.mark.parametrize("arguments", MATRICES, ids=str)
def test_warps_as_torchvision(arguments, name, tv):
    image = IMAGES[name]
    options = {"translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | {
        key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()
    }
    centre = options.pop("centre", [0, 0])
    options["center"] = [centre[0] + image.shape[1] / 2, centre[1] + image.shape[0] / 2]
    matrix, fill = pixels.affine_matrix(**arguments), (10, 20, 30)[: image.shape[2]]
    found = run(lambda picture, out: pixels.warp(picture, matrix, out, fill=fill), image)
    differ = (found != tv("affine", image, interpolation="nearest", fill=list(fill), **options)).any(axis=-1)
    assert not (differ & ~half_way(image, matrix)).any()
    if cv2.__version__ >= "5" or name == "smooth":
        found = run(lambda picture, out: pixels.warp(picture, matrix, out, "bilinear"), image)
        expected = tv("affine", image, interpolation="bilinear", **options)
        assert apart(found, expected) <= (1 if cv2.__version__ >= "5" else 8)


@pytest.mark.torch
def test_rotation_by_quarters_as_torchvision(tv):
    image = picture(24, 24)
    for angle in (0, 90, 180, 270, -90):
        matrix = pixels.affine_matrix(-angle)
        found = run(lambda picture, out: pixels.warp(picture, matrix, out), image)  # noqa: B023
        np.testing.assert_array_equal(found, tv("rotate", image, angle))
        np.testing.assert_array_equal(found, np.rot90(image, angle // 90))
