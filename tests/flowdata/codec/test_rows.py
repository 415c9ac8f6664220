"""Decoding only the rows of a window: the same pixels, and never from offsets that are not the file's."""

import random

import numpy as np
import pytest

from flowdata import codec
from flowdata.codec.rows import cut_rows
from flowdata.errors import RecordError
from flowdata.records.wire import Feature
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop
from tests.helpers.records import oriented_jpeg, picture, sample_of

KINDS = ["4:4:4", "4:2:2", "4:2:0", "gray"]


def noise(height, width, channels, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def encoded(height, width, kind, quality=80, seed=0):
    """A file of noise, which shows any pixel that depends on a wrong neighbour, and its row offsets."""
    channels = 1 if kind == "gray" else 3
    subsampling = "4:2:0" if kind == "gray" else kind
    data = codec.encode_jpeg(noise(height, width, channels, seed), quality, subsampling, row_restarts=True)
    return data, codec.row_offsets(data)


def windows(height, width):
    """Thin and thick, at every border and across."""
    for top, high in ((0, 1), (0, height), (height - 1, 1), (height // 2, (height + 1) // 2), (height // 3, 1)):
        for left, wide in ((0, 1), (0, width), (width - 1, 1), (width // 3, (width + 1) // 2)):
            yield top, left, high, wide


@pytest.mark.parametrize("color_space", codec.COLOR_SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_decoding_everything(kind, color_space):
    for height, width in [(1, 1), (7, 9), (8, 8), (16, 16), (17, 33), (64, 48), (100, 75), (161, 40), (300, 20)]:
        data, offsets = encoded(height, width, kind, seed=height)
        whole = codec.decode(data, color_space)
        for top, left, high, wide in windows(height, width):
            found = codec.decode(data, color_space, window=lambda *_, w=(top, left, high, wide): w, rows=offsets)
            np.testing.assert_array_equal(found, whole[top : top + high, left : left + wide])


@pytest.mark.campaign
def test_the_pixels_are_the_same_for_random_files_and_windows(campaign):
    for rng in campaign(2000, 100):
        height, width, kind = rng.randint(1, 200), rng.randint(1, 200), rng.choice(KINDS)
        data, offsets = encoded(height, width, kind, quality=rng.randint(1, 100), seed=rng.getrandbits(30))
        high, wide = rng.randint(1, height), rng.randint(1, width)
        window = rng.randint(0, height - high), rng.randint(0, width - wide), high, wide
        found = codec.decode(data, window=lambda *_, w=window: w, rows=offsets)
        top, left, high, wide = window
        np.testing.assert_array_equal(found, codec.decode(data)[top : top + high, left : left + wide])


@pytest.mark.parametrize(("kind", "unit"), [("4:4:4", 8), ("4:2:2", 8), ("4:2:0", 16), ("gray", 8)])
def test_what_is_cut_out(kind, unit):
    data, offsets = encoded(160, 80, kind)
    layout = codec.image_info(data).layout
    assert len(offsets) == 160 // unit + 1
    assert offsets.dtype == np.int32
    cut, start, height = cut_rows(data, layout, offsets, 64, 16)
    margin = unit if kind == "4:2:0" else 0  # only colour subsampled downwards looks at its neighbours
    assert (start, height) == (64 - margin, 16 + 2 * margin)
    assert len(cut) < len(data) / 2
    assert codec.image_size(cut) == (height, 80)
    assert cut_rows(data, layout, offsets, 0, 160) == (data, 0, 160)


def test_row_restarts_cost_little_and_change_no_pixel():
    image = picture(375, 500)
    plain, rows = codec.encode_jpeg(image, 90, "4:4:4"), codec.encode_jpeg(image, 90, "4:4:4", row_restarts=True)
    assert len(rows) < len(plain) * 1.02
    np.testing.assert_array_equal(codec.decode(rows), codec.decode(plain))


def test_other_files_have_no_row_offsets():
    plain = codec.encode_jpeg(picture(64, 64))
    assert codec.row_offsets(plain) is None
    data, _ = encoded(64, 64, "4:4:4")
    without_one = data.replace(b"\xff\xd3", b"\xff\xd4")
    assert codec.row_offsets(without_one) is None


def changed(offsets, at, by):
    offsets = offsets.copy()
    offsets[at] += by
    return offsets


@pytest.mark.parametrize(("offsets_of", "message"), [
    (lambda offsets: offsets[:-1], "expected the offsets of 8 rows and of the end of the JPEG, found 8 numbers"),
    (lambda offsets: offsets[:0], "found 0 numbers"),
    (lambda offsets: changed(offsets, 0, 1), "expected row offsets that rise from"),
    (lambda offsets: changed(offsets, -1, 1000), "expected row offsets that rise from"),
    (lambda offsets: changed(offsets, 3, 2**30), "expected row offsets that rise from"),
    (lambda offsets: offsets[[0, 2, 1, *range(3, 9)]], "expected row offsets that rise from"),
    (lambda offsets: changed(offsets, 4, 1), "do not lie behind the restart markers"),
])  # fmt: skip
@pytest.mark.parametrize("window", [(0, 0, 4, 4), (0, 0, 64, 64), (60, 60, 4, 4)])
def test_offsets_of_another_file_are_an_error_for_every_window(offsets_of, message, window):
    data, offsets = encoded(64, 64, "4:4:4")
    with pytest.raises(RecordError, match=message):
        codec.decode(data, window=lambda *_: window, rows=offsets_of(offsets))


def test_offsets_for_a_file_without_rows_are_an_error():
    _, offsets = encoded(64, 64, "4:4:4")
    for data in (codec.encode_jpeg(picture(64, 64)), codec.encode_png(picture(64, 64))):
        with pytest.raises(RecordError, match="row offsets need a"):
            codec.decode(data, window=lambda *_: (0, 0, 4, 4), rows=offsets)


@pytest.mark.campaign
def test_whether_a_damaged_file_is_bad_does_not_depend_on_the_window(campaign):
    for rng in campaign(5000, 200):
        data, offsets = encoded(96, 64, rng.choice(KINDS), quality=rng.randint(20, 95), seed=rng.getrandbits(30))
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 3])):
            at = rng.randrange(len(data)) if rng.random() < 0.3 else rng.randrange(int(offsets[0]), len(data) - 2)
            damaged[at] = rng.choice([0, 0xFF, rng.randrange(256), damaged[at] ^ 1 << rng.randrange(8)])
        whole = is_bad(bytes(damaged))
        top, left = rng.randrange(90), rng.randrange(60)
        parts = {
            is_bad(bytes(damaged), window=lambda h, w, s=(top, left): (s[0] % h, s[1] % w, 1, 1), rows=offsets)
            for top, left in ((0, 0), (top, left), (95, 63))
        }
        assert len(parts) == 1
        assert parts == {True} or not whole  # what cannot be decoded as a whole cannot in part


def is_bad(data, **arguments):
    try:
        codec.decode(data, **arguments)
    except RecordError:
        return True
    return False


@pytest.mark.parametrize("window", [(0, 0, 4, 4), (100, 0, 60, 80)])
def test_damage_outside_of_the_window_is_found(window):
    data, offsets = encoded(160, 80, "4:4:4")
    in_row_10 = int(offsets[10]) + 5
    for damaged in (data[:-2], data[:in_row_10] + b"\xff\x3a" + data[in_row_10 + 2 :]):
        with pytest.raises(RecordError):
            codec.decode(damaged, window=lambda *_: window, rows=offsets)


def sample_with_rows(data, offsets):
    return sample_of(record={"encoded": Feature.of(data), "encoded/rows": Feature.of(offsets)})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_random_crop_decoder_uses_the_offsets_of_the_record(dtype, monkeypatch):
    data, offsets = encoded(160, 120, "4:2:0")
    sizes = []
    monkeypatch.setattr(
        "flowdata.codec.decoding.cut_rows", lambda *a: sizes.append(len(cut_rows(*a)[0])) or cut_rows(*a)
    )
    sample = sample_with_rows(data, offsets.astype(dtype))
    for seed in range(20):
        sliced, plain = (
            OFRecordImageDecoderRandomCrop(row_slices=on)(sample, np.random.default_rng(seed))["image"]
            for on in (True, False)
        )
        np.testing.assert_array_equal(sliced, plain)
    assert len(sizes) == 20
    assert min(sizes) < len(data) * 2 / 3


def test_row_offsets_of_another_kind_are_an_error():
    data, offsets = encoded(64, 64, "4:4:4")
    with pytest.raises(RecordError, match="feature 'encoded/rows': expected integers, found 9 of kind float"):
        OFRecordImageDecoderRandomCrop()(sample_with_rows(data, offsets.astype(np.float32)), np.random.default_rng(0))
    with pytest.raises(RecordError, match="feature 'encoded': expected the offsets of 8 rows"):
        OFRecordImageDecoderRandomCrop()(sample_with_rows(data, offsets[1:]), np.random.default_rng(0))


@pytest.mark.parametrize("value", range(1, 9))
def test_rows_of_a_turned_picture(value):
    exif = oriented_jpeg(value)
    data, _ = encoded(120, 90, "4:2:0")
    data = exif[: exif.index(b"\xff\xe0")] + data[2:]  # the start and the orientation of one, the rest of the other
    offsets = codec.row_offsets(data)
    whole = codec.decode(data, orientation="apply")
    rng = random.Random(value)
    for _ in range(10):
        top, left = rng.randrange(80), rng.randrange(80)
        found = codec.decode(data, orientation="apply", window=lambda *_, w=(top, left, 9, 7): w, rows=offsets)
        np.testing.assert_array_equal(found, whole[top : top + 9, left : left + 7])
