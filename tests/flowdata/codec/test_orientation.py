"""EXIF orientation: read from every format, applied to pictures and to windows of them."""

import io

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.codec.exif import orientation_in, stored_window, upright, upright_size
from tests.helpers.records import exif, oriented_jpeg, picture

VALUES = range(1, 9)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("value", VALUES)
def test_jpeg_is_turned_as_opencv_turns_it(value, order):
    data = oriented_jpeg(value, order)
    assert codec.image_info(data).orientation == value
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    found = codec.decode(data, "BGR", orientation="apply")
    np.testing.assert_array_equal(found, bgr)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(codec.decode(data), codec.decode(codec.encode_jpeg(picture(40, 56))))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("value", VALUES)
def test_png_and_webp_are_turned_as_pillow_turns_them(value, kind):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes EXIF data into PNG and WebP")
    operations = pytest.importorskip("PIL.ImageOps")
    image = pillow.fromarray(picture(40, 56))
    tags = image.getexif()
    tags[0x0112] = value
    file = io.BytesIO()
    image.save(file, kind, exif=tags, lossless=True)
    data = file.getvalue()
    assert codec.image_info(data).orientation == value
    expected = np.asarray(operations.exif_transpose(pillow.open(file)))
    np.testing.assert_array_equal(codec.decode(data, orientation="apply"), expected)
    np.testing.assert_array_equal(codec.decode(data), picture(40, 56))


@pytest.mark.parametrize("value", VALUES)
def test_a_window_of_the_upright_picture(value):
    data = oriented_jpeg(value)
    whole = codec.decode(data, orientation="apply")
    seen = []

    def window(height, width):
        seen.append((height, width))
        return 3, 7, 20, 11

    found = codec.decode(data, orientation="apply", window=window)
    np.testing.assert_array_equal(found, whole[3:23, 7:18])
    assert seen == [whole.shape[:2]]


@pytest.mark.parametrize("value", VALUES)
def test_windows_at_all_borders(value):
    stored = np.arange(5 * 7).reshape(5, 7, 1).astype(np.uint8)
    height, width = upright_size(5, 7, value)
    turned = upright(stored, value)
    assert turned.shape[:2] == (height, width)
    for top in range(height):
        for left in range(width):
            for high, wide in ((1, 1), (height - top, 1), (1, width - left), (height - top, width - left)):
                y, x, h, w = stored_window((top, left, high, wide), 5, 7, value)
                part = upright(stored[y : y + h, x : x + w], value)
                np.testing.assert_array_equal(part, turned[top : top + high, left : left + wide])


@pytest.mark.parametrize("content", [
    b"", b"II*\0", b"XX*\0" + bytes(40), exif(0), exif(9), exif(6, kind=4), exif(6)[:20], exif(6)[:8] + b"\xff\xff",
    b"II*\0\xff\xff\xff\xff", exif(6)[:4] + b"\xf0\0\0\0" + exif(6)[8:],
])  # fmt: skip
def test_what_is_no_orientation_means_upright(content):
    assert orientation_in(content) == 1
