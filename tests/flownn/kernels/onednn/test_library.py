"""Finding and loading the library, and what is said where that fails. Each in a process of its own."""

import ctypes.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from flownn.kernels import providers
from flownn.kernels.onednn import library

needs_onednn = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")

PROBE = """
import flownn as flow
print(flow.backends()["cpu"])
y = flow.nn.Conv2d(8, 8, 3)(flow.ones(2, 8, 32, 32))
print(tuple(y.shape))
try:
    flow.use_kernels("onednn")
except flow.DeviceError as error:
    print(error)
"""


def backend(**environment: str) -> list[str]:
    """Lines of the probe in a fresh process."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FLOWNN_")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=100, env=inherited | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_onednn
def test_the_library_of_the_wheel_is_found_by_its_list_of_files() -> None:
    path = library._installed_path()
    assert Path(path).name.startswith("libdnnl.so.3")
    assert os.path.realpath(path) in {
        os.path.realpath(file.locate()) for file in metadata.files("onednn-cpu-gomp") or []
    }
    assert providers.status("onednn") == "onednn " + ".".join(map(str, library.load().version))


@needs_onednn
def test_the_environment_names_another_library(tmp_path: Path) -> None:
    other = tmp_path / "libdnnl.so.3"
    other.symlink_to(library._installed_path())
    assert backend(FLOWNN_ONEDNN_LIBRARY=str(other))[0].startswith("onednn 3.")


def test_a_file_that_is_not_there_leaves_the_portable_kernels(tmp_path: Path) -> None:
    missing = str(tmp_path / "libdnnl.so.3")
    first, shape, refusal = backend(FLOWNN_ONEDNN_LIBRARY=missing)
    assert first.startswith(f"numpy (onednn: {missing} does not load: ")
    assert shape == "(2, 8, 30, 30)"
    assert refusal.startswith(f"use_kernels: onednn cannot serve here: {missing} does not load: ")


@pytest.mark.skipif(sys.platform != "linux", reason="names a library of Linux")
def test_a_library_of_another_kind_is_refused() -> None:
    name = ctypes.util.find_library("m") or pytest.skip("no libm")
    first, shape, _ = backend(FLOWNN_ONEDNN_LIBRARY=name)
    assert first.startswith(f"numpy (onednn: {name} is not oneDNN 3 with GNU's OpenMP: ")
    assert shape == "(2, 8, 30, 30)"


def test_every_failure_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert library._why_not_loaded("x", error) == (
        "libgomp.so.1 is missing: apt-get install libgomp1 (or: dnf install libgomp)"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(providers.Unavailable, match="its wheel is for Linux on x86-64 only; nothing to do"):
        library._installed_path()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (None, r"not installed: .* -m pip install onednn-cpu-gomp"),
        ([], r"installed without its libdnnl.so.3: .* -m pip install --force-reinstall onednn-cpu-gomp"),
    ],
)
def test_a_wheel_that_is_missing_or_broken(monkeypatch: pytest.MonkeyPatch, files: Any, expected: str) -> None:
    def of(name: str) -> Any:
        if files is None:
            raise metadata.PackageNotFoundError(name)
        return files

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(library.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(library.metadata, "files", of)
    with pytest.raises(providers.Unavailable, match=expected):
        library._installed_path()


@needs_onednn
def test_a_processor_without_avx2_is_refused() -> None:
    assert backend(ONEDNN_MAX_CPU_ISA="SSE41")[0] == (
        "numpy (onednn: this processor has no AVX2; nothing to do, the portable kernels serve)"
    )


@needs_onednn
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_lesser_processors_are_served(isa: str) -> None:
    assert backend(ONEDNN_MAX_CPU_ISA=isa)[:2] == [providers.status("onednn"), "(2, 8, 30, 30)"]


@needs_onednn
def test_failed_calls_are_errors() -> None:
    loaded = library.load()
    with pytest.raises(library.OneDNNError, match="onednn: dnnl_engine_create failed: invalid arguments"):
        loaded.make("dnnl_engine_create", 1, 7)
    with pytest.raises(MemoryError, match="onednn: anything found no memory"):
        loaded.check("anything", 1)
    with pytest.raises(AttributeError, match="dnnl_nothing: add it to the table of functions"):
        loaded.make("dnnl_nothing")
