"""Tensors to files and back, in the safetensors format: names, shapes, dtypes and bytes, nothing that could run.

`flatten` and `unflatten` bring nested states (of an optimizer, of a whole training) into the form that fits.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from flownn import backend
from flownn.autograd import wrap
from flownn.errors import DtypeError, FlowError
from flownn.tensor import Tensor

__all__ = ["SerializeError", "flatten", "load", "load_metadata", "save", "unflatten"]

_DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "U16": np.uint16,
    "I32": np.int32,
    "U32": np.uint32,
    "I64": np.int64,
    "U64": np.uint64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
_TENSOR = "$tensor"


class SerializeError(FlowError, ValueError):
    """A file is not what it should be."""


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to one file, which is there completely or not at all.

    Args:
        tensors: Tensors or arrays by name. One under several names is written as often.
        path: The file; replaced if it exists.
        metadata: Texts to keep with them.

    Raises:
        DtypeError: a value is no tensor or array, or of a type that the format does not have, or no text.
    """
    from safetensors.numpy import save as encode

    if not isinstance(tensors, Mapping):
        raise DtypeError(f"save: expected tensors by name, got {type(tensors).__name__}; a module has a state_dict()")
    for name, text in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise DtypeError(f"save: expected metadata of texts, got {name!r}: {text!r}")
    arrays = {name: _host_array(name, value) for name, value in tensors.items()}
    data = encode(arrays, metadata=dict(metadata) if metadata is not None else None)
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(final.parent)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors that `save`, or another program that writes the format, wrote.

    Names that the metadata give as names of other tensors, as `safetensors.torch.save_model` does for shared ones, get
    these.

    Raises:
        SerializeError: the file is damaged or of another format.
    """
    from safetensors import SafetensorError, deserialize

    data = Path(path).read_bytes()
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _unreadable(path, error) from error
    tensors: dict[str, Tensor] = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise SerializeError(f"{path}: {name} has type {entry['dtype']}; known are {', '.join(_DTYPES)}")
        array = np.frombuffer(bytearray(entry["data"]), dtype=_DTYPES[entry["dtype"]])
        tensors[name] = wrap(array.reshape(entry["shape"]))
    shared = {name: tensors[other] for name, other in load_metadata(path).items() if other in tensors}
    return shared | tensors


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the texts that `save` kept with the tensors, without reading these.

    Raises:
        SerializeError: the file is damaged or of another format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise _unreadable(path, error) from error


# How files begin that are passed by mistake, and what to do with them.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write",
    b"\x80": "a pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
}


def _unreadable(path: str | os.PathLike[str], error: Exception) -> SerializeError:
    with Path(path).open("rb") as file:
        start = file.read(16)
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            return SerializeError(
                f"{path}: not a safetensors file but {what}; read it with the library that wrote it, and save its "
                "tensors with safetensors (for PyTorch: safetensors.torch.save_file)"
            )
    return SerializeError(f"{path}: not a complete safetensors file: {error}")


def flatten(tree: Any, prefix: str = "") -> tuple[dict[str, Any], str]:
    """Take the tensors out of nested dicts and lists.

    Args:
        tree: Dicts (with text or int keys), lists and tuples of tensors, arrays and what JSON holds.
        prefix: Put before the tensors' names.

    Returns:
        The tensors by name, and a JSON text of the rest that says where each belongs. Tuples come back as lists.

    >>> tensors, rest = flatten({"state": {0: {"v": np.ones(2)}}, "lr": 0.1})
    >>> list(tensors), unflatten(tensors, rest)["lr"]
    (['state.0.v'], 0.1)
    """
    tensors: dict[str, Any] = {}

    def strip(node: Any, path: str) -> Any:
        if isinstance(node, Tensor) or backend.is_array(node):
            tensors[path] = node
            return {_TENSOR: path}
        inner = f"{path}." if path else prefix
        if isinstance(node, Mapping):
            # Pairs, because JSON would turn int keys into text.
            return {"$dict": [[key, strip(value, f"{inner}{key}")] for key, value in node.items()]}
        if isinstance(node, (list, tuple)):
            return [strip(value, f"{inner}{index}") for index, value in enumerate(node)]
        return node

    return tensors, json.dumps(strip(tree, ""))


def unflatten(tensors: Mapping[str, Any], rest: str) -> Any:
    """Put back together what `flatten` took apart.

    Raises:
        SerializeError: a tensor is missing.
    """

    def build(node: Any) -> Any:
        if isinstance(node, list):
            return [build(value) for value in node]
        if not isinstance(node, dict):
            return node
        if "$dict" in node:
            return {key: build(value) for key, value in node["$dict"]}
        if node[_TENSOR] not in tensors:
            raise SerializeError(f"unflatten: no tensor {node[_TENSOR]!r} among {len(tensors)}")
        return tensors[node[_TENSOR]]

    return build(json.loads(rest))


def _host_array(name: str, value: Any) -> NDArray[Any]:
    array = value.data if isinstance(value, Tensor) else value
    if not backend.is_array(array):
        raise DtypeError(f"save: expected {name} to be a tensor or an array, got {type(value).__name__}")
    host = backend.to_device(array, backend.CPU)
    kind = host.dtype.newbyteorder("=")
    if kind not in [np.dtype(known) for known in _DTYPES.values()]:
        raise DtypeError(f"save: {name} has type {host.dtype}; known are {', '.join(_DTYPES)}")
    return np.array(host, dtype=kind, order="C", copy=None)


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
