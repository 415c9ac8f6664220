"""Where things lie in shared memory, and the system calls that provide it."""

from __future__ import annotations

import os
from collections import deque

import numpy as np
import pytest

from flowdata.executors import platform
from flowdata.executors.slots import Lease, SlotLayout, SlotMemory
from flowdata.sample import ArraySpec

SPECS = {
    "image": ArraySpec((3, 5), np.dtype(np.uint8)),
    "label": ArraySpec((), np.dtype(np.int64)),
    "empty": ArraySpec((0, 4), np.dtype(np.float32)),
}
LAYOUT = SlotLayout(slots=3, rows=7, workers=2, specs=SPECS)


def memory_of(layout: SlotLayout) -> SlotMemory:
    descriptor = platform.unnamed_memory(layout.nbytes)
    try:
        platform.reserve(descriptor, 0, layout.nbytes)
        return SlotMemory(descriptor, layout)
    finally:
        os.close(descriptor)


def test_arrays_are_aligned_contiguous_and_apart():
    memory = memory_of(LAYOUT)
    taken = []
    for slot in range(LAYOUT.slots):
        memory.header(slot)[...] = -1
        for name, array in memory.arrays(memory.slot_bytes(slot), LAYOUT.rows):
            assert array.shape == (7, *SPECS[name].fixed_shape)
            assert array.dtype == SPECS[name].dtype
            assert array.flags.c_contiguous
            assert array.ctypes.data % 64 == 0
            assert not array.any()
            array[...] = 1
            taken.append((array, 1))
        taken.append((memory.header(slot), -1))
    for array, value in taken:
        assert (array == value).all()
    assert [memory.progress(worker) for worker in range(2)] == [None, None]


def test_a_slot_of_no_rows():
    layout = SlotLayout(slots=2, rows=0, workers=1, specs=SPECS)
    memory = memory_of(layout)
    arrays = dict(memory.arrays(memory.slot_bytes(1), 0))
    assert arrays["image"].shape == (0, 3, 5)


def test_progress_names_epoch_and_index():
    memory = memory_of(LAYOUT)
    header = memory.header(2)
    header[0] = 5
    header[1:] = np.arange(7) + 2**40
    memory.set_progress(1, 2, 6)
    assert memory.progress(0) is None
    assert memory.progress(1) == (5, 2**40 + 6)
    memory.clear_progress(1)
    assert memory.progress(1) is None


def test_tickets_and_claims_have_words_of_their_own():
    memory = memory_of(LAYOUT)
    for slot in range(3):
        memory.header(slot)[...] = -1
        for first in range(7):
            memory.set_ticket(slot, first, 100 * slot + first + 1)
    for worker in range(2):
        memory.claim(worker, 50 + worker)
        memory.set_progress(worker, 2, worker)
    assert [memory.ticket(slot, first) for slot in range(3) for first in range(7)] == [
        100 * slot + first + 1 for slot in range(3) for first in range(7)
    ]
    assert [memory.claimed(worker) for worker in range(2)] == [50, 51]
    for slot in range(3):
        assert (memory.header(slot) == -1).all()
        assert not any(array.any() for _, array in memory.arrays(memory.slot_bytes(slot), LAYOUT.rows))
    before = memory.activity(1)
    memory.set_progress(1, 2, 5)
    assert memory.activity(1) != before


def test_a_slot_comes_back_when_its_last_view_dies():
    memory = memory_of(LAYOUT)
    released: deque[int] = deque()
    arrays = dict(memory.arrays(np.asarray(Lease(memory, 1, released)), 4))
    assert arrays["image"].flags.writeable
    arrays["image"][...] = 7
    view = arrays["image"][1:3].T
    del arrays
    assert not released
    del memory
    assert (view == 7).all()  # the mapping lives as long as the view
    del view
    assert list(released) == [1]


@pytest.mark.parametrize("features", [platform.features, frozenset()], ids=["special", "fallback"])
def test_memory_has_no_name_and_is_zero(monkeypatch, features):
    monkeypatch.setattr(platform, "features", features)
    descriptor = platform.unnamed_memory(10_000)
    try:
        platform.reserve(descriptor, 0, 10_000)
        assert os.fstat(descriptor).st_size == 10_000
        assert os.fstat(descriptor).st_nlink == 0
        assert not os.get_inheritable(descriptor)
        assert os.pread(descriptor, 10_000, 0) == bytes(10_000)
    finally:
        os.close(descriptor)


def test_reserving_more_than_there_is_fails_before_anything_is_taken():
    descriptor = platform.unnamed_memory(0)
    try:
        with pytest.raises(OSError, match="Cannot allocate memory"):
            platform.reserve(descriptor, 0, 2**62)
        assert os.fstat(descriptor).st_blocks == 0
    finally:
        os.close(descriptor)
