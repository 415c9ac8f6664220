"""Values of any type and size in memory that processes share: parts of a sparse unnamed file, far from each other."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from flowdata.executors.platform import read_at, write_at

DRAWER_BYTES = 1 << 34  # distance of two drawers in the file; what nobody wrote to takes no memory
_WORD = 8


def put(descriptor: int, offset: int, value: Any) -> int:
    """Write a value, its pickle and the memory of its arrays one after the other; returns the bytes that this took.

    Raises:
        ValueError: it is larger than a drawer.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    head = np.array([len(parts), *sizes], np.int64).tobytes()
    total = len(head) + sum(sizes)
    if total > DRAWER_BYTES:
        raise ValueError(f"a value of {total} bytes is too large; at most {DRAWER_BYTES} can be handed over")
    for part in [memoryview(head), *parts]:
        write_at(descriptor, part, offset)
        offset += part.nbytes
    return total


def get(descriptor: int, offset: int) -> Any:
    """Read what :func:`put` wrote; arrays own their memory and can be changed."""
    [count] = _read(descriptor, offset, _WORD).view(np.int64).tolist()
    sizes = _read(descriptor, offset + _WORD, _WORD * count).view(np.int64).tolist()
    offset += _WORD * (1 + count)
    parts = []
    for size in sizes:
        parts.append(_read(descriptor, offset, size))
        offset += size
    return pickle.loads(parts[0].data, buffers=parts[1:])


def _read(descriptor: int, offset: int, size: int) -> NDArray[np.uint8]:
    part = np.empty(size, np.uint8)
    read_at(descriptor, part.data, offset)
    return part
