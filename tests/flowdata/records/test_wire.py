"""OFRecord messages against bytes written by hand and against the .proto file."""

import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from flowdata.errors import RecordError
from flowdata.records.wire import KINDS, Feature, decode, encode, file_descriptor
from tests.helpers.records import GOLDEN_PART

PROTO = Path(__file__).parents[3] / "proto" / "ofrecord.proto"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(key: str, feature: bytes) -> bytes:
    return field(1, field(1, key.encode()) + field(2, feature))


def of(kind: str, *values: object) -> Feature:
    if kind == "bytes":
        return Feature("bytes", values)
    return Feature(kind, np.array(values, {"float": "f4", "double": "f8"}.get(kind, kind)))


def test_golden_bytes_of_a_label():
    assert encode({"class/label": Feature.of(5)}) == GOLDEN_PART[8:]
    assert dict(decode(GOLDEN_PART[8:])) == {"class/label": of("int32", 5)}


def test_each_kind_has_the_bytes_of_the_specification():
    features = {
        "a": of("bytes", b"x", b""),
        "b": of("float", 1.5, -2.0),
        "c": of("double", 0.1),
        "d": of("int32", -1, 300),
        "e": of("int64", -(2**63), 2**63 - 1),
    }
    expected = (
        entry("a", field(1, field(1, b"x") + field(1, b"")))
        + entry("b", field(2, field(1, struct.pack("<2f", 1.5, -2.0))))
        + entry("c", field(3, field(1, struct.pack("<d", 0.1))))
        + entry("d", field(4, field(1, varint(-1) + varint(300))))
        + entry("e", field(5, field(1, varint(-(2**63)) + varint(2**63 - 1))))
    )
    assert encode(features) == expected
    assert dict(decode(expected)) == features


def test_a_negative_int32_takes_ten_bytes():
    assert encode({"": of("int32", -5)}) == entry("", field(4, field(1, b"\xfb" + b"\xff" * 8 + b"\x01")))


def test_features_are_sorted_by_name_whatever_the_order_of_insertion():
    names = ["z", "a", "é", "class/text", "class/label", "A", "ab"]
    assert encode({name: 1 for name in names}) == encode({name: 1 for name in sorted(names)})
    message = encode({name: 1 for name in names})
    offsets = [message.index(field(1, name.encode())) for name in sorted(names, key=str.encode)]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_list_keeps_its_kind(kind):
    message = encode({"x": of(kind)})
    assert message == entry("x", field(KINDS.index(kind) + 1, b""))
    assert decode(message)["x"] == of(kind)


def test_a_feature_without_kind():
    message = encode({"x": Feature(None, ())})
    assert message == field(1, field(1, b"x") + field(2, b""))
    assert decode(message)["x"].kind is None


