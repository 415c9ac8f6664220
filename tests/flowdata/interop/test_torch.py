"""Batches as PyTorch tensors: no copy, and memory that lives as long as it is needed."""

import gc
import subprocess
import sys

import numpy as np
import pytest

from flowdata.errors import DataError
from tests.flowdata.executors.synthetic import numbers, serial, slot_mappings

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from flowdata.interop.torch import TorchLoader, as_torch  # noqa: E402  # it imports torch


@pytest.mark.parametrize("make", [numbers, lambda: serial(numbers())], ids=["process", "serial"])
def test_dlpack_shares_the_memory_of_the_batch(make):
    with make().loader() as loader:
        batch = next(iter(loader))
        for name in ("image", "label"):
            tensor = torch.from_dlpack(batch[name])
            assert tensor.data_ptr() == batch[name].__array_interface__["data"][0]
            tensor[0] = 3
            assert (batch[name][0] == 3).all()


def test_a_tensor_outlives_batch_and_loader():
    with serial(numbers()).loader() as loader:
        expected = [batch["image"].copy() for batch in loader]
    loader = numbers(prefetch_batches=1).loader()
    batches = iter(loader)
    batch = next(batches)
    tensor = torch.from_dlpack(batch["image"])
    del batch
    for each in batches:  # more batches than slots: whoever reused the first one's would overwrite the tensor
        del each
    np.testing.assert_array_equal(tensor.numpy(), expected[0])
    loader.close()
    del loader, batches
    gc.collect()
    np.testing.assert_array_equal(tensor.numpy(), expected[0])
    assert slot_mappings() == 1
    view = tensor[2:4]
    del tensor
    np.testing.assert_array_equal(view.numpy(), expected[0][2:4])
    del view
    assert slot_mappings() == 0


def test_a_dead_tensor_gives_its_slot_back():
    with numbers(prefetch_batches=1).loader() as loader:
        addresses = set()
        for _ in range(4):
            for batch in loader:
                addresses.add(torch.from_dlpack(batch["image"]).data_ptr())
    assert len(addresses) <= 3


@pytest.mark.parametrize("make", [numbers, lambda: serial(numbers())], ids=["process", "serial"])
def test_a_torch_loader_yields_the_same_values(make):
    with serial(numbers()).loader() as expected, as_torch(make().loader()) as tensors:
        assert len(tensors) == 7
        for _ in range(2):
            for found, batch in zip(tensors, expected, strict=True):
                assert list(found) == ["image", "boxes", "label"]
                for name in ("image", "label"):
                    assert found[name].dtype == torch.from_numpy(batch[name]).dtype
                    np.testing.assert_array_equal(found[name].numpy(), batch[name])
                for box, other in zip(found["boxes"], batch["boxes"], strict=True):
                    np.testing.assert_array_equal(box.numpy(), other)


def labels(loader):
    return [batch["label"].tolist() for batch in loader]


def test_epochs_and_states_pass_through():
    with as_torch(serial(numbers()).loader()) as loader:
        first, second = labels(loader), labels(loader)
        assert first != second
        loader.set_epoch(0)
        assert labels(loader) == first
        loader.set_epoch(1)
        batches = iter(loader)
        taken = [next(batches)["label"].tolist() for _ in range(3)]
        state = loader.state_dict()
    with as_torch(numbers().loader()) as other:
        other.load_state_dict(state)
        assert taken + labels(other) == second


def test_pytorchs_data_loader_passes_it_through():
    with as_torch(serial(numbers()).loader()) as loader:
        expected = labels(loader)
        loader.set_epoch(0)
        assert labels(torch.utils.data.DataLoader(loader, batch_size=None)) == expected


def test_in_a_worker_of_pytorchs_it_refuses(monkeypatch):
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: object())
    with TorchLoader(serial(numbers()).loader()) as loader, pytest.raises(DataError, match="num_workers=0"):
        next(iter(loader))


def test_the_package_does_not_import_it():
    code = "import sys, flowdata.loader, flowdata.interop; print({'torch', 'cupy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
