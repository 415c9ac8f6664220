"""Where arrays live: NumPy in host memory, CuPy on a GPU where it is installed. The only importer of CuPy."""

from __future__ import annotations

import re
import sys
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flownn.errors import DeviceError

Array = NDArray[Any]  # of NumPy or CuPy


class device:
    """A place for tensors.

    Args:
        name: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        index: Number of the GPU, when ``name`` has none.

    Raises:
        DeviceError: the name is of another form.

    >>> device("cuda", 1), device("cuda:1") == device("cuda", 1), device("cpu").type
    (device(type='cuda', index=1), True, 'cpu')
    """

    __slots__ = ("index", "type")

    def __init__(self, name: str | device, index: int | None = None) -> None:
        if isinstance(name, device):
            name = str(name)
        found = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", name) if isinstance(name, str) else None
        if found is None or (found[2] is not None and index is not None):
            raise DeviceError(f"device: expected 'cpu', 'cuda' or 'cuda:<index>', got {name!r} with index {index}")
        self.type: Final = found[1]
        self.index: Final = int(found[2] or index or 0)
        if self.type == "cpu" and self.index:
            raise DeviceError(f"device: there is one cpu, got index {self.index}")

    def __str__(self) -> str:
        return "cpu" if self.type == "cpu" else f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"device(type='{self.type}')" if self.type == "cpu" else f"device(type='cuda', index={self.index})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU: Final = device("cpu")


def _loaded_cupy() -> Any:
    """CuPy if this process has imported it, without importing it."""
    return sys.modules.get("cupy")


@cache
def require_cupy() -> Any:
    """CuPy with a usable GPU.

    Raises:
        DeviceError: CuPy is not installed or finds no GPU; the message says which.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            "cuda: CuPy is not installed; install the extra that fits your driver, flowstack[cuda12] or "
            "flowstack[cuda13], or keep tensors on the cpu"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"cuda: CuPy is installed but finds no usable GPU: {error}") from error
    if not count:
        raise DeviceError("cuda: CuPy is installed but this machine has no GPU")
    return cupy


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of NumPy or CuPy."""
    if isinstance(value, np.ndarray):
        return True
    cupy = _loaded_cupy()
    return cupy is not None and isinstance(value, cupy.ndarray)


def foreign_array(value: Any) -> Any:
    """The values of an array, or of anything that NumPy can read: lists, and tensors of PyTorch on any device.

    PyTorch's bfloat16, which NumPy does not know, comes as float32.
    """
    if is_array(value):
        return value
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    return np.asarray(value)


def array_module(*arrays: Any) -> ModuleType:
    """``numpy`` or ``cupy``, whichever the arrays belong to; other values do not count.

    Raises:
        DeviceError: arrays with dims are on different devices.
    """
    cupy = _loaded_cupy()
    if cupy is None:
        return np
    on_gpu = {int(array.device.id) for array in arrays if isinstance(array, cupy.ndarray)}
    if not on_gpu:
        return np
    places = [f"cuda:{index}" for index in sorted(on_gpu)]
    if any(isinstance(array, np.ndarray) for array in arrays):
        places.append("cpu")
    if len(places) > 1:
        raise DeviceError(f"expected all tensors on one device, got {' and '.join(places)}; move them with .to(device)")
    module: ModuleType = cupy
    return module


def device_of(array: Any) -> device:
    """The device that holds an array."""
    return CPU if isinstance(array, np.ndarray) else device("cuda", int(array.device.id))


def to_device(array: Any, target: device) -> Any:
    """The array on ``target``: itself if it is there already, else a copy.

    Raises:
        DeviceError: there is no such device here.
    """
    if device_of(array) == target:
        return array
    cupy = require_cupy()
    if target.type == "cpu":
        return cupy.asnumpy(array)
    if target.index >= device_count():
        raise DeviceError(f"{target}: this machine has {device_count()} GPU(s), numbered from 0")
    with cupy.cuda.Device(target.index):
        return cupy.asarray(array)


def address(array: Any) -> int:
    """Where in memory the first element is."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def dense_order(array: Any) -> tuple[int, ...] | None:
    """The order of the axes in which the elements lie in memory one after the other; None if they do not.

    >>> dense_order(np.zeros((2, 3)).T), dense_order(np.zeros((2, 3))[:, :2])
    ((1, 0), None)
    """
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    shape, strides = array.shape, array.strides
    order = tuple(sorted(range(array.ndim), key=lambda axis: (-strides[axis], axis)))
    step = array.itemsize
    for axis in reversed(order):
        if shape[axis] != 1:
            if strides[axis] != step:
                return None
            step *= shape[axis]
    return order


def special_functions(xp: ModuleType) -> Any:
    """``scipy.special`` or its CuPy twin, loaded when first needed."""
    if xp is np:
        import scipy.special

        return scipy.special
    import cupyx.scipy.special

    return cupyx.scipy.special


def synchronize() -> None:
    """Wait until all work queued on the current GPU has finished; on the host there is nothing to wait for."""
    cupy = _loaded_cupy()
    if cupy is not None and is_available():
        cupy.cuda.get_current_stream().synchronize()


def device_count() -> int:
    """Number of GPUs that tensors can be moved to."""
    try:
        return int(require_cupy().cuda.runtime.getDeviceCount())
    except DeviceError:
        return 0


def is_available() -> bool:
    """Whether tensors can be moved to a GPU here."""
    return device_count() > 0
