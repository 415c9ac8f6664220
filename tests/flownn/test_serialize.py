"""Tensors to files and back."""

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flownn as flow
from flownn import nn, serialize
from flownn.errors import DtypeError

DTYPES = [np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]


def test_every_dtype_shape_and_layout_comes_back(tmp_path: Path) -> None:
    values = np.arange(12).reshape(3, 4)
    tensors = {str(np.dtype(kind)): values.astype(kind) for kind in [*DTYPES, ml_dtypes.bfloat16]}
    tensors |= {"0-dim": np.array(7), "empty": np.zeros((0, 3), np.float32), "transposed": values.T}
    tensors |= {"strided": values[::2, ::-1], "big-endian": values.astype(">f4")}
    path = tmp_path / "all.safetensors"
    serialize.save({**tensors, "tensor": flow.tensor([1.5])}, path, {"note": "größe"})
    found = serialize.load(path)
    assert found.keys() == tensors.keys() | {"tensor"}
    for name, value in tensors.items():
        assert isinstance(found[name], flow.Tensor)
        assert found[name].data.dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name].data, value)
    found["0-dim"].data[...] = 8  # what is loaded can be changed
    assert serialize.load_metadata(path) == {"note": "größe"}


def test_a_module_through_a_file(tmp_path: Path) -> None:
    one, other = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    one(flow.randn(2, 1, 5, 5))
    serialize.save(one.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(serialize.load(tmp_path / "net.safetensors"))
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].data, value.data)
    assert serialize.load_metadata(tmp_path / "net.safetensors") == {}


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    serialize.save({"x": np.array([1.0, 2.0], np.float32)}, tmp_path / "x", {"k": "v"})
    data = (tmp_path / "x").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header == {"__metadata__": {"k": "v"}, "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    assert data[8 + length :] == np.array([1.0, 2.0], "<f4").tobytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net"
    serialize.save({"x": np.ones(2)}, path)
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        serialize.save({"x": np.zeros(2)}, path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_cut_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut"
    serialize.save({"x": np.ones(20)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    for read in (serialize.load, serialize.load_metadata):
        with pytest.raises(serialize.SerializeError, match="cut: not a complete safetensors file"):
            read(path)


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(DtypeError, match="expected lr to be a tensor or an array, got float"):
        serialize.save({"lr": 0.1}, tmp_path / "x")
    with pytest.raises(DtypeError, match="z has type complex128"):
        serialize.save({"z": np.ones(2, complex)}, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_nested_states_come_back() -> None:
    tree: Any = {
        "state": {0: {"buffer": flow.ones(2), "step": 3}, 1: {}},
        "groups": [{"lr": 0.1, "params": [0, 1], "betas": (0.9, 0.99)}],
        "nothing": None,
        "name": "x",
    }
    tensors, rest = serialize.flatten(tree, "optimizer.")
    assert list(tensors) == ["optimizer.state.0.buffer"]
    back = serialize.unflatten(tensors, rest)
    assert back["state"][0]["buffer"] is tensors["optimizer.state.0.buffer"]
    assert back["state"][0]["step"] == 3
    assert back["groups"] == [{"lr": 0.1, "params": [0, 1], "betas": [0.9, 0.99]}]
    assert (back["state"][1], back["nothing"], back["name"]) == ({}, None, "x")
    with pytest.raises(serialize.SerializeError, match=r"no tensor 'optimizer.state.0.buffer' among 0"):
        serialize.unflatten({}, rest)


@pytest.mark.torch
def test_pytorch_weights_there_and_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    ours.load_state_dict(theirs.state_dict())
    serialize.save(ours.state_dict(), tmp_path / "net")
    from safetensors.torch import load_file

    theirs.load_state_dict(load_file(tmp_path / "net"), strict=True)
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].data, value.numpy())
