"""Decoding only down to the window's last row: the same pixels, the same bad files, and nothing on stderr."""

import numpy as np
import pytest

from flowdata import codec
from flowdata.codec import decoding
from flowdata.codec.jpeg import read_layout
from flowdata.codec.rows import cut_below
from flowdata.errors import RecordError
from tests.helpers.records import picture

KINDS = ["4:4:4", "4:2:2", "4:2:0", "gray"]

needs_refusal = pytest.mark.skipif(
    not decoding._refuses_broken_off_data(), reason="this OpenCV fills up broken-off JPEG data, so nothing is cut"
)


def encoded(height, width, kind, quality=80, seed=0):
    """A file of noise, which shows any pixel that depends on a wrong neighbour."""
    channels = 1 if kind == "gray" else 3
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return codec.encode_jpeg(image, quality, "4:2:0" if kind == "gray" else kind)


def part(data, window, **arguments):
    return codec.decode(data, window=lambda *_: window, **arguments)


@pytest.fixture
def heights(monkeypatch):
    """Heights of the pictures that OpenCV was given."""
    found = []
    imdecode = decoding.cv2.imdecode

    def counted(content, flags):
        found.append(read_layout(content.tobytes() + b"\xff\xd9").height)
        return imdecode(content, flags)

    decoding._refuses_broken_off_data()  # which decodes too, once
    monkeypatch.setattr(decoding.cv2, "imdecode", counted)
    return found


@pytest.mark.parametrize("color_space", codec.COLOR_SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_decoding_everything(kind, color_space, capfd):
    for height, width in [(1, 1), (8, 8), (16, 16), (17, 33), (64, 48), (100, 75), (161, 40), (300, 20)]:
        data = encoded(height, width, kind, seed=height)
        whole = codec.decode(data, color_space)
        for bottom in {1, 7, 8, 9, 15, 16, 17, height // 2, height - 1, height}:
            if 0 < bottom <= height:
                found = part(data, (bottom - 1, 0, 1, width), color_space=color_space)
                np.testing.assert_array_equal(found, whole[bottom - 1 : bottom])
    assert capfd.readouterr().err == ""


@needs_refusal
@pytest.mark.parametrize(("kind", "expected"), [("4:4:4", 64), ("4:2:2", 64), ("4:2:0", 80), ("gray", 64)])
def test_rows_below_are_not_decoded(kind, expected, heights):
    data = encoded(160, 80, kind)
    part(data, (50, 0, 10, 80))
    assert heights == [expected]  # with the row of units that subsampled colour looks at
    part(data, (150, 0, 10, 80))
    assert heights == [expected, 160]


@needs_refusal
def test_a_flat_picture_whose_rows_are_a_few_bytes(heights):
    data = codec.encode_jpeg(np.full((4000, 8, 3), 90, np.uint8), 50, "4:4:4")
    whole = codec.decode(data)
    for bottom in (1, 2000, 3980, 3992, 3993):
        np.testing.assert_array_equal(part(data, (0, 0, bottom, 8)), whole[:bottom])
    assert heights[1] == 8


@pytest.mark.parametrize("data", [
    codec.encode_jpeg(picture(160, 80), row_restarts=True), codec.encode_png(picture(160, 80)),
])  # fmt: skip
def test_other_files_are_decoded_whole(data):
    layout = read_layout(data) if data.startswith(b"\xff\xd8") else None
    assert layout is None or cut_below(data, layout, 8) is None
    np.testing.assert_array_equal(part(data, (3, 0, 5, 80)), codec.decode(data)[3:8])


def test_an_opencv_that_fills_up_broken_off_data_gets_whole_files(monkeypatch, heights):
    monkeypatch.setattr(decoding, "_refuses_broken_off_data", lambda: False)
    data = encoded(160, 80, "4:4:4")
    assert part(data, (0, 0, 1, 1)).shape == (1, 1, 3)
    assert heights == [160]


@pytest.mark.campaign
def test_damage_changes_neither_pixels_nor_what_is_bad(campaign):
    for rng in campaign(20_000, 500):
        height, width = rng.randint(1, 120), rng.randint(1, 90)
        data = encoded(height, width, rng.choice(KINDS), rng.randint(1, 100), rng.getrandbits(30))
        damaged = bytearray(data)
        for _ in range(rng.choice([0, 1, 1, 5])):
            damaged[rng.randrange(2, len(data))] = rng.choice([0, 0xFF, 0xD0, 0xD9, rng.randrange(256)])
        try:
            whole = codec.decode(bytes(damaged), max_pixels=2**20)
        except RecordError:
            whole = None
        # The header may be what was damaged: the window is one of the picture that it tells of.
        high, wide = (height, width) if whole is None else whole.shape[:2]
        bottom, right = rng.randint(1, high), rng.randint(1, wide)
        window = (rng.randrange(bottom), rng.randrange(right))
        window = (*window, bottom - window[0], right - window[1])
        try:
            found = part(bytes(damaged), window, max_pixels=2**20)
        except RecordError:
            assert whole is None
            continue
        assert whole is not None
        np.testing.assert_array_equal(found, whole[window[0] : bottom, window[1] : right])
