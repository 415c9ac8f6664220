"""Who looks learns of the calls that are made meanwhile, in the same thread; nobody else notices."""

import threading

import numpy as np
import pytest

from flowdata import codec
from flowdata.codec import decoding
from flowdata.codec.observed import LibraryCall, observed
from flowdata.errors import RecordError
from tests.helpers.records import picture

PNG = codec.encode_png(picture(20, 30))


def test_calls_of_the_block_alone():
    codec.decode(PNG)
    with observed() as calls:
        codec.decode(PNG, "GRAY", window=lambda height, width: (1, 2, 3, 4))
        with observed() as inner:
            codec.decode(PNG)
        codec.decode(PNG, "BGR")
    codec.decode(PNG)
    assert calls == [LibraryCall("cv2", PNG, None)] * 2  # the window is cut out of what OpenCV gives
    assert inner == [LibraryCall("cv2", PNG, None)]


def test_another_thread_is_not_observed():
    with observed() as calls:
        other = threading.Thread(target=codec.decode, args=(PNG,))
        other.start()
        other.join()
    assert calls == []


def test_a_call_that_fails_was_made(monkeypatch):
    damaged = PNG[:60] + bytes(len(PNG) - 72) + PNG[-12:]
    with observed() as calls, pytest.raises(RecordError):
        codec.decode(damaged)
    assert [call.data for call in calls] == [damaged]


def test_both_libraries_where_the_first_refuses(monkeypatch):
    monkeypatch.setattr(decoding, "resolve", lambda provider: "nvimgcodec")
    monkeypatch.setattr(decoding, "decode_by_nvimgcodec", lambda data, window, *, bgr: None)
    data = codec.encode_jpeg(picture(20, 30), quality=90)
    with observed() as calls:
        image = codec.decode(data, window=lambda height, width: (10, 2, 10, 4))
    assert calls == [LibraryCall("nvimgcodec", data, (10, 2, 10, 4)), LibraryCall("cv2", data, None)]
    np.testing.assert_array_equal(image, codec.decode(data, provider="cv2")[10:, 2:6])
