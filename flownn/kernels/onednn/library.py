"""Finding and loading `libdnnl.so.3`, and its functions as ctypes calls them."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char, c_char_p, c_float, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cache
from importlib import metadata
from typing import Any

from flownn.kernels.providers import Unavailable

__all__ = ["ENVIRONMENT_VARIABLE", "Library", "OneDNNError", "load"]

ENVIRONMENT_VARIABLE = "FLOWNN_ONEDNN_LIBRARY"
# OpenMP's threads wait for each other awake, by default for milliseconds, and take turns with whatever else the
# processors have to do meanwhile, such as workers that load data. Rounds of waiting before they sleep: enough to meet
# the next primitive, about 0.1 ms later, and few enough to leave most of the time to one busy process beside them.
_WAIT_AWAKE = "10000"
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_DISTRIBUTION = "onednn-cpu-gomp"
_AVX2 = 7  # bits of dnnl_cpu_isa_t: each instruction set contains those of its predecessors
_CPU_ENGINE = 1
_RUNTIME_OMP = 2

_handle = c_void_p  # of an object of the library
_out = POINTER(c_void_p)  # where to store one
_dims = POINTER(c_int64)
_convolution = [c_void_p] * 4 + [_dims] * 4  # memory descriptors, then strides, dilations, padding before and after

# name -> argument types; every one returns a status, but for those in _RESULTS
_FUNCTIONS: dict[str, list[Any]] = {
    "dnnl_engine_create": [_out, c_int, c_size_t],
    "dnnl_stream_create": [_out, _handle, c_uint],
    "dnnl_stream_destroy": [_handle],
    "dnnl_memory_desc_create_with_strides": [_out, c_int, _dims, c_int, _dims],
    "dnnl_memory_desc_create_with_tag": [_out, c_int, _dims, c_int, c_int],
    "dnnl_memory_desc_clone": [_out, _handle],
    "dnnl_memory_desc_destroy": [_handle],
    "dnnl_memory_desc_equal": [_handle, _handle],
    "dnnl_memory_desc_get_size": [_handle],
    "dnnl_memory_create": [_out, _handle, _handle, c_void_p],
    "dnnl_memory_set_data_handle": [_handle, c_void_p],
    "dnnl_memory_destroy": [_handle],
    "dnnl_primitive_attr_create": [_out],
    "dnnl_primitive_attr_destroy": [_handle],
    "dnnl_primitive_attr_set_scratchpad_mode": [_handle, c_int],
    "dnnl_primitive_attr_set_post_ops": [_handle, _handle],
    "dnnl_post_ops_create": [_out],
    "dnnl_post_ops_destroy": [_handle],
    "dnnl_post_ops_append_sum": [_handle, c_float, c_int, c_int],
    "dnnl_post_ops_append_eltwise": [_handle, c_int, c_float, c_float],
    "dnnl_post_ops_append_binary": [_handle, c_int, _handle],
    "dnnl_primitive_desc_destroy": [_handle],
    "dnnl_primitive_desc_query": [_handle, c_int, c_int, c_void_p],
    "dnnl_primitive_desc_query_md": [_handle, c_int, c_int],
    "dnnl_primitive_create": [_out, _handle],
    "dnnl_primitive_execute": [_handle, _handle, c_int, c_void_p],
    "dnnl_primitive_destroy": [_handle],
    "dnnl_sgemm": [
        c_char, c_char, c_int64, c_int64, c_int64, c_float, c_void_p, c_int64, c_void_p, c_int64, c_float, c_void_p,
        c_int64,
    ],
    # Primitive descriptors: after the engine, as in dnnl.h.
    "dnnl_reorder_primitive_desc_create": [_out, _handle, _handle, _handle, _handle, _handle],
    "dnnl_convolution_forward_primitive_desc_create": [_out, _handle, c_int, c_int, *_convolution, _handle],
    "dnnl_convolution_backward_data_primitive_desc_create": [
        _out, _handle, c_int, *_convolution[1:], _handle, _handle,
    ],
    "dnnl_convolution_backward_weights_primitive_desc_create": [
        _out, _handle, c_int, *_convolution, _handle, _handle,
    ],
    "dnnl_deconvolution_forward_primitive_desc_create": [_out, _handle, c_int, c_int, *_convolution, _handle],
    "dnnl_matmul_primitive_desc_create": [_out, *[_handle] * 6],
    "dnnl_batch_normalization_forward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, c_float, c_uint, _handle,
    ],
    "dnnl_batch_normalization_backward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, _handle, c_float, c_uint, _handle, _handle,
    ],
    "dnnl_layer_normalization_forward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, _handle, c_float, c_uint, _handle,
    ],
    "dnnl_layer_normalization_backward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, _handle, _handle, c_float, c_uint, _handle, _handle,
    ],
    "dnnl_pooling_forward_primitive_desc_create": [
        _out, _handle, c_int, c_int, _handle, _handle, *[_dims] * 5, _handle,
    ],
    "dnnl_pooling_backward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, *[_dims] * 5, _handle, _handle,
    ],
    "dnnl_eltwise_forward_primitive_desc_create": [
        _out, _handle, c_int, c_int, _handle, _handle, c_float, c_float, _handle,
    ],
    "dnnl_eltwise_backward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, _handle, c_float, c_float, _handle, _handle,
    ],
    "dnnl_softmax_forward_primitive_desc_create": [
        _out, _handle, c_int, c_int, _handle, _handle, c_int, _handle,
    ],
    "dnnl_softmax_backward_primitive_desc_create": [
        _out, _handle, c_int, _handle, _handle, _handle, c_int, _handle, _handle,
    ],
    "dnnl_binary_primitive_desc_create": [_out, _handle, c_int, _handle, _handle, _handle, _handle],
    "dnnl_resampling_forward_primitive_desc_create": [
        _out, _handle, c_int, c_int, POINTER(c_float), _handle, _handle, _handle,
    ],
}  # fmt: skip
_RESULTS = {
    "dnnl_memory_desc_equal": c_int,
    "dnnl_memory_desc_get_size": c_size_t,
    "dnnl_primitive_desc_query_md": c_void_p,
}
_STATUS = {
    1: "out of memory", 2: "invalid arguments", 3: "not implemented", 4: "no further implementation",
    5: "runtime error", 6: "not required",
}  # fmt: skip


class OneDNNError(RuntimeError):
    """A call of the library failed that this code should not have made, or ran out of memory."""


class _Version(ctypes.Structure):
    _fields_ = (
        ("major", c_int), ("minor", c_int), ("patch", c_int), ("hash", c_char_p), ("cpu_runtime", c_uint),
        ("gpu_runtime", c_uint),
    )  # fmt: skip


class Library:
    """The loaded library: its functions as attributes, its engine, and the OpenMP runtime's thread count.

    Args:
        path: Of the file to load.

    Raises:
        Unavailable: it does not load, is of another version, or does not serve this processor.
    """

    def __init__(self, path: str) -> None:
        try:
            with _short_waits():
                dnnl = ctypes.CDLL(path)
        except OSError as error:
            raise Unavailable(_why_not_loaded(path, error)) from error
        try:
            dnnl.dnnl_version.restype = POINTER(_Version)
            version = dnnl.dnnl_version().contents
            self.version = (version.major, version.minor, version.patch)
            self.description = f"onednn {'.'.join(map(str, self.version))}"
            if version.major != 3:
                raise Unavailable(f"{path} is {self.description}; install version 3: pip install {_DISTRIBUTION}")
            if version.cpu_runtime != _RUNTIME_OMP:
                raise Unavailable(f"{path} is not built for OpenMP; pip install {_DISTRIBUTION}")
            if dnnl.dnnl_get_effective_cpu_isa() & _AVX2 != _AVX2:
                raise Unavailable("this processor has no AVX2; nothing to do, the portable kernels serve")
            for name, types in _FUNCTIONS.items():
                function = getattr(dnnl, name)
                function.argtypes = types
                function.restype = _RESULTS.get(name, c_int)
                setattr(self, name, function)
            # The library's own copy of the OpenMP runtime, whichever that is.
            self.omp_get_max_threads, self.omp_set_num_threads = dnnl.omp_get_max_threads, dnnl.omp_set_num_threads
        except AttributeError as error:
            raise Unavailable(f"{path} is not oneDNN 3 with GNU's OpenMP: {error}") from error
        self.omp_set_num_threads.argtypes, self.omp_set_num_threads.restype = [c_int], None
        self.engine = self.make("dnnl_engine_create", _CPU_ENGINE, 0)

    def __getattr__(self, name: str) -> Any:  # for the type checker: functions are attributes
        raise AttributeError(f"{name}: add it to the table of functions in {__name__}")

    def make(self, function: str, *args: Any) -> int:
        """Call a function that stores a new handle through its first argument, and give the handle.

        Raises:
            OneDNNError: it failed.
        """
        result = c_void_p()
        self.check(function, getattr(self, function)(ctypes.byref(result), *args))
        assert result.value is not None
        return result.value

    def check(self, function: str, status: int) -> None:
        """Raise unless the status is success.

        Raises:
            MemoryError: the library found no memory.
            OneDNNError: anything else.
        """
        if status == 1:
            raise MemoryError(f"onednn: {function} found no memory")
        if status:
            raise OneDNNError(f"onednn: {function} failed: {_STATUS.get(status, status)}")


@contextmanager
def _short_waits() -> Iterator[None]:
    """What GNU's OpenMP reads when it is loaded; the environment's own word counts."""
    if any(name in os.environ for name in _WAITING):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = _WAIT_AWAKE
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _why_not_loaded(path: str, error: OSError) -> str:
    if "libgomp" in str(error):
        return "libgomp.so.1 is missing: apt-get install libgomp1 (or: dnf install libgomp)"
    return f"{path} does not load: {error}"


def _installed_path() -> str:
    """Where the wheel put its library, by the wheel's own list of files.

    Raises:
        Unavailable: it is not installed, or its file is gone.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable("its wheel is for Linux on x86-64 only; nothing to do, the portable kernels serve")
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise Unavailable(f"not installed: {sys.executable} -m pip install {_DISTRIBUTION}") from None
    for file in files:
        if file.name == "libdnnl.so.3":
            path = os.path.realpath(file.locate())
            if os.path.exists(path):
                return path
    raise Unavailable(
        f"{_DISTRIBUTION} is installed without its libdnnl.so.3: "
        f"{sys.executable} -m pip install --force-reinstall {_DISTRIBUTION}"
    )


@cache
def load() -> Library:
    """The library: the file that ``FLOWNN_ONEDNN_LIBRARY`` names, else that of the installed wheel.

    Raises:
        Unavailable: there is none, or it does not serve here.
    """
    return Library(os.environ.get(ENVIRONMENT_VARIABLE) or _installed_path())
