"""Decoders: numbers, bytes and images out of records."""

import numpy as np
import pytest

from flowdata import codec
from flowdata.errors import ConfigError, RecordError
from flowdata.records.wire import Feature
from flowdata.sample import ArraySpec
from flowdata.sources.ofrecord import RECORD_SPEC
from flowdata.stages.decode import (
    ImageDecoder,
    OFRecordBytesDecoder,
    OFRecordImageDecoder,
    OFRecordImageDecoderRandomCrop,
    OFRecordRawDecoder,
)
from flowdata.stages.window import random_crop_window
from tests.helpers.records import oriented_jpeg, picture, sample_of

RNG = np.random.default_rng(0)
SPECS = {"record": RECORD_SPEC}


def raw(values, **arguments):
    """One raw decoder on one feature."""
    decoder = OFRecordRawDecoder(feature="x", output="y", **arguments)
    found = decoder(sample_of(record={"x": Feature.of(values)}), RNG)["y"]
    [spec] = [spec for name, spec in decoder.output_spec(SPECS).items() if name == "y"]
    assert (found.shape, found.dtype) == (spec.shape, spec.dtype)
    return found


F32, F64, I32, I64 = np.float32, np.float64, np.int32, np.int64


@pytest.mark.parametrize(("values", "arguments", "expected"), [
    # The vectors of the specification.
    (F32([1.5, 2.5]), {"shape": (3,), "dtype": "float32", "truncate": True}, [1.5, 2.5, 0]),
    (F32([1, 2, 3, 4]), {"shape": (3,), "dtype": "float32", "truncate": True}, [1, 2, 3]),
    (I64([7]), {"shape": (), "dtype": "int32"}, 7),
    # Shapes.
    (I32([1, 2, 3, 4, 5, 6]), {"shape": (2, 3)}, [[1, 2, 3], [4, 5, 6]]),
    (I32([]), {"shape": (0, 4)}, np.zeros((0, 4))),
    (I32([]), {"shape": (2,), "truncate": True}, [0, 0]),
    (I32([5, 6]), {"shape": (4,), "dim1_varying_length": True}, [5, 6, 0, 0]),
    (I32([5, 6]), {"shape": (2,), "dim1_varying_length": True}, [5, 6]),
    # Conversions.
    (F32([1.9, -1.9, 0.5]), {"shape": (3,), "dtype": "int32"}, [1, -1, 0]),
    (F64([2.0**62, -(2.0**63)]), {"shape": (2,), "dtype": "int64"}, [2**62, -(2**63)]),
    (F32([255.9, -0.9]), {"shape": (2,), "dtype": "uint8"}, [255, 0]),
    (I64([2**32 + 5, -1]), {"shape": (2,), "dtype": "int32"}, [5, -1]),
    (I32([300, -1]), {"shape": (2,), "dtype": "uint8"}, [44, 255]),
    (I32([200]), {"shape": (1,), "dtype": "char"}, [-56]),
    (F64([0.1]), {"shape": (1,), "dtype": "float32"}, [np.float32(0.1)]),
    (I32([3]), {"shape": (1,), "dtype": "float64"}, [3.0]),
    (F32([np.nan]), {"shape": (1,), "dtype": "float64"}, [np.nan]),
    # Bytes are unsigned unless int8 is asked for, and follow the same rules of length.
    (b"\xc8\x01", {"shape": (2,), "dtype": "int32"}, [200, 1]),
    (b"\xc8\x01", {"shape": (2,), "dtype": "float32"}, [200, 1]),
    (b"\xc8\x01", {"shape": (2,), "dtype": "uint8"}, [200, 1]),
    (b"\xc8\x01", {"shape": (2,), "dtype": "int8"}, [-56, 1]),
    (b"\xc8\x01", {"shape": (2,), "dtype": "char"}, [-56, 1]),
    (b"\x09", {"shape": (3,), "dtype": "uint8", "truncate": True}, [9, 0, 0]),
    (b"\x01\x02\x03", {"shape": (2,), "dtype": "uint8", "truncate": True}, [1, 2]),
    (b"\x07", {"shape": (), "dtype": "int64"}, 7),
])  # fmt: skip
def test_raw_decoder(values, arguments, expected):
    np.testing.assert_array_equal(raw(values, **arguments), expected)


