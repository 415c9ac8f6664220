"""Batch slots in shared memory: where every array lies, and how a slot comes back when a batch is released."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flowdata.sample import Array, Specs

_LINE = 64  # bytes: start of every array, and the distance between words that different workers write
_WORD = 8


@dataclass(frozen=True)
class SlotLayout:
    """Where everything lies in the shared mapping: plain arithmetic, equal in every process.

    The mapping starts with one line for the consumer (the generation, see :class:`SlotMemory`) and one per worker
    (what it works on). Then come the slots, each with a batch's epoch and indices and then its arrays, whose rows
    are packed, so that a batch is contiguous.

    Args:
        slots: Number of slots.
        rows: Most samples that a slot holds.
        workers: Number of workers.
        specs: Specs of the values that lie in slots; all fixed.
    """

    slots: int
    rows: int
    workers: int
    specs: Specs

    @cached_property
    def head_bytes(self) -> int:
        """Bytes before the first slot."""
        return _LINE * (1 + self.workers)

    @cached_property
    def _offsets_and_size(self) -> tuple[dict[str, int], int]:
        end = _round_up(_WORD * (1 + self.rows))
        offsets = {}
        for name, spec in self.specs.items():
            offsets[name] = end
            end = _round_up(end + self.rows * spec.nbytes)
        return offsets, end

    @property
    def offsets(self) -> dict[str, int]:
        """Name to the array's offset in its slot."""
        return self._offsets_and_size[0]

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return self._offsets_and_size[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole mapping."""
        return self.head_bytes + self.slots * self.slot_bytes

    def start(self, slot: int) -> int:
        """Offset of a slot in the mapping."""
        return self.head_bytes + slot * self.slot_bytes


def _round_up(size: int) -> int:
    return -(-size // _LINE) * _LINE


class SlotMemory:
    """One process's view of the shared mapping; it stays mapped until the last array in it is gone.

    The *generation* is a number that the consumer increases when it gives up what was prepared; workers then skip
    what they find of earlier generations.

    Args:
        descriptor: The memory, of at least ``layout.nbytes`` bytes.
        layout: What lies where.
    """

    def __init__(self, descriptor: int, layout: SlotLayout) -> None:
        self.layout = layout
        mapping = mmap.mmap(descriptor, layout.nbytes)
        self._bytes: Array = np.frombuffer(mapping, np.uint8)
        self._words = memoryview(mapping)[: layout.head_bytes].cast("q")

    @property
    def generation(self) -> int:
        """The consumer's generation."""
        return self._words[0]

    @generation.setter
    def generation(self, value: int) -> None:
        self._words[0] = value

    def set_progress(self, worker: int, slot: int, row: int) -> None:
        """Publish, in one store, that ``worker`` begins with a sample."""
        self._words[(1 + worker) * (_LINE // _WORD)] = slot << 32 | row + 1

    def clear_progress(self, worker: int) -> None:
        """Publish that ``worker`` has nothing to do."""
        self._words[(1 + worker) * (_LINE // _WORD)] = 0

    def progress(self, worker: int) -> tuple[int, int] | None:
        """Epoch and index of the sample that ``worker`` is busy with, if any."""
        word = self._words[(1 + worker) * (_LINE // _WORD)]
        if word == 0:
            return None
        header = self.header(word >> 32)
        return int(header[0]), int(header[(word & 0xFFFFFFFF)])

    def header(self, slot: int) -> Array:
        """The batch in a slot: its epoch, then the index of each row, as int64."""
        start = self.layout.start(slot)
        return self._bytes[start : start + _WORD * (1 + self.layout.rows)].view(np.int64)

    def slot_bytes(self, slot: int) -> Array:
        """All bytes of a slot."""
        start = self.layout.start(slot)
        return self._bytes[start : start + self.layout.slot_bytes]

    def arrays(self, memory: Array, size: int) -> Iterator[tuple[str, Array]]:
        """Name and array of the first ``size`` rows, as views of ``memory``, the bytes of a slot."""
        for name, spec in self.layout.specs.items():
            offset = self.layout.offsets[name]
            part = memory[offset : offset + size * spec.nbytes]
            yield name, part.view(spec.dtype).reshape(size, *spec.fixed_shape)


class Lease:
    """What the arrays of a delivered batch keep alive: when the last view of them dies, the slot is free again.

    NumPy takes the memory through the array interface and holds the lease as its base. Arrays may die in any
    thread, so the slot's number goes into a deque, whose ``append`` needs no lock.
    """

    def __init__(self, memory: SlotMemory, slot: int, released: deque[int]) -> None:
        whole = memory.slot_bytes(slot)
        self._whole, self._slot, self._released = whole, slot, released
        self.__array_interface__: dict[str, Any] = whole.__array_interface__

    def __del__(self) -> None:
        self._released.append(self._slot)
