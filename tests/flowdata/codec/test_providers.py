"""Who decodes, and that nobody can tell by the pixels."""

import io
import os
import threading

import numpy as np
import pytest

from flowdata import codec
from flowdata.codec import decoding, providers
from flowdata.errors import ConfigError, RecordError
from flowdata.records.wire import Feature
from flowdata.stages import decode, describe
from flowdata.stages.decode import OFRecordImageDecoder, OFRecordImageDecoderRandomCrop
from tests.helpers.records import picture, sample_of

needs_nvimgcodec = pytest.mark.skipif(
    providers.nvimgcodec_problem() is not None, reason=f"nvimgcodec: {providers.nvimgcodec_problem()}"
)


def of_pillow(mode, **options):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes what OpenCV does not")
    file = io.BytesIO()
    pillow.fromarray(picture(40, 56)).convert(mode).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


# -- the choice ------------------------------------------------------------------------------------------------------


def test_auto_is_the_fast_one_where_it_is_usable(monkeypatch):
    monkeypatch.setattr(providers, "nvimgcodec_problem", lambda: "it is not there")
    assert providers.resolve("auto") == "cv2"
    assert "it is not there" in providers.describe()
    monkeypatch.setattr(providers, "nvimgcodec_problem", lambda: None)
    assert providers.resolve("auto") == "nvimgcodec"
    assert providers.describe().startswith("nvImageCodec")
    assert providers.resolve("cv2") == "cv2"


@pytest.mark.parametrize("cls", [OFRecordImageDecoder, OFRecordImageDecoderRandomCrop])
def test_asking_for_what_is_not_usable_is_an_error(cls, monkeypatch):
    monkeypatch.setattr(decode, "nvimgcodec_problem", lambda: "it is not there")
    with pytest.raises(ConfigError, match="provider nvimgcodec cannot be used: it is not there; auto uses it where"):
        cls(provider="nvimgcodec")
    with pytest.raises(ConfigError, match="provider to be one of auto, cv2, nvimgcodec, got 'pil'"):
        cls(provider="pil")


@pytest.mark.parametrize("given", [None, "other pixels", ImportError("no libnvimgcodec.so")])
def test_a_decoder_that_does_not_work_or_differs_is_not_used(given, monkeypatch):
    def broken(data, window, *, bgr):
        if isinstance(given, Exception):
            raise given
        return None if given is None else np.zeros((34, 43, 3), np.uint8)

    monkeypatch.setattr(providers.importlib.util, "find_spec", lambda name: "there")
    monkeypatch.setattr(providers, "decode_by_nvimgcodec", broken)
    problem = providers.nvimgcodec_problem.__wrapped__()
    assert {None: "no JPEG without a GPU", "other pixels": "other pixels than OpenCV"}.get(
        given, "ImportError"
    ) in problem


def test_the_provider_is_no_part_of_the_fingerprint():
    auto, cv2 = OFRecordImageDecoderRandomCrop(), OFRecordImageDecoderRandomCrop(provider="cv2", row_slices=False)
    assert describe(auto) == describe(cv2)
    assert auto != cv2


def test_only_baseline_colour_jpeg_goes_to_nvimgcodec(monkeypatch):
    asked = []

    def refuses(data, window, *, bgr):
        asked.append((window, bgr))

    monkeypatch.setattr(decoding, "decode_by_nvimgcodec", refuses)
    monkeypatch.setattr(decoding, "resolve", lambda provider: provider)
    ordinary = codec.encode_jpeg(picture(40, 56))
    others = [
        codec.encode_jpeg(picture(40, 56, channels=1)), codec.encode_png(picture(40, 56)),
        of_pillow("RGB", progressive=True), of_pillow("CMYK"),
    ]  # fmt: skip
    for data in others:
        codec.decode(data, provider="nvimgcodec")
    codec.decode(ordinary, "GRAY", provider="nvimgcodec")
    codec.decode(ordinary, provider="cv2")
    assert asked == []
    window = (3, 5, 20, 30)
    found = codec.decode(ordinary, "BGR", provider="nvimgcodec", window=lambda *_: window)
    assert asked == [(window, True)]
    np.testing.assert_array_equal(found, codec.decode(ordinary, "BGR")[3:23, 5:35])  # what it refuses OpenCV decides