@pytest.mark.parametrize(("values", "arguments", "message"), [
    (F32([1, 2, 3, 4]), {"shape": (3,)}, r"feature 'x': expected 3 values for shape \(3,\), found 4; truncate: true"),
    (F32([1, 2]), {"shape": (3,)}, "expected 3 values for shape .* found 2"),
    (I32([]), {}, "expected 1 values .* found 0"),
    (I32([1, 2, 3]), {"shape": (2,), "dim1_varying_length": True}, "expected 2 values .* found 3$"),
    (b"\x01\x02", {"shape": (3,)}, "expected 3 values .* found 2"),
    (b"\x01\x02", {"shape": (1,)}, "expected 1 values .* found 2"),
    ([b"a", b"b"], {"shape": (2,)}, "expected exactly one bytes value, found 2 of kind bytes"),
    (Feature("bytes", ()), {"shape": (0,)}, "expected exactly one bytes value, found 0 of kind bytes"),
    (Feature(None, ()), {}, "expected numbers or bytes, found a feature of no kind"),
    (F32([np.nan]), {"shape": (1,)}, "int32 cannot hold"),
    (F32([np.inf]), {"shape": (1,), "dtype": "int64"}, "int64 cannot hold"),
    (F64([2.0**63]), {"shape": (1,), "dtype": "int64"}, "int64 cannot hold"),
    (F32([256]), {"shape": (1,), "dtype": "uint8"}, "uint8 cannot hold"),
    (F32([-129]), {"shape": (1,), "dtype": "int8"}, "int8 cannot hold"),
])  # fmt: skip
def test_raw_decoder_refuses(values, arguments, message):
    with pytest.raises(RecordError, match=message):
        raw(values, **arguments)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"dtype": "float16"}, "dtype to be one of char, int8, .* got 'float16'"),
    ({"shape": (-1, 3)}, "extents >= 0"),
])  # fmt: skip
def test_raw_decoder_checks_its_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        OFRecordRawDecoder(feature="x", output="y", **arguments)


def test_raw_decoder_writes_into_the_row_of_the_batch():
    row = np.full((), 99, np.int32)
    sample = sample_of(record={"x": Feature.of(5)})
    sample.rows = {"y": row}
    found = OFRecordRawDecoder(feature="x", output="y")(sample, RNG)["y"]
    assert found is row
    assert row == 5


@pytest.mark.parametrize("decoder", [
    OFRecordRawDecoder(feature="x", output="y"), OFRecordBytesDecoder(feature="x"), OFRecordImageDecoder(feature="x"),
    OFRecordImageDecoderRandomCrop(feature="x"),
], ids=lambda decoder: decoder.stage_name)  # fmt: skip
def test_a_missing_feature_or_record_is_an_error(decoder):
    with pytest.raises(RecordError, match="feature 'x' is missing; the record has a, b"):
        decoder(sample_of(record={"b": Feature.of(1), "a": Feature.of(1)}), RNG)
    with pytest.raises(ConfigError, match="expected record: 'record' to be a parsed record"):
        decoder.output_spec({"record": ArraySpec((3,), np.dtype(np.uint8))})


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256))])
def test_bytes_decoder_copies_verbatim(content):
    decoder = OFRecordBytesDecoder(feature="x", output="b")
    found = decoder(sample_of(record={"x": Feature.of(content)}), RNG)["b"]
    assert found.tobytes() == content
    assert found.dtype == np.uint8
    assert decoder.output_spec(SPECS)["b"] == ArraySpec((None,), np.dtype(np.uint8))


@pytest.mark.parametrize("values", [[b"a", b"b"], 5, Feature(None, ())])
def test_bytes_decoder_needs_one_bytes_value(values):
    with pytest.raises(RecordError, match="expected exactly one bytes value"):
        OFRecordBytesDecoder(feature="x")(sample_of(record={"x": Feature.of(values)}), RNG)


@pytest.mark.parametrize("color_space", codec.COLOR_SPACES)
def test_image_decoder(color_space):
    data = codec.encode_jpeg(picture(20, 30))
    decoder = OFRecordImageDecoder(color_space=color_space)
    found = decoder(sample_of(record={"encoded": Feature.of(data)}), RNG)["image"]
    np.testing.assert_array_equal(found, codec.decode(data, color_space))
    channels = 1 if color_space == "GRAY" else 3
    assert decoder.output_spec(SPECS)["image"] == ArraySpec((None, None, channels), np.dtype(np.uint8), "HWC")
    assert found.shape == (20, 30, channels)


