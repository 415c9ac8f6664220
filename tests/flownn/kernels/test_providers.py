"""The choice between a library's kernels and the portable ones, and what is said about it."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import kernels
from flownn.errors import DeviceError
from flownn.kernels import providers

CUPY = SimpleNamespace(__name__="cupy")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A provider "fast" whose package is made here; set ``reason`` to make it unavailable."""
    state = SimpleNamespace(reason="", described=0, imported=0)

    def describe() -> str:
        state.described += 1
        if state.reason:
            raise providers.Unavailable(state.reason)
        return "fast 1.2.3"

    package = ModuleType("a_fast_library")
    package.describe = describe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_fast_library", package)
    monkeypatch.setattr(kernels, "_REGISTRY", {})
    monkeypatch.setattr(providers, "_loaded", {})
    monkeypatch.setattr(providers.chosen, "name", None)
    monkeypatch.setattr(providers.chosen, "small_arrays", False)
    monkeypatch.delenv("FLOWNN_KERNELS", raising=False)
    for name in [*providers.PROVIDERS]:
        monkeypatch.delitem(providers.PROVIDERS, name)
    monkeypatch.setitem(providers.PROVIDERS, "fast", ("cpu", "a_fast_library"))
    providers.chosen.generation += 1
    yield state
    providers.chosen.generation += 1


def double(smallest: int = 4) -> kernels.Kernel:
    """A kernel whose bodies say who they are; fast declines odd sizes."""

    @kernels.kernel("double", provided={"fast": "a_fast_library.double"}, smallest=smallest)
    def portable(xp: Any, x: Any) -> str:
        return "portable"

    @kernels.kernel("double", device="cpu", provider="fast")
    def fast(xp: Any, x: Any) -> Any:
        return NotImplemented if x.size % 2 else "fast"

    return portable


def test_a_provider_serves_large_arrays_of_its_device_unless_it_declines(library: Any) -> None:
    kernel = double()
    assert [kernel(np, np.ones(n)) for n in (2, 3, 4, 5, 6)] == ["portable", "portable", "fast", "portable", "fast"]
    assert kernel(CUPY, np.ones(6)) == "portable"
    assert repr(kernel) == "<kernel double: portable, fast>"
    assert kernel.providers == ("fast",)


def test_a_device_body_serves_what_the_provider_declines(library: Any) -> None:
    kernel = double()

    @kernels.kernel("double", device="cpu")
    def on_cpu(xp: Any, x: Any) -> str:
        return "cpu"

    assert [kernel(np, np.ones(n)) for n in (2, 4, 5)] == ["cpu", "fast", "cpu"]


def test_small_arrays_do_not_load_a_library(library: Any) -> None:
    kernel = double()
    for _ in range(3):
        kernel(np, np.ones(2))
    assert library.described == 0
    kernel(np, np.ones(4))
    kernel(np, np.ones(4))
    assert library.described == 1


def test_an_explicit_choice_is_process_wide_and_ends_with_its_block(library: Any) -> None:
    kernel = double()
    with flow.use_kernels("portable"):
        assert kernel(np, np.ones(4)) == "portable"
        assert flow.backends()["cpu"] == "numpy"
        with flow.use_kernels("fast"):
            assert kernel(np, np.ones(2)) == "fast"  # whatever the size
            assert kernel(np, np.ones(3)) == "portable"  # which it does not support
            assert flow.backends()["cpu"] == "fast 1.2.3"
        assert kernel(np, np.ones(4)) == "portable"
    assert kernel(np, np.ones(4)) == "fast"
    flow.use_kernels("portable")
    assert kernel(np, np.ones(4)) == "portable"


def test_an_exception_restores_the_choice(library: Any) -> None:
    kernel = double()

    def fail() -> None:
        with flow.use_kernels("portable"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kernel(np, np.ones(4)) == "fast"


def test_a_missing_library_leaves_the_portable_kernels_and_says_why(library: Any) -> None:
    library.reason = "not installed: pip install fast"
    kernel = double()
    assert kernel(np, np.ones(4)) == "portable"
    assert flow.backends()["cpu"] == "numpy (fast: not installed: pip install fast)"
    assert library.described == 1  # and is not looked for again
    with pytest.raises(DeviceError, match="use_kernels: fast cannot serve here: not installed: pip install fast"):
        flow.use_kernels("fast")
    with flow.use_kernels("portable"):
        assert flow.backends()["cpu"] == "numpy"


@pytest.mark.parametrize(("value", "expected"), [("portable", "portable"), ("auto", "fast"), ("", "fast")])
def test_the_environment_is_the_choice_of_who_makes_none(
    library: Any, monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setenv("FLOWNN_KERNELS", value)
    kernel = double()
    assert kernel(np, np.ones(4)) == expected
    with flow.use_kernels("auto"):
        assert kernel(np, np.ones(4)) == "fast"


def test_wrong_choices_are_named(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="use_kernels: expected 'auto', 'portable' or 'fast', got 'quick'"):
        flow.use_kernels("quick")
    monkeypatch.setenv("FLOWNN_KERNELS", "quick")
    kernel = double()
    with pytest.raises(DeviceError, match=r"environment variable FLOWNN_KERNELS: expected 'auto', .* got 'quick'"):
        kernel(np, np.ones(4))


def test_what_cannot_be_registered_is_named(library: Any) -> None:
    def body(xp: Any) -> None:
        raise AssertionError("never called")

    with pytest.raises(ValueError, match="'k': expected a provider of fast, got 'slow'"):
        kernels.kernel("k", provided={"slow": "anywhere"})
    with pytest.raises(ValueError, match="'k': fast serves device 'cpu', got 'cuda'"):
        kernels.kernel("k", device="cuda", provider="fast")
    with pytest.raises(ValueError, match="'k': fast serves device 'cpu', got None"):
        kernels.kernel("k", provider="fast")
    with pytest.raises(ValueError, match="'k': provided and smallest belong to the portable body"):
        kernels.kernel("k", device="cpu", smallest=3)
    kernels.kernel("k")(body)
    with pytest.raises(ValueError, match="'k': the portable body does not announce one of fast"):
        kernels.kernel("k", device="cpu", provider="fast")(body)
    double()
    with pytest.raises(ValueError, match="'double': a body for 'fast' is already registered"):
        kernels.kernel("double", device="cpu", provider="fast")(body)


def test_importing_flownn_loads_no_library() -> None:
    probe = (
        "import sys, flownn\n"
        "flownn.nn.Conv2d(3, 4, 3)(flownn.ones(1, 3, 5, 5))\n"  # small
        "print([name for name in sys.modules if name.startswith('flownn.kernels.onednn')])\n"
        "print('libdnnl' in open('/proc/self/maps').read() if sys.platform == 'linux' else False)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