def test_the_stages_hand_on_their_provider(monkeypatch):
    asked = []
    monkeypatch.setattr(decoding, "resolve", lambda provider: asked.append(provider) or "cv2")
    sample = sample_of(record={"encoded": Feature.of(codec.encode_jpeg(picture(40, 56)))})
    for cls in (OFRecordImageDecoder, OFRecordImageDecoderRandomCrop):
        cls()(sample, np.random.default_rng(0))
        cls(provider="cv2")(sample, np.random.default_rng(0))
    assert asked == ["auto", "cv2"] * 2


# -- the pixels ------------------------------------------------------------------------------------------------------


@needs_nvimgcodec
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("color_space", codec.COLOR_SPACES)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_pixels_are_equal(subsampling, color_space, rows):
    """Bit by bit: both compute with libjpeg-turbo's accurate transform and smooth upsampling."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = rng.integers(1, 300, 2).tolist()
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        data = codec.encode_jpeg(image, int(rng.integers(1, 101)), subsampling, row_restarts=rows)
        offsets = codec.row_offsets(data) if rows else None
        high, wide = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
        for window in ((top, left, high, wide), (0, 0, height, width)):
            cv2, other = (
                codec.decode(data, color_space, window=lambda *_, w=window: w, rows=offsets, provider=name)
                for name in ("cv2", "nvimgcodec")
            )
            np.testing.assert_array_equal(cv2, other)


@needs_nvimgcodec
@pytest.mark.parametrize("options", [
    {"keep_rgb": True}, {"optimize": True}, {"restart_marker_blocks": 2}, {"icc_profile": b"no profile"},
    {"comment": b"a comment"},
])  # fmt: skip
def test_the_pixels_of_other_programs_files_are_equal(options):
    data = of_pillow("RGB", **options)
    cv2, other = (codec.decode(data, provider=name) for name in ("cv2", "nvimgcodec"))
    np.testing.assert_array_equal(cv2, other)


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        match rng.randrange(4):
            case 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 2:
                at = rng.randrange(len(data))
                del data[at : at + rng.randrange(1, 20)]
            case 3:
                data[max(100, rng.randrange(len(data))) :] = b"\xff\xd9"
    return bytes(data)


def outcome(data, **arguments):
    try:
        return codec.decode(data, **arguments).shape
    except RecordError:
        return "bad"


@needs_nvimgcodec
@pytest.mark.campaign
def test_what_is_bad_is_bad_for_every_provider_and_window(campaign, capfd):
    for rng in campaign(5000, 300):
        good = codec.encode_jpeg(picture(48, 64), rng.randint(20, 95), rng.choice(["4:4:4", "4:2:0"]))
        data = mutated(good, rng)
        whole = outcome(data, provider="cv2")
        assert (outcome(data, provider="nvimgcodec") == "bad") == (whole == "bad")
        for top in (0, 40):
            part = outcome(data, provider="nvimgcodec", window=lambda h, w, top=top: (min(top, h - 1), 0, 1, w))
            assert (part == "bad") == (whole == "bad")


@needs_nvimgcodec
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_every_thread_and_every_forked_process_decodes():
    data = codec.encode_jpeg(picture(200, 300))
    expected = codec.decode(data)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(codec.decode(data, provider="nvimgcodec"), expected):
                wrong.append(threading.current_thread().name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, bytes([np.array_equal(codec.decode(data, provider="nvimgcodec"), expected)]))
        os._exit(0)
    assert os.read(read, 1) == b"\x01"
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    os.close(write)


@needs_nvimgcodec
def test_importing_it_says_nothing(capfd):
    providers._library.cache_clear()
    providers._library()
    assert capfd.readouterr() == ("", "")
