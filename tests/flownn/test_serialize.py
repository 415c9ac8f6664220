"""Tensors to files and back."""

import json
import os
import pickle
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
    with pytest.raises(DtypeError, match=r"expected tensors by name, got Linear; a module has a state_dict\(\)"):
        serialize.save(nn.Linear(1, 1), tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match="expected metadata of texts, got 'step': 3"):
        serialize.save({"x": np.ones(2)}, tmp_path / "x", {"step": 3})  # type: ignore[dict-item]
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


def test_files_of_other_formats_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.ones(3))
    np.savez(tmp_path / "arrays.npz", np.ones(3))
    (tmp_path / "objects.pkl").write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    (tmp_path / "notes.txt").write_text("words, and more of them\n" * 10)
    for name, what in (
        ("array.npy", "not a safetensors file but a NumPy array"),
        ("arrays.npz", "not a safetensors file but a zip archive, as torch.save"),
        ("objects.pkl", "not a safetensors file but a pickle; read it with the library that wrote it"),
        ("notes.txt", "not a complete safetensors file"),
    ):
        for read in (serialize.load, serialize.load_metadata):
            with pytest.raises(serialize.SerializeError, match=f"{name}: {what}"):
                read(tmp_path / name)


def shared_twins() -> nn.Sequential:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    return nn.Sequential(first, second)


def test_shared_weights_stay_shared(tmp_path: Path) -> None:
    one, other = shared_twins(), shared_twins()
    serialize.save(one.state_dict(), tmp_path / "net")
    found = serialize.load(tmp_path / "net")
    assert found.keys() == {"0.weight", "1.weight"}
    other.load_state_dict(found)
    assert other[0].weight is other[1].weight
    np.testing.assert_array_equal(other[1].weight.data, one[0].weight.data)


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


def torch_net(torch: Any) -> Any:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(3, 4))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_pytorch_states_of_every_type_there_and_back(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from safetensors.torch import load_file, save_file

    theirs = torch_net(torch).to(getattr(torch, dtype))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(3, 4)).to(getattr(flow, dtype))
    net.load_state_dict(theirs.state_dict())  # in memory
    save_file(theirs.state_dict(), tmp_path / "theirs", metadata={"format": "pt"})
    from_file = serialize.load(tmp_path / "theirs")
    serialize.save(net.state_dict(), tmp_path / "ours")
    back = load_file(tmp_path / "ours")
    for name, value in theirs.state_dict().items():
        expected = value.double().numpy()
        for found in (net.state_dict()[name], from_file[name]):
            assert str(found.dtype).split(".")[1] == str(value.dtype).split(".")[1]
            np.testing.assert_array_equal(found.data.astype(np.float64), expected)
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value)
    theirs.load_state_dict(back, strict=True)
    assert serialize.load_metadata(tmp_path / "theirs") == {"format": "pt"}


@pytest.mark.torch
def test_strided_values_and_other_types_are_converted() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    weight, bias = torch.randn(6, 8).bfloat16().t()[::2, 1::2], torch.randn(8, requires_grad=True)[::2]
    layer = nn.Linear(3, 4)
    layer.load_state_dict({"weight": weight, "bias": bias})
    np.testing.assert_array_equal(layer.weight.data, weight.float().numpy())
    np.testing.assert_array_equal(layer.bias.data, bias.detach().numpy())
    assert layer.weight.data.dtype == np.float32


@pytest.mark.torch
def test_shared_weights_come_from_pytorch_and_go_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from safetensors.torch import load_file, save_model

    theirs = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    theirs[1].weight = theirs[0].weight
    save_model(theirs, tmp_path / "theirs")  # writes one of the two names
    ours = shared_twins()
    ours.load_state_dict(serialize.load(tmp_path / "theirs"))
    np.testing.assert_array_equal(ours[1].weight.data, theirs[0].weight.detach().numpy())
    ours[0].weight.data[...] += 1
    serialize.save(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(load_file(tmp_path / "ours"), strict=True)
    assert theirs[0].weight is theirs[1].weight
    np.testing.assert_array_equal(theirs[0].weight.detach().numpy(), ours[0].weight.data)


@pytest.mark.torch
def test_a_file_of_torch_save_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    torch.save({"x": torch.ones(3)}, tmp_path / "net.pt")
    torch.save({"x": torch.ones(30)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, what in (("net.pt", "a zip archive, as torch.save"), ("old.pt", "a pickle")):
        with pytest.raises(serialize.SerializeError, match=f"{name}: not a safetensors file but {what}"):
            serialize.load(tmp_path / name)
