import gzip
import struct

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.dataset import DatasetInfo
from flowdata.errors import ConfigError, DataError
from flowdata.records.wire import Feature
from flowdata.tools.convert_tfrecord import convert_tfrecord
from tests.helpers.records import picture, records_in


def slow_masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def frame(message):
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", slow_masked_crc(length)) + message + struct.pack("<I", slow_masked_crc(message))


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(**features):
    """A tf.train.Example by hand: bytes, float and int lists by the type of the first value."""
    entries = b""
    for name, values in features.items():
        if values is None:
            feature = b""
        elif isinstance(values[0], bytes):
            feature = field(1, b"".join(field(1, value) for value in values))
        elif isinstance(values[0], float):
            feature = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            feature = field(3, field(1, b"".join(map(varint, values))))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def image_example(number):
    return example(**{
        "image/encoded": [b"\xff\xd8 picture %d" % number], "image/class/label": [number], "plain": [1.5, -2.0],
        "image/big": [-1, 2**40], "nothing": None,
    })  # fmt: skip


@pytest.fixture
def files(tmp_path):
    for part, numbers in enumerate(([0, 1, 2], [3, 4])):
        (tmp_path / "src").mkdir(exist_ok=True)
        content = b"".join(frame(image_example(number)) for number in numbers)
        (tmp_path / "src" / f"train-{part:05d}-of-00002").write_bytes(content)
    return tmp_path / "src"


def test_the_golden_frame():
    """Length 3, message "abc": the checksums as other implementations of the format write them."""
    assert frame(b"abc")[:8] == bytes([3, 0, 0, 0, 0, 0, 0, 0])
    assert slow_masked_crc(b"123456789") == 0xC78AB0E5


def test_features_keep_kind_and_values_and_lose_the_prefix(files, tmp_path):
    result = convert_tfrecord(files, tmp_path / "out", parts=2, classes=["a", "b"], digests=True)
    assert (result.kept, result.encoded, result.skipped) == (5, 0, [])
    found = records_in(tmp_path / "out" / "train")
    assert [int(each["class/label"].values[0]) for each in found] == [0, 1, 2, 3, 4]
    assert sorted(found[0]) == ["big", "class/label", "encoded", "nothing", "plain"]
    assert found[3]["encoded"] == Feature("bytes", (b"\xff\xd8 picture 3",))
    assert found[3]["plain"] == Feature("float", np.float32([1.5, -2]))
    assert found[3]["big"] == Feature("int64", np.int64([-1, 2**40]))
    assert found[3]["nothing"].kind is None
    assert DatasetInfo.load(tmp_path / "out").classes == ("a", "b")
    convert_tfrecord(files, tmp_path / "other", parts=1, strip_prefix="", split="val")
    assert "image/encoded" in records_in(tmp_path / "other" / "val")[0]


def test_one_file_is_a_source_too(files, tmp_path):
    convert_tfrecord(files / "train-00001-of-00002", tmp_path / "out", parts=1)
    assert len(records_in(tmp_path / "out" / "train")) == 2


def test_a_flipped_bit_anywhere_is_noticed(files, tmp_path):
    path = files / "train-00000-of-00002"
    good = path.read_bytes()
    size = len(good) // 3
    for byte in range(size, 2 * size, 3):
        damaged = bytearray(good)
        damaged[byte] ^= 16
        path.write_bytes(damaged)
        result = convert_tfrecord(files, tmp_path / "out", parts=1, overwrite=True)
        [skipped] = result.skipped
        assert skipped.name == path.name
        assert f"at byte {size}: the " in skipped.reason
        labels = [int(each["class/label"].values[0]) for each in records_in(tmp_path / "out" / "train")]
        # damage to a length takes the rest of the file with it
        assert labels == ([0, 3, 4] if "left out" in skipped.reason else [0, 2, 3, 4])


