"""Coding of images: every kind of source, every kind of damage."""

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.codec import decoding
from flowdata.errors import RecordError
from tests.helpers.records import picture


def insert_after_start(jpeg: bytes, segment: bytes) -> bytes:
    return jpeg[:2] + segment + jpeg[2:]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def exif_rotated_by_90() -> bytes:
    """An APP1 segment whose orientation tag asks viewers to turn the picture."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01" + b"\x03\0" + b"\x01\0\0\0" + b"\x06\0\0\0" + b"\0\0\0\0"
    return segment(0xE1, b"Exif\0\0" + tiff)


@pytest.mark.parametrize("shape", [(7, 9, 3), (7, 9, 1), (1, 1, 3)])
def test_png_round_trip_is_exact(shape):
    image = picture(*shape[:2], channels=shape[2])
    data = codec.encode_png(image)
    assert codec.image_info(data) == codec.ImageInfo("PNG", *shape, baseline=False)
    if shape[2] == 3:
        np.testing.assert_array_equal(codec.decode(data, "RGB"), image)
        np.testing.assert_array_equal(codec.decode(data, "BGR"), image[..., ::-1])
    else:
        np.testing.assert_array_equal(codec.decode(data, "GRAY"), image)
        np.testing.assert_array_equal(codec.decode(data, "RGB"), np.repeat(image, 3, axis=2))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_round_trip_is_close_and_keeps_the_channel_order(subsampling):
    image = picture(40, 56, seed=3)
    data = codec.encode_jpeg(image, quality=95, subsampling=subsampling)
    assert codec.image_info(data) == codec.ImageInfo("JPEG", 40, 56, 3, baseline=True)
    assert codec.image_size(data) == (40, 56)
    rgb = codec.decode(data, "RGB")
    assert np.abs(rgb.astype(int) - image).mean() < 4
    np.testing.assert_array_equal(codec.decode(data, "BGR"), rgb[..., ::-1])
    luminance = image @ [0.299, 0.587, 0.114]
    gray = codec.decode(data, "GRAY")
    assert gray.shape == (40, 56, 1)
    assert np.abs(gray[..., 0] - luminance).max() < 6


def test_subsampling_changes_the_file():
    image = picture(64, 64)
    sizes = [len(codec.encode_jpeg(image, 95, subsampling)) for subsampling in ("4:4:4", "4:2:2", "4:2:0")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_bgr_input_is_the_same_file_as_rgb_input():
    image = picture(16, 16)
    swapped = np.ascontiguousarray(image[..., ::-1])
    assert codec.encode_jpeg(swapped, color_space="BGR") == codec.encode_jpeg(image)
    assert codec.encode_png(swapped, color_space="BGR") == codec.encode_png(image)


def test_gray_jpeg_as_colour_has_three_equal_channels():
    data = codec.encode_jpeg(picture(20, 30, channels=1)[..., 0])
    assert codec.image_info(data).components == 1
    rgb = codec.decode(data, "RGB")
    assert rgb.shape == (20, 30, 3)
    np.testing.assert_array_equal(rgb, np.repeat(codec.decode(data, "GRAY"), 3, axis=2))


def test_exif_orientation_is_ignored():
    data = codec.encode_jpeg(picture(20, 30))
    rotated = insert_after_start(data, exif_rotated_by_90())
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (30, 20, 3)  # the tag works
    np.testing.assert_array_equal(codec.decode(rotated), codec.decode(data))


def test_16_bit_png_is_scaled_not_saturated():
    image = picture(9, 9)
    _, data = cv2.imencode(".png", image[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(codec.decode(data.tobytes(), "RGB"), image)


def test_transparency_is_dropped():
    image = picture(9, 9)
    _, data = cv2.imencode(".png", np.dstack([image[..., ::-1], np.full((9, 9), 7, np.uint8)]))
    assert codec.image_info(data.tobytes()).components == 4
    np.testing.assert_array_equal(codec.decode(data.tobytes(), "RGB"), image)


def test_cmyk_and_palette_and_progressive_sources(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the formats that OpenCV cannot")
    image = picture(24, 24)
    pillow.fromarray(image).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    data = (tmp_path / "cmyk.jpg").read_bytes()
    assert codec.image_info(data).components == 4
    assert np.abs(codec.decode(data).astype(int) - image).mean() < 6
    pillow.fromarray(image).quantize(256).save(tmp_path / "palette.png")
    assert np.abs(codec.decode((tmp_path / "palette.png").read_bytes()).astype(int) - image).mean() < 6
    pillow.fromarray(image).save(tmp_path / "progressive.jpg", quality=95, progressive=True)
    data = (tmp_path / "progressive.jpg").read_bytes()
    assert not codec.image_info(data).baseline
    assert np.abs(codec.decode(data).astype(int) - image).mean() < 6


def test_a_jpeg_cut_anywhere_is_an_error():
    data = codec.encode_jpeg(picture(24, 32))
    for size in range(len(data)):
        with pytest.raises(RecordError):
            codec.decode(data[:size])
    with pytest.raises(RecordError, match=rf"JPEG image of 24 x 32 pixels has no end marker in its {len(data) - 50} b"):
        codec.decode(data[:-50])


def test_the_end_marker_of_a_thumbnail_does_not_count():
    thumbnail = codec.encode_jpeg(picture(8, 8))
    data = insert_after_start(codec.encode_jpeg(picture(24, 32)), segment(0xE1, b"Exif\0\0" + thumbnail))
    codec.decode(data)
    with pytest.raises(RecordError, match="24 x 32 pixels has no end marker"):
        codec.decode(data[:-10])


def test_bytes_after_the_end_marker_are_allowed():
    data = codec.encode_jpeg(picture(24, 32))
    np.testing.assert_array_equal(codec.decode(data + b"\0" * 17), codec.decode(data))


def test_fill_bytes_before_a_marker_are_allowed():
    data = codec.encode_jpeg(picture(24, 32))
    assert codec.image_size(data[:2] + b"\xff\xff" + data[2:]) == (24, 32)


def test_a_png_cut_anywhere_is_an_error():
    data = codec.encode_png(picture(8, 8))
    for size in range(len(data)):
        with pytest.raises(RecordError):
            codec.decode(data[:size])


@pytest.mark.parametrize(("data", "message"), [
    (b"", "expected a JPEG, PNG, WebP or BMP image, found no bytes at all"),
    (b"GIF89a....", "found 10 bytes that start with 47 49 46 38"),
    (b"\0" * 100, "expected a JPEG, PNG, WebP or BMP image, found 100 bytes"),
])  # fmt: skip
def test_unknown_formats_are_errors(data, message):
    with pytest.raises(RecordError, match=message):
        codec.decode(data)


def damaged_jpegs():
    data = codec.encode_jpeg(picture(24, 32))
    frame = data.index(b"\xff\xc0")
    return {
        "no marker": (data[:20] + b"\x00" + data[21:], "JPEG is damaged: expected a marker at byte 20"),
        "length zero": (data[:22] + b"\0\0" + data[24:], "expected a whole header segment at byte 20"),
        "length too large": (data[:22] + b"\xff\xf0" + data[24:], "expected a whole header segment at byte 20"),
        "no frame": (data[:frame] + b"\xff\xe5" + data[frame + 2 :], "expected a frame header before the first scan"),
        "no height": (data[: frame + 5] + b"\0\0" + data[frame + 7 :], "it says 0 x 32 pixels"),
        "huge": (data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :], "65535 x 65535 pixels is over the limit"),
        "no sampling": (data[: frame + 11] + b"\0" + data[frame + 12 :], "sampling factors from 1 to 4"),
        "no quantization": (data.replace(b"\xff\xdb", b"\xff\xe4"), "24 x 32 pixels cannot be decoded; it is damaged"),
    }


@pytest.mark.parametrize("damage", damaged_jpegs())
def test_a_damaged_jpeg_header_is_an_error(damage):
    data, message = damaged_jpegs()[damage]
    with pytest.raises(RecordError, match=message):
        codec.decode(data)


@pytest.mark.parametrize(("at", "content", "message"), [
    (12, b"IDAT", "PNG header is damaged: expected an IHDR chunk"),
    (16, b"\0\0\0\0", "it says 8 x 0 pixels"),
    (16, b"\x7f\xff\xff\xff", "over the limit"),
    (50, b"\0\0\0\0", "cannot be decoded"),
])  # fmt: skip
def test_a_damaged_png_is_an_error(at, content, message):
    data = codec.encode_png(picture(8, 8))
    with pytest.raises(RecordError, match=message):
        codec.decode(data[:at] + content + data[at + len(content) :])


def test_the_pixel_limit_is_exact_and_comes_from_the_header():
    data = codec.encode_jpeg(picture(24, 32))
    assert codec.decode(data, max_pixels=24 * 32).shape == (24, 32, 3)
    with pytest.raises(RecordError, match="24 x 32 pixels is over the limit of 767 pixels"):
        codec.decode(data, max_pixels=24 * 32 - 1)


@pytest.mark.parametrize(("image", "arguments", "message"), [
    (np.zeros((4, 4), np.float32), {}, "got float32"),
    (np.zeros((4, 4, 2), np.uint8), {}, r"got uint8 \(4, 4, 2\)"),
    (np.zeros((0, 4, 3), np.uint8), {}, "got uint8"),
    (np.zeros((4, 4), np.uint8), {"quality": 101}, "quality from 0 to 100, got 101"),
    (np.zeros((4, 4), np.uint8), {"subsampling": "4:1:0"}, "got '4:1:0'"),
    (np.zeros((4, 4), np.uint8), {"color_space": "HSV"}, "got 'HSV'"),
])  # fmt: skip
def test_what_cannot_be_encoded_is_refused(image, arguments, message):
    with pytest.raises(ValueError, match=message):
        codec.encode_jpeg(image, **arguments)


def test_without_direct_rgb_decoding_the_pixels_are_the_same(monkeypatch):
    data = codec.encode_jpeg(picture(24, 32))
    expected = codec.decode(data, "RGB")
    monkeypatch.setattr(decoding, "_DIRECT_RGB", None)
    np.testing.assert_array_equal(codec.decode(data, "RGB"), expected)
