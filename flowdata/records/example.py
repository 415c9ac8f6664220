"""TFRecord files of tf.train.Example messages, read without TensorFlow.

A file is a concatenation of frames: an 8-byte little-endian length, the masked CRC-32C of these 8 bytes, that many
bytes, and their masked CRC-32C. As for OFRecords, the protobuf descriptor is built at run time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from flowdata.errors import RecordError
from flowdata.records.digests import crc32c
from flowdata.records.frames import MAX_RECORD_BYTES
from flowdata.records.wire import Feature, Kind

LENGTH_BYTES = 8
CRC_BYTES = 4
OVERHEAD_BYTES = LENGTH_BYTES + 2 * CRC_BYTES

_MASK_DELTA = 0xA282EAD8
_KINDS: dict[str, Kind] = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
_DTYPES = {"float_list": np.float32, "int64_list": np.int64}


def masked_crc32c(data: bytes) -> int:
    """CRC-32C, rotated by 15 bits and shifted by a constant, as TFRecord files have it.

    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def walk_tfrecord(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Offset of each frame of an open TFRecord file of ``size`` bytes, and the length of its message.

    Raises:
        RecordError: a length is cut off, has a wrong checksum, or passes the end of the file.
    """
    offset = 0
    while offset < size:
        header = os.pread(descriptor, LENGTH_BYTES + CRC_BYTES, offset)
        if len(header) < LENGTH_BYTES + CRC_BYTES:
            raise RecordError(
                f"at byte {offset}: expected a frame header of 12 bytes, found the last {len(header)} bytes of the file"
            )
        length = int.from_bytes(header[:LENGTH_BYTES], "little")
        _check(header[:LENGTH_BYTES], header[LENGTH_BYTES:], f"at byte {offset}: the length {length}")
        if length > MAX_RECORD_BYTES or offset + OVERHEAD_BYTES + length > size:
            raise RecordError(
                f"at byte {offset}: expected a message of {length} bytes, found {size - offset - OVERHEAD_BYTES} "
                f"before the end of the file; it was cut short"
            )
        yield offset, length
        offset += OVERHEAD_BYTES + length


def read_example(descriptor: int, offset: int, length: int) -> dict[str, Feature]:
    """The features of the tf.train.Example in the frame at ``offset``.

    Raises:
        RecordError: the checksum is wrong, or the message does not parse.
    """
    content = os.pread(descriptor, length + CRC_BYTES, offset + LENGTH_BYTES + CRC_BYTES)
    _check(content[:length], content[length:], f"at byte {offset}: the message of {length} bytes")
    try:
        message = _example_class().FromString(content[:length])
    except DecodeError as error:
        raise RecordError(
            f"at byte {offset}: expected a tf.train.Example, found {length} bytes that do not parse ({error})"
        ) from None
    return {name: _feature(value) for name, value in message.features.feature.items()}


def _check(data: bytes, stored: bytes, what: str) -> None:
    expected, found = int.from_bytes(stored, "little"), masked_crc32c(data)
    if expected != found:
        raise RecordError(
            f"{what} has checksum {found:08x}, expected {expected:08x}; the file is damaged or no TFRecord"
        )


def _feature(message: Any) -> Feature:
    field = message.WhichOneof("kind")
    if field is None:
        return Feature(None, ())
    values = getattr(message, field).value
    return Feature(_KINDS[field], tuple(values) if field == "bytes_list" else np.array(values, _DTYPES[field]))


@cache
def _example_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    lists = (("BytesList", field.TYPE_BYTES), ("FloatList", field.TYPE_FLOAT), ("Int64List", field.TYPE_INT64))
    for name, kind in lists:
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (list_field, (name, _)) in enumerate(zip(_KINDS, lists, strict=True), start=1):
        feature.field.add(
            name=list_field, number=number, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
            type_name=f".tensorflow.{name}", oneof_index=0,
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".tensorflow.Feature"
    )
    features.field.add(
        name="feature", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
        type_name=".tensorflow.Features.FeatureEntry",
    )  # fmt: skip
    file.message_type.add(name="Example").field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".tensorflow.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