def test_files_that_break_off(files, tmp_path):
    path = files / "train-00000-of-00002"
    good = path.read_bytes()
    for cut, message in ((5, "expected a frame header of 12 bytes"), (30, "it was cut short")):
        path.write_bytes(good[: len(good) * 2 // 3 + cut])
        result = convert_tfrecord(files, tmp_path / "out", parts=1, overwrite=True)
        [skipped] = result.skipped
        assert message in skipped.reason
        assert len(records_in(tmp_path / "out" / "train")) == 4


@pytest.mark.parametrize(("message", "expected"), [
    (b"\xff\xff\xff", "do not parse"), (b"", "no feature"),
    (example(**{"image/a": [1], "a": [2]}), "two features are called 'a'"),
])  # fmt: skip
def test_examples_that_cannot_be_converted_are_skipped(tmp_path, message, expected):
    (tmp_path / "x").write_bytes(frame(image_example(1)) + frame(message))
    [skipped] = convert_tfrecord(tmp_path / "x", tmp_path / "out", parts=1).skipped
    assert expected in skipped.reason


def test_wrong_input(files, tmp_path):
    with pytest.raises(ConfigError, match="expected TFRecord files, found none at "):
        convert_tfrecord(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ConfigError, match="expected parts <= 5, the number of items, got 8"):
        convert_tfrecord(files, tmp_path / "out")
    (tmp_path / "no").write_bytes(b"this is no TFRecord file")
    with pytest.raises(DataError, match="holds no example; the first problem is at byte 0: the length"):
        convert_tfrecord(tmp_path / "no", tmp_path / "out")
    (tmp_path / "x.gz").write_bytes(gzip.compress(frame(image_example(1))))
    with pytest.raises(ConfigError, match="is compressed; run gunzip"):
        convert_tfrecord(tmp_path / "x.gz", tmp_path / "out")
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="expected something to convert, found nothing"):
        convert_tfrecord(tmp_path / "empty", tmp_path / "out")


def test_the_command(files, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    arguments = ["convert", "tfrecord", str(files), str(tmp_path / "out"), "--parts", "1"]
    assert main([*arguments, "--classes", str(tmp_path / "names.txt"), "--digests"]) == 0
    assert capsys.readouterr().out.startswith("5 train in 1 parts; 2 classes")
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_pictures_are_encoded_again_where_an_option_asks_for_it(tmp_path):
    jpegs = [codec.encode_jpeg(picture(40 + 30 * index, 60, seed=index)) for index in range(3)]
    messages = [
        example(**{"image/encoded": [jpeg], "image/height": [40 + 30 * index], "image/class/label": [index]})
        for index, jpeg in enumerate(jpegs)
    ]
    broken = [example(**{"image/encoded": [jpegs[0][:-30]]}), example(**{"image/class/label": [1]})]
    (tmp_path / "src").write_bytes(b"".join(map(frame, [*messages, *broken])))
    out = tmp_path / "out"
    assert main(["convert", "tfrecord", str(tmp_path / "src"), str(out), "--parts", "1", "--short-side", "40"]) == 0
    for index, record in enumerate(records_in(out / "train")):
        height, width = codec.image_size(record["encoded"].values[0])
        assert min(height, width) == 40
        assert [record[name].values.tolist() for name in ("height", "width")] == [[height], [width]]
        assert record["class/label"].values.tolist() == [index]
        assert (record["encoded"].values[0] == jpegs[index]) == (index == 0)
    skipped = (out / "skipped.txt").read_text()
    assert "cut short" in skipped
    assert "expected the feature 'encoded' with one picture, found none" in skipped

    arguments = ["convert", "tfrecord", str(tmp_path / "src"), str(out), "--parts", "1", "--overwrite"]
    assert main([*arguments, "--row-restarts"]) == 0
    for record in records_in(out / "train"):
        rows = codec.row_offsets(record["encoded"].values[0])
        np.testing.assert_array_equal(record["encoded/rows"].values, rows)
    assert main(arguments) == 0
    assert len(records_in(out / "train")) == 5  # nobody looked at the pictures
