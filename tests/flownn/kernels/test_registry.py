"""The register of kernels: the portable body is the definition, a device's body replaces it there."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flownn import kernels

CUPY = SimpleNamespace(__name__="cupy")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_REGISTRY", {})


def test_a_device_body_serves_its_device_only() -> None:
    @kernels.kernel("double")
    def double(xp: Any, x: int) -> str:
        return f"portable {2 * x}"

    assert (double(np, 4), double(CUPY, 4)) == ("portable 8", "portable 8")

    @kernels.kernel("double", device="cuda")
    def double_on_gpu(xp: Any, x: int) -> str:
        return f"cuda {2 * x}"

    assert (double(np, 4), double(CUPY, 4)) == ("portable 8", "cuda 8")
    assert double_on_gpu(CUPY, 1) == "cuda 2"
    assert double.portable(CUPY, 1) == "portable 2"
    assert repr(kernels.registered()["double"]) == "<kernel double: portable, cuda>"


def test_what_cannot_be_registered_is_named() -> None:
    def body(xp: Any) -> None:
        raise AssertionError("never called")

    with pytest.raises(ValueError, match="'k': expected device 'cpu' or 'cuda', got 'tpu'"):
        kernels.kernel("k", device="tpu")
    with pytest.raises(ValueError, match="register the portable body before one for 'cpu'"):
        kernels.kernel("k", device="cpu")(body)
    kernels.kernel("k")(body)
    with pytest.raises(ValueError, match="a portable body is already registered"):
        kernels.kernel("k")(body)
    kernels.kernel("k", device="cpu")(body)
    with pytest.raises(ValueError, match="a body for 'cpu' is already registered"):
        kernels.kernel("k", device="cpu")(body)