UNUSUAL = {
    "unpacked floats": (field(2, b"\x0d" + struct.pack("<f", 1.5) + b"\x0d" + struct.pack("<f", 2.5)),
                        of("float", 1.5, 2.5)),
    "unpacked doubles": (field(3, b"\x09" + struct.pack("<d", 0.1)), of("double", 0.1)),
    "unpacked ints": (field(4, b"\x08" + varint(-7) + b"\x08\x07"), of("int32", -7, 7)),
    "unpacked longs": (field(5, b"\x08" + varint(2**40)), of("int64", 2**40)),
    "several packed chunks": (field(4, field(1, b"\x01\x02") + field(1, b"\x03")), of("int32", 1, 2, 3)),
    "packed and unpacked": (field(4, field(1, b"\x01") + b"\x08\x02"), of("int32", 1, 2)),
    "several kinds, last wins": (field(4, field(1, b"\x01")) + field(1, field(1, b"x")), of("bytes", b"x")),
    "unknown fields": (varint(9 << 3) + b"\x05" + field(4, field(1, b"\x01") + field(7, b"?")) + field(15, b"??"),
                       of("int32", 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_but_legal_wire_forms(name):
    feature, expected = UNUSUAL[name]
    assert dict(decode(entry("x", feature))) == {"x": expected}


def test_entries_may_be_incomplete_reversed_or_repeated():
    value = field(4, field(1, b"\x01"))
    message = (
        field(1, field(2, value))  # no key
        + field(1, field(1, b"k"))  # no value
        + field(1, field(2, value) + field(1, b"r"))  # value before key
        + entry("twice", field(1, field(1, b"first")))
        + entry("twice", field(4, field(1, b"\x02")))
        + field(3, b"unknown")
    )
    assert dict(decode(message)) == {
        "": of("int32", 1), "k": Feature(None, ()), "r": of("int32", 1), "twice": of("int32", 2),
    }  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_truncated_message_is_an_error(cut):
    with pytest.raises(RecordError, match=f"found {22 - cut} bytes that do not parse"):
        decode(GOLDEN_PART[8 : 30 - cut])


@pytest.mark.parametrize("message", [b"\xff", field(1, field(1, b"\xff\xfe")), b"\x0a\x80"])
def test_bytes_that_are_no_message_are_an_error(message):
    with pytest.raises(RecordError, match="expected an OFRecord message"):
        decode(message)


def test_reading_a_missing_feature_does_not_create_it():
    record = decode(GOLDEN_PART[8:])
    with pytest.raises(KeyError):
        record["other"]
    assert list(record) == ["class/label"]
    assert "other" not in record


@pytest.mark.parametrize(("value", "expected"), [
    (b"ab", of("bytes", b"ab")),
    ("é", of("bytes", "é".encode())),
    ([b"a", "b"], of("bytes", b"a", b"b")),
    (3, of("int32", 3)),
    (-(2**31), of("int32", -(2**31))),
    (2**31, of("int64", 2**31)),
    ([1, 2**40], of("int64", 1, 2**40)),
    (0.5, of("float", 0.5)),
    (np.float64(0.1), of("double", 0.1)),
    (np.array([1, 2], np.int64), of("int64", 1, 2)),
    (np.array([], np.float32), of("float")),
])  # fmt: skip
def test_a_feature_of_a_python_value(value, expected):
    assert Feature.of(value) == expected
    assert decode(encode({"x": value}))["x"] == expected


@pytest.mark.parametrize("value", [True, None, [], [1, 0.5], [b"a", 1], np.zeros((2, 2), np.int32),
                                   np.array([1], np.uint8), {"a": 1}])  # fmt: skip
def test_values_without_a_kind_are_refused(value):
    with pytest.raises(TypeError, match="Feature: expected"):
        Feature.of(value)


def test_features_differ_by_kind_count_and_value():
    assert of("int32", 1) != of("int64", 1)
    assert of("int32", 1) != of("int32", 1, 1)
    assert of("int32", 1) != of("int32", 2)
    assert of("int32", 1) != 1


def test_the_run_time_descriptor_says_what_the_proto_file_says():
    text = re.sub(r"//.*", "", PROTO.read_text())
    assert re.search(r'syntax = "proto2";', text)
    assert re.search(r"package oneflow;", text)
    described = {}
    for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, flags=re.DOTALL):
        described[name] = {
            (label or "", kind, field_name, int(number), "packed" in options)
            for label, kind, field_name, number, options in re.findall(
                r"(repeated )?(map<[^>]+>|\w+) (\w+) = (\d+)( \[packed = true\])?;", body
            )
        }
        described[name] |= set(re.findall(r"oneof (\w+)", body))

    built = {}
    type_names = {value.number: value.name.removeprefix("TYPE_").lower()
                  for value in file_descriptor().DESCRIPTOR.file.message_types_by_name["FieldDescriptorProto"]
                  .enum_types_by_name["Type"].values}  # fmt: skip
    for message in file_descriptor().message_type:
        built[message.name] = {oneof.name for oneof in message.oneof_decl}
        for each in message.field:
            kind = each.type_name.rpartition(".")[2] or type_names[each.type]
            label = "repeated " if each.label == each.LABEL_REPEATED else ""
            for nested in message.nested_type:
                if nested.name == kind and nested.options.map_entry:
                    key, value = nested.field
                    kind = f"map<{type_names[key.type]}, {value.type_name.rpartition('.')[2]}>"
                    label = ""
            built[message.name].add((label, kind, each.name, each.number, each.options.packed))
    assert built == described
    assert len(built) == 7


def test_a_record_travels_by_pickle():
    data = encode(
        {"encoded": b"\xff\xd8", "class/label": 7, "box": np.array([1.5, 2.5], np.float32), "none": Feature(None, ())}
    )
    record = pickle.loads(pickle.dumps(decode(data)))
    assert dict(record) == dict(decode(data))
