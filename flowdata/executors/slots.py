"""Batch slots in shared memory: where every array lies, and how a slot comes back when a batch is released."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdata.executors.drawers import DRAWER_BYTES
from flowdata.executors.stats import CONSUMER_WORDS
from flowdata.sample import Array, Specs

_LINE = 64  # bytes: start of every array, and the distance between words that different workers write
_WORD = 8


@dataclass(frozen=True)
class SlotLayout:
    """Where everything lies in the shared mapping: plain arithmetic, equal in every process.

    The mapping starts with one line per worker (what it works on), the words in which consumer and workers count
    (see `flowdata.executors.stats`) and the tickets of the chunks in drawers. Then come the slots, each with a batch's
    epoch, the index of each row, the ticket of the task that each row's chunk waits for, and then its arrays, whose
    rows are packed, so that a batch is contiguous.

    Args:
        slots: Number of slots.
        rows: Most samples that a slot holds.
        workers: Number of workers.
        specs: Specs of the values that lie in slots; all fixed.
        counters: Words that each worker counts in.
        drawers: Drawers between each two groups, see `flowdata.executors.groups`.
    """

    slots: int
    rows: int
    workers: int
    specs: Specs
    counters: int = 0
    drawers: tuple[int, ...] = ()

    @cached_property
    def head_bytes(self) -> int:
        """Bytes before the first slot."""
        return self._drawers_start + _round_up(_WORD * sum(self.drawers))

    @property
    def _drawers_start(self) -> int:
        return self.counters_start(self.workers)

    def drawer_words(self, cut: int) -> range:
        """Which words of the mapping hold the tickets of the drawers after group ``cut``."""
        first = self._drawers_start // _WORD + sum(self.drawers[:cut])
        return range(first, first + self.drawers[cut])

    def drawer_number(self, cut: int) -> int:
        """Number of the first drawer after group ``cut``, counting from the start of the memory, slots included."""
        return -(-self.nbytes // DRAWER_BYTES) + sum(self.drawers[:cut])

    def counters_start(self, worker: int) -> int:
        """Offset of the words that a worker counts in; the consumer's line comes before the first."""
        return _LINE * (self.workers + 1) + worker * _round_up(_WORD * self.counters)

    @cached_property
    def _offsets_and_size(self) -> tuple[dict[str, int], int]:
        end = _round_up(_WORD * (1 + 2 * self.rows))
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

    A task is valid while its *ticket* stands beside the first row of its chunk. The consumer takes it away when it
    gives up what was prepared, or gives the chunk to somebody else; workers then skip what they find.

    Args:
        descriptor: The memory, of at least ``layout.nbytes`` bytes.
        layout: What lies where.
    """

    def __init__(self, descriptor: int, layout: SlotLayout) -> None:
        self.layout = layout
        mapping = mmap.mmap(descriptor, layout.nbytes)
        self._bytes: Array = np.frombuffer(mapping, np.uint8)
        self._words = memoryview(mapping).cast("q")

    def leaves(self, worker: int) -> bool:
        """Whether ``worker`` is one too many."""
        return self._words[worker * (_LINE // _WORD) + 3] != 0

    def set_leaves(self, worker: int, leaves: bool) -> None:
        """Tell ``worker`` whether it is one too many."""
        self._words[worker * (_LINE // _WORD) + 3] = leaves

    @property
    def consumer_words(self) -> memoryview:
        """The consumer's words to count in."""
        start = self.layout.workers * (_LINE // _WORD)
        return self._words[start : start + CONSUMER_WORDS]

    def counters(self, worker: int) -> memoryview:
        """A worker's words to count in."""
        start = self.layout.counters_start(worker) // _WORD
        return self._words[start : start + self.layout.counters]

    def all_counters(self) -> NDArray[np.int64]:
        """A copy of all workers' words, shape (workers, words)."""
        return np.array([self.counters(worker) for worker in range(self.layout.workers)], np.int64)

    def _ticket_word(self, slot: int, first: int) -> int:
        return self.layout.start(slot) // _WORD + 1 + self.layout.rows + first

    def ticket(self, slot: int, first: int) -> int:
        """Ticket of the task for the chunk that begins with a row; 0 if none is wanted."""
        return self._words[self._ticket_word(slot, first)]

    def set_ticket(self, slot: int, first: int, ticket: int) -> None:
        """Make ``ticket`` the valid one for a chunk."""
        self._words[self._ticket_word(slot, first)] = ticket

    def claim(self, worker: int, ticket: int) -> None:
        """Publish, in one store, that ``worker`` has this task; 0 for none."""
        self._words[worker * (_LINE // _WORD) + 1] = ticket

    def claimed(self, worker: int) -> int:
        """Ticket of the task that ``worker`` has."""
        return self._words[worker * (_LINE // _WORD) + 1]

    def set_progress(self, worker: int, slot: int, row: int) -> None:
        """Publish, in one store, that ``worker`` begins with a sample."""
        self._words[worker * (_LINE // _WORD)] = slot << 32 | row + 1

    def beat(self, worker: int) -> None:
        """Publish that ``worker`` gets on, though with no sample."""
        self._words[worker * (_LINE // _WORD) + 2] += 1

    def drawer_tickets(self, cut: int) -> memoryview:
        """Ticket of the chunk in each drawer after group ``cut``; 0 where it is free."""
        words = self.layout.drawer_words(cut)
        return self._words[words.start : words.stop]

    def free_drawers(self, ticket: int) -> None:
        """Free the drawers of a task that nobody works on."""
        for cut in range(len(self.layout.drawers)):
            tickets = self.drawer_tickets(cut)
            for drawer, each in enumerate(tickets):
                if each == ticket:
                    tickets[drawer] = 0

    def clear_progress(self, worker: int) -> None:
        """Publish that ``worker`` has nothing to do."""
        self._words[worker * (_LINE // _WORD)] = 0

    def activity(self, worker: int) -> tuple[int, int, int]:
        """Words that change whenever ``worker`` gets on; the first two are 0 while it has nothing to do."""
        start = worker * (_LINE // _WORD)
        return self._words[start], self._words[start + 1], self._words[start + 2]

    def progress(self, worker: int) -> tuple[int, int] | None:
        """Epoch and index of the sample that ``worker`` is busy with, if any."""
        word = self._words[worker * (_LINE // _WORD)]
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
