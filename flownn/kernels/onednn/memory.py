"""Arrays described by their strides, and buffers that are used again.

A `Layout` is (shape, strides in numbers), which is hashable and so part of a primitive's key. Dims of size 1 may have
any stride in NumPy; the library compares strides, so they get the one that a dense array would have.
"""

from __future__ import annotations

import ctypes
import math
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.onednn.library import load

__all__ = [
    "FLOAT32",
    "Descriptor",
    "Layout",
    "any_layout",
    "channels_last",
    "descriptor",
    "dims",
    "empty_channels_last",
    "is_channels_last",
    "layout_of",
    "plain",
    "workspace",
    "workspace_array",
]

FLOAT32 = 3  # dnnl_f32
_TYPES = {np.dtype(np.float32): FLOAT32, np.dtype(np.int32): 4, np.dtype(np.int8): 5, np.dtype(np.uint8): 6}
_ANY = 1  # dnnl_format_tag_any
_ALIGNMENT = 64  # a cache line, and the widest vector

Layout = tuple[tuple[int, ...], tuple[int, ...]]


def dims(values: Any) -> Any:
    """Values as the library's array of dims."""
    return (ctypes.c_int64 * len(values))(*values)


class Descriptor:
    """A memory descriptor of the library: shape, type and layout. Owns its handle."""

    __slots__ = ("_library", "handle", "nbytes")

    def __init__(self, handle: int) -> None:
        self._library = load()
        self.handle = handle
        self.nbytes = int(self._library.dnnl_memory_desc_get_size(handle))

    def __del__(self) -> None:
        self._library.dnnl_memory_desc_destroy(self.handle)

    def same_as(self, other: Descriptor) -> bool:
        """Whether memory of one can be read as the other."""
        return bool(self._library.dnnl_memory_desc_equal(self.handle, other.handle))


@lru_cache(maxsize=4096)
def descriptor(layout: Layout, data_type: int = FLOAT32) -> Descriptor:
    """Describe memory of this layout."""
    shape, strides = layout
    return Descriptor(
        load().make("dnnl_memory_desc_create_with_strides", len(shape), dims(shape), data_type, dims(strides))
    )


@lru_cache(maxsize=4096)
def any_layout(shape: tuple[int, ...], data_type: int = FLOAT32) -> Descriptor:
    """Describe memory whose layout the primitive chooses."""
    return Descriptor(load().make("dnnl_memory_desc_create_with_tag", len(shape), dims(shape), data_type, _ANY))


@lru_cache(maxsize=4096)
def plain(shape: tuple[int, ...]) -> Layout:
    """The layout of a C-contiguous array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return shape, tuple(reversed(strides))


@lru_cache(maxsize=4096)
def channels_last(shape: tuple[int, ...]) -> Layout:
    """The layout of a dense array of shape (N, C, *spatial) whose memory is (N, *spatial, C)."""
    _, (first, *others, last) = plain((shape[0], *shape[2:], shape[1]))
    return shape, (first, last, *others)


@lru_cache(maxsize=4096)
def _channels_last_steps(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of such an array in bytes."""
    return tuple(itemsize * step for step in channels_last(shape)[1])


def is_channels_last(array: NDArray[Any]) -> bool:
    """Whether the memory of an array (N, C, *spatial) is dense in the order (N, *spatial, C)."""
    wanted = _channels_last_steps(array.shape, array.itemsize)
    if array.strides == wanted:
        return True
    return all(size == 1 or have == want for size, have, want in zip(array.shape, array.strides, wanted, strict=True))


def layout_of(array: NDArray[Any]) -> Layout | None:
    """The layout of an array; channels-last where it is dense that way, None where the library cannot read it.

    It cannot read negative strides, those of less than a number, nor elements that overlap (broadcast views).
    """
    shape, item = array.shape, array.itemsize
    if array.ndim > 1 and is_channels_last(array):
        return channels_last(shape)
    if array.flags.c_contiguous:
        return plain(shape)
    strides = []
    for size, stride in zip(shape, array.strides, strict=True):
        if stride % item or (stride <= 0 and size > 1):
            return None
        strides.append(stride // item if size > 1 else 1)
    span = 1  # overlap: a dim must step over everything that the smaller strides reach
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride < span:
                return None
            span = stride * (size - 1) + span
    return shape, tuple(strides)


def aligned_empty(count: int, dtype: Any = np.float32) -> NDArray[Any]:
    """So many numbers, uninitialised, from a cache line's start on."""
    raw, start = _aligned(count * np.dtype(dtype).itemsize)
    return np.ndarray(count, dtype, raw, start)


def _aligned(nbytes: int) -> tuple[NDArray[np.uint8], int]:
    """Memory for so many bytes from a cache line's start on, and where in it that is."""
    raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
    return raw, -raw.ctypes.data % _ALIGNMENT


def empty_channels_last(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An uninitialised array of shape (N, C, *spatial), dense in the order (N, *spatial, C)."""
    item = np.dtype(dtype).itemsize
    raw, start = _aligned(math.prod(shape) * item)
    return np.ndarray(shape, dtype, raw, start, _channels_last_steps(shape, item))


class _Workspaces(threading.local):
    """Buffers of one thread, by name."""

    def __init__(self) -> None:
        self.buffers: dict[str, tuple[NDArray[np.uint8], int]] = {}


_workspaces = _Workspaces()


def workspace(name: str, nbytes: int) -> int:
    """Address of a buffer of this thread of at least ``nbytes``; its contents last until the name is asked for again.

    It is kept, and grows to the largest request: fresh memory would be page-faulted at each use.
    """
    return _held(name, nbytes)[1]


def workspace_array(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The same as a C-contiguous array."""
    count = math.prod(shape)
    return _held(name, 4 * count)[0][: 4 * count].view(np.float32).reshape(shape)


def _held(name: str, nbytes: int) -> tuple[NDArray[np.uint8], int]:
    held = _workspaces.buffers.get(name)
    if held is None or held[0].nbytes < nbytes:
        _workspaces.buffers.pop(name, None)  # freed before the larger one is allocated
        buffer = aligned_empty(nbytes, np.uint8)
        held = _workspaces.buffers[name] = buffer, buffer.ctypes.data
    return held
