"""Values of any type and size in memory that processes share: parts of a sparse unnamed file, far from each other."""

from __future__ import annotations

import pickle
from itertools import accumulate
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from flowdata.executors.platform import read_at, write_at

DRAWER_BYTES = 1 << 34  # distance of two drawers in the file; what nobody wrote to takes no memory
_LINE = 64  # bytes: at multiples of it begins the memory of every array
_WORD = 8


def put(descriptor: int, offset: int, value: Any) -> int:
    """Write a value, its pickle and the memory of its arrays one after the other; returns the bytes that this took.

    Raises:
        ValueError: it is larger than a drawer.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    head = np.array([len(parts), *(part.nbytes for part in parts)], np.int64).tobytes()
    parts.insert(0, memoryview(head))
    total = sum(_round_up(part.nbytes) for part in parts)
    if total > DRAWER_BYTES:
        raise ValueError(f"a value of {total} bytes is too large; at most {DRAWER_BYTES} can be handed over")
    for part in parts:
        write_at(descriptor, part, offset)
        if padding := -part.nbytes % _LINE:  # written, so that the whole can be read at once
            write_at(descriptor, memoryview(bytes(padding)), offset + part.nbytes)
        offset += part.nbytes + padding
    return total


class Scratch:
    """Memory that one value after the other is read into, which saves what fresh memory costs at first touch."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def of(self, size: int) -> NDArray[np.uint8]:
        """The first ``size`` bytes, whatever is in them."""
        if len(self._memory) < size:
            self._memory = np.empty(size + size // 4, np.uint8)
        return self._memory[:size]


def get(descriptor: int, offset: int, scratch: Scratch | None = None) -> Any:
    """Read what :func:`put` wrote; arrays can be changed.

    Args:
        descriptor: The file.
        offset: Where the drawer begins.
        scratch: Where to read it to; its arrays are then valid until the next value is read there. By default they own
            their memory, each its own.
    """
    [count] = _read(descriptor, offset, np.empty(_WORD, np.uint8)).view(np.int64).tolist()
    head = _WORD * (1 + count)
    sizes = _read(descriptor, offset, np.empty(head, np.uint8)).view(np.int64)[1:].tolist()
    offset += _round_up(head)
    if scratch is None:
        parts = []
        for size in sizes:
            parts.append(_read(descriptor, offset, np.empty(size, np.uint8)))
            offset += _round_up(size)
    else:
        whole = _read(descriptor, offset, scratch.of(sum(_round_up(size) for size in sizes)))
        starts = [0, *accumulate(_round_up(size) for size in sizes)]
        parts = [whole[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    return pickle.loads(parts[0].data, buffers=parts[1:])


def _read(descriptor: int, offset: int, target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    read_at(descriptor, target.data, offset)
    return target


def _round_up(size: int) -> int:
    return -(-size // _LINE) * _LINE
