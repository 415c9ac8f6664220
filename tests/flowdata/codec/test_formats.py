"""WebP, BMP, and what other programs write as JPEG and PNG: size, wholeness and pixels."""

import io
import struct

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.errors import RecordError
from tests.helpers.records import picture


def by_cv2(extension, image, *options):
    done, data = cv2.imencode(extension, image, list(options))
    assert done
    return data.tobytes()


def by_pillow(image, kind, mode="RGB", **options):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes what OpenCV does not")
    file = io.BytesIO()
    converted = pillow.fromarray(image).convert(mode)
    converted.save(file, kind, **options)
    return file.getvalue()


def bmp(width, height, bits, pixels, *, compression=0, palette=b"", stored=0, header=40):
    """A file with a Windows or (``header=12``) OS/2 header."""
    if header == 12:
        dib = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        dib = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, stored, 0, 0, len(palette) // 4, 0)
    at = 14 + len(dib) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + dib + palette + pixels


RED, GRAYS = bytes([0, 0, 255, 0]), bytes(value for level in range(256) for value in (level, level, level, 0))


# -- WebP ------------------------------------------------------------------------------------------------------------


def webps():
    image = picture(20, 30)
    yield "lossless", by_cv2(".webp", image[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, 101), 3, 0
    yield "lossy", by_cv2(".webp", image[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, 95), 3, 8
    alpha = np.dstack([image[..., ::-1], np.full((20, 30), 100, np.uint8)])
    yield "lossless alpha", by_cv2(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 101), 4, 0
    yield "lossy alpha", by_cv2(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 95), 4, 8
    yield "extended", by_pillow(image, "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), 3, 0


@pytest.mark.parametrize(("data", "components", "off"), [row[1:] for row in webps()], ids=[row[0] for row in webps()])
def test_webp(data, components, off):
    image = picture(20, 30)
    assert codec.image_info(data) == codec.ImageInfo("WebP", 20, 30, components)
    rgb = codec.decode(data)
    assert np.abs(rgb.astype(int) - image).mean() <= off
    np.testing.assert_array_equal(codec.decode(data, "BGR"), rgb[..., ::-1])
    assert codec.decode(data, "GRAY").shape == (20, 30, 1)
    for size in range(len(data)):
        with pytest.raises(RecordError):
            codec.decode(data[:size])
    with pytest.raises(RecordError, match="WebP image of 20 x 30 pixels is over the limit of 599 pixels"):
        codec.decode(data, max_pixels=599)


def test_an_animation_is_its_first_picture():
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes animations")
    file = io.BytesIO()
    first, second = (pillow.fromarray(picture(20, 30, seed=seed)) for seed in (1, 2))
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    np.testing.assert_array_equal(codec.decode(file.getvalue()), picture(20, 30, seed=1))


@pytest.mark.parametrize(("damage", "message"), [
    (lambda data: data[:12] + b"VP9!" + data[16:], "no chunk that holds a picture"),
    (lambda data: data[:16] + b"\xff\xff\xff\0" + data[20:], "passes the end of the image"),
    (lambda data: data[:4] + b"\xff\xff\xff\0" + data[8:], "is cut short: found"),
])  # fmt: skip
def test_a_damaged_webp_is_an_error(damage, message):
    data = damage(by_cv2(".webp", picture(20, 30), cv2.IMWRITE_WEBP_QUALITY, 95))
    with pytest.raises(RecordError, match=message):
        codec.decode(data)


# -- BMP -------------------------------------------------------------------------------------------------------------


def bmps():
    rows = b"".join(bytes([10 * y + x for x in range(3)]) + b"\0" for y in range(2))
    colours = [[[10, 11, 12]], [[0, 1, 2]]]
    yield "24 bits", bmp(1, 2, 24, rows), 3, np.array(colours)[..., ::-1]
    yield "top row first", bmp(1, -2, 24, rows), 3, np.array(colours)[::-1, :, ::-1]
    yield "32 bits", bmp(1, 1, 32, b"\1\2\3\4"), 4, [[[3, 2, 1]]]
    yield (
        "gray palette",
        bmp(3, 2, 8, rows, palette=GRAYS),
        1,
        [[[v] * 3 for v in (10, 11, 12)], [[v] * 3 for v in range(3)]],
    )
    yield "colour palette", bmp(2, 1, 8, b"\0\1\0\0", palette=bytes(4) + RED), 3, [[[0, 0, 0], [255, 0, 0]]]
    yield (
        "one bit",
        bmp(3, 1, 1, b"\xa0\0\0\0", palette=bytes(4) + b"\xff\xff\xff\0"),
        1,
        [[[255] * 3, [0] * 3, [255] * 3]],
    )
    runs = b"\2\1\0\0" + b"\1\0\1\1\0\1"
    yield "run length", bmp(2, 2, 8, runs, palette=bytes(4) + RED, compression=1, stored=len(runs)), 3, [
        [[0, 0, 0], [255, 0, 0]], [[255, 0, 0]] * 2,
    ]  # fmt: skip
    yield "OS/2", bmp(1, 1, 24, b"\1\2\3\0", header=12), 3, [[[3, 2, 1]]]


@pytest.mark.parametrize(("data", "components", "pixels"), [row[1:] for row in bmps()], ids=[row[0] for row in bmps()])
def test_bmp(data, components, pixels):
    height, width = np.shape(pixels)[:2]
    assert codec.image_info(data) == codec.ImageInfo("BMP", height, width, components)
    np.testing.assert_array_equal(codec.decode(data), pixels)
    for size in range(len(data)):
        with pytest.raises(RecordError):
            codec.decode(data[:size])


@pytest.mark.parametrize(("data", "message"), [
    (bmp(1, 1, 24, b"\1\2\3\0")[:14] + b"\x20\0\0\0" + bytes(40), "it says 32 bytes, the file has"),
    (bmp(0, 5, 24, b""), "it says 5 x 0 pixels"),
    (bmp(-4, 5, 24, b""), "it says 5 x -4 pixels"),
    (bmp(1, 1, 24, b"\1\2\3\0", compression=9), "it says compression 9"),
    (bmp(2, 2, 8, b"\2\1\0\0\0\1", compression=1), "compression 1 and 0 bytes of pixels"),
    (bmp(20000, 20000, 24, b"\1\2\3\0"), "needs 1200000054 bytes, found 58; it was cut short"),
])  # fmt: skip
def test_a_damaged_bmp_is_an_error(data, message):
    with pytest.raises(RecordError, match=message):
        codec.decode(data)


# -- JPEG and PNG of other programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "options", "components"), [
    ("RGB", {"progressive": True}, 3), ("L", {"progressive": True}, 1), ("CMYK", {}, 4), ("RGB", {"subsampling": 1}, 3),
    ("RGB", {"optimize": True}, 3), ("RGB", {"restart_marker_blocks": 3}, 3),
])  # fmt: skip
def test_jpeg_of_pillow(mode, options, components):
    image = picture(40, 56)
    data = by_pillow(image, "JPEG", mode, quality=95, **options)
    info = codec.image_info(data)
    assert (info.height, info.width, info.components) == (40, 56, components)
    assert info.baseline == ("progressive" not in options)
    gray = codec.decode(data, "GRAY")
    assert np.abs(gray[..., 0] - image @ [0.299, 0.587, 0.114]).mean() < 6
    if components > 1:
        assert np.abs(codec.decode(data).astype(int) - image).mean() < 6
    for size in range(0, len(data), 7):
        with pytest.raises(RecordError):
            codec.decode(data[:size])


def test_ycck():
    """A CMYK file becomes YCCK by the transform byte of its Adobe segment; the colours then differ, as they must."""
    data = by_pillow(picture(24, 24), "JPEG", "CMYK", quality=95)
    at = data.index(b"Adobe")
    assert data[at + 11] in (0, 2)
    for transform in (0, 2):
        changed = data[: at + 11] + bytes([transform]) + data[at + 12 :]
        assert codec.image_info(changed).components == 4
        assert codec.decode(changed).shape == (24, 24, 3)


@pytest.mark.parametrize("at_share", [0.3, 0.6, 0.95])
def test_a_marker_inside_the_picture_data_is_damage(at_share):
    data = codec.encode_jpeg(picture(64, 64), quality=95)
    scan = codec.image_info(data).layout.scan_at
    at = scan + int((len(data) - scan) * at_share)
    with pytest.raises(
        RecordError, match=rf"expected picture data or the end marker at byte {at} of {len(data)}, found ff 3a"
    ):
        codec.decode(data[:at] + b"\xff\x3a" + data[at + 2 :])


@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"optimize": True}])
def test_png_of_pillow(options):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the formats that OpenCV cannot")
    image = picture(24, 24)
    file = io.BytesIO()
    pillow.fromarray(image).quantize(16).save(file, "PNG", **options)
    expected = np.asarray(pillow.open(io.BytesIO(file.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(codec.decode(file.getvalue()), expected)


def test_an_end_chunk_within_other_content_does_not_count():
    data = codec.encode_png(picture(24, 32))
    text = b"IEND\xaeB`\x82" * 4
    chunk = len(text).to_bytes(4) + b"prVt" + text + b"\0\0\0\0"
    whole = data[:33] + chunk + data[33:]
    with pytest.raises(RecordError, match="has no end chunk"):
        codec.decode(whole[:-12])


@pytest.mark.parametrize("extension", [".tiff", ".jp2"])
def test_other_formats_are_for_converting(extension):
    image = picture(64, 48)
    data = by_cv2(extension, image[..., ::-1])
    assert not codec.is_known_format(data)
    np.testing.assert_allclose(codec.decode_foreign(data).astype(int), image, atol=8)
    gray = codec.decode_foreign(by_cv2(extension, image[..., :1]))
    assert gray.shape == (64, 48, 1)
    with pytest.raises(RecordError, match="expected a JPEG, PNG, WebP or BMP image"):
        codec.decode(data)
    with pytest.raises(RecordError, match="64 x 48 pixels is over the limit of 3071"):
        codec.decode_foreign(data, max_pixels=3071)
    with pytest.raises(RecordError, match="no image that OpenCV reads"):
        codec.decode_foreign(b"no image")