@pytest.mark.parametrize("color_space", codec.COLOR_SPACES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_whole_files_to_either_dtype(color_space, dtype):
    data = codec.encode_jpeg(picture(20, 30))
    content = sample_of(image=np.frombuffer(data, np.uint8))
    decoder = ImageDecoder(color_space=color_space, dtype=dtype)
    found = decoder(content, RNG)["image"]
    np.testing.assert_array_equal(found, codec.decode(data, color_space).astype(dtype), strict=True)
    spec = decoder.output_spec({"image": ArraySpec((None,), np.dtype(np.uint8))})["image"]
    assert spec == ArraySpec((None, None, found.shape[2]), np.dtype(dtype), "HWC")
    assert found.flags.writeable


def test_other_dtypes_are_refused():
    with pytest.raises(ConfigError, match="image_decoder: expected dtype to be uint8 or float32, got 'float16'"):
        ImageDecoder(dtype="float16")


def test_image_decoder_names_feature_and_damage():
    data = codec.encode_jpeg(picture(20, 30))[:-30]
    with pytest.raises(RecordError, match="feature 'encoded': JPEG image of 20 x 30 pixels has no end marker"):
        OFRecordImageDecoder()(sample_of(record={"encoded": Feature.of(data)}), RNG)


@pytest.mark.parametrize("cls", [OFRecordImageDecoder, OFRecordImageDecoderRandomCrop])
def test_image_decoders_check_size_and_arguments(cls):
    sample = sample_of(record={"encoded": Feature.of(codec.encode_png(picture(20, 30)))})
    with pytest.raises(RecordError, match="over the limit of 599 pixels"):
        cls(max_pixels=599)(sample, RNG)
    with pytest.raises(ConfigError, match="expected max_pixels >= 1, got 0"):
        cls(max_pixels=0)
    with pytest.raises(ConfigError, match="color_space to be one of RGB, BGR, GRAY, got 'rgb'"):
        cls(color_space="rgb")
    with pytest.raises(ConfigError, match="orientation to be one of ignore, apply, got 'exif'"):
        cls(orientation="exif")


def test_random_crop_decoder_returns_the_window_of_the_decoded_image():
    data = codec.encode_jpeg(picture(60, 80))
    decoder = OFRecordImageDecoderRandomCrop(color_space="BGR", area=(0.2, 0.4), aspect_ratio=(0.9, 1.1))
    sample = sample_of(record={"encoded": Feature.of(data)})
    found = decoder(sample, np.random.default_rng(4))["image"]
    top, left, h, w = random_crop_window(np.random.default_rng(4), 60, 80, (0.2, 0.4), (0.9, 1.1), 10)
    np.testing.assert_array_equal(found, codec.decode(data, "BGR")[top : top + h, left : left + w])
    assert decoder.output_spec(SPECS)["image"].shape == (None, None, 3)


def test_image_decoders_apply_the_orientation_on_request():
    data = oriented_jpeg(6, height=40, width=56)
    sample = sample_of(record={"encoded": Feature.of(data)})
    assert OFRecordImageDecoder()(sample, RNG)["image"].shape == (40, 56, 3)
    upright = OFRecordImageDecoder(orientation="apply")(sample, RNG)["image"]
    assert upright.shape == (56, 40, 3)
    crop = OFRecordImageDecoderRandomCrop(orientation="apply")(sample, np.random.default_rng(4))["image"]
    top, left, h, w = random_crop_window(np.random.default_rng(4), 56, 40)
    np.testing.assert_array_equal(crop, upright[top : top + h, left : left + w])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"area": (0.0, 1.0)}, "expected area as two numbers 0 < low <= high"),
    ({"area": (0.5, 0.2)}, "expected area"),
    ({"area": (0.5, 1.1)}, "at most 1"),
    ({"aspect_ratio": (1.0,)}, "expected aspect_ratio"),
    ({"aspect_ratio": (1.0, float("inf"))}, "expected aspect_ratio"),
    ({"num_attempts": 0}, "num_attempts >= 1, got 0"),
])  # fmt: skip
def test_random_crop_decoder_checks_its_arguments(arguments, message):
    with pytest.raises(ConfigError, match=f"ofrecord_image_decoder_random_crop: .*{message}"):
        OFRecordImageDecoderRandomCrop(**arguments)
