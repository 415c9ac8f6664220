"""OFRecord messages to bytes and back.

The protobuf descriptor is built here at run time, in a pool of its own: no generated code that pins a protobuf version,
and no clash with another package that registers the same message names. `proto/ofrecord.proto` is the readable form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from flowdata.errors import RecordError

Kind = Literal["bytes", "float", "double", "int32", "int64"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # in the order of the field numbers 1 to 5
DTYPES: dict[Kind, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
}
_KIND_OF_DTYPE = {dtype: kind for kind, dtype in DTYPES.items()}

FeatureValue = bytes | str | int | float | Sequence[Any] | NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A list of values of one kind; ``None`` is the kind of a feature that says nothing at all.

    Args:
        kind: Which list of the message holds the values.
        values: A tuple of ``bytes`` for kind ``bytes``, else a 1-D array of the kind's dtype.

    >>> Feature.of(7)
    Feature(kind='int32', values=array([7], dtype=int32))
    """

    kind: Kind | None
    values: tuple[bytes, ...] | NDArray[Any]

    @classmethod
    def of(cls, value: FeatureValue | Feature) -> Feature:
        """The feature that holds ``value``, one value or a flat sequence of them.

        ``str`` becomes UTF-8 bytes. A Python ``int`` becomes int32 if all values fit, else int64; a Python ``float``
        becomes float (32 bits). NumPy arrays and scalars keep their dtype.

        Raises:
            TypeError: the values are of mixed or of other types, or not one-dimensional.
            OverflowError: an integer does not fit 64 bits.
        """
        if isinstance(value, Feature):
            return value
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.atleast_1d(value)
            kind = _KIND_OF_DTYPE.get(array.dtype)
            if kind is None or array.ndim != 1:
                raise TypeError(
                    f"Feature: expected one value or a 1-D array of {', '.join(map(str, _KIND_OF_DTYPE))}, "
                    f"got shape {array.shape} and dtype {array.dtype}"
                )
            return cls(kind, array)
        values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
        types = {type(each) for each in values}
        if types <= {bytes, str} and types:
            return cls("bytes", tuple(each.encode() if isinstance(each, str) else each for each in values))
        if types == {int}:
            small = all(-(2**31) <= each < 2**31 for each in values)
            return cls("int32", np.array(values, np.int32)) if small else cls("int64", np.array(values, np.int64))
        if types == {float}:
            return cls("float", np.array(values, np.float32))
        found = ", ".join(sorted(each.__name__ for each in types)) or "an empty list, whose kind nobody can tell"
        raise TypeError(
            f"Feature: expected bytes, str, int, float, a list of one of them or a NumPy array, got {found}"
        )

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Feature):
            return NotImplemented
        return self.kind == other.kind and len(self) == len(other) and list(self.values) == list(other.values)


class Record(Mapping[str, Feature]):
    """A parsed record; a feature is converted when it is asked for, so the ones nobody reads cost nothing."""

    __slots__ = ("_features", "_message")

    def __init__(self, message: Any) -> None:
        self._message = message
        self._features = message.feature

    def __reduce__(self) -> tuple[Callable[[bytes], Record], tuple[bytes]]:
        return decode, (self._message.SerializeToString(),)

    def __getitem__(self, name: str) -> Feature:
        if name not in self._features:  # indexing would add it
            raise KeyError(name)
        message = self._features[name]
        field = message.WhichOneof("kind")
        if field is None:
            return Feature(None, ())
        kind: Kind = field.removesuffix("_list")
        values = getattr(message, field).value
        return Feature(kind, tuple(values) if kind == "bytes" else np.array(list(values), DTYPES[kind]))

    def __contains__(self, name: object) -> bool:
        return name in self._features

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def __repr__(self) -> str:
        return f"Record({', '.join(sorted(self))})"


def encode(features: Mapping[str, Feature | FeatureValue]) -> bytes:
    """Serialize a record; equal features give equal bytes, sorted by name.

    Args:
        features: Name to feature, or to a value that :meth:`Feature.of` accepts.

    Raises:
        TypeError: a value has no feature kind.

    >>> encode({"class/label": 5}).hex(" ")
    '0a 14 0a 0b 63 6c 61 73 73 2f 6c 61 62 65 6c 12 05 22 03 0a 01 05'
    """
    # One message per feature, joined: protobuf's own deterministic order of map keys is not the alphabet's.
    return b"".join(_encode_one(name, Feature.of(features[name])) for name in sorted(features))


def _encode_one(name: str, feature: Feature) -> bytes:
    message = _message_class()()
    target = message.feature[name]
    if feature.kind is not None:
        values = getattr(target, f"{feature.kind}_list")
        values.SetInParent()  # an empty list still has a kind
        values.value.extend(feature.values if feature.kind == "bytes" else np.asarray(feature.values).tolist())
    data: bytes = message.SerializeToString()
    return data


def decode(data: bytes | memoryview) -> Record:
    """Parse a serialized record.

    Raises:
        RecordError: the bytes are no OFRecord message.
    """
    try:
        record = Record(_message_class().FromString(data))
        # Some runtimes give bytes where a name is not UTF-8, others raise here.
        if wrong := [name for name in record if not isinstance(name, str)]:
            raise DecodeError(f"the name {wrong[0]!r} is not UTF-8")
    except (DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"expected an OFRecord message, found {len(data)} bytes that do not parse ({error})"
        ) from None
    return record


def file_descriptor() -> Any:
    """The ``FileDescriptorProto`` that `proto/ofrecord.proto` describes."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ofrecord.proto", package="oneflow", syntax="proto2")
    for kind in KINDS:
        message = file.message_type.add(name=f"{kind.capitalize()}List")
        kind_type = getattr(field, f"TYPE_{kind.upper()}")
        value = message.field.add(name="value", number=1, type=kind_type, label=field.LABEL_REPEATED)
        if kind != "bytes":
            value.options.packed = True

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, kind in enumerate(KINDS, start=1):
        feature.field.add(
            name=f"{kind}_list", number=number, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
            type_name=f".oneflow.{kind.capitalize()}List", oneof_index=0,
        )  # fmt: skip

    record = file.message_type.add(name="OFRecord")
    entry = record.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".oneflow.Feature"
    )
    record.field.add(
        name="feature", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
        type_name=".oneflow.OFRecord.FeatureEntry",
    )  # fmt: skip
    return file


@cache
def _message_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file_descriptor().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oneflow.OFRecord"))
