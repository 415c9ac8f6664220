"""The values that move through a pipeline: samples, batches and the specs that describe their arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flowdata.failures import BadSample

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What one named array of a sample looks like before any sample exists.

    Args:
        shape: Extent of each axis; ``None`` where it differs from sample to sample (a ragged array).
        dtype: NumPy dtype of the elements.
        layout: Meaning of the axes, such as ``"HWC"`` or ``"CHW"``; empty where the axes have no names.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    layout: str = ""

    @property
    def fixed(self) -> bool:
        """Whether every sample has the same shape, so that samples stack into one array."""
        return None not in self.shape

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape of a fixed spec."""
        assert self.fixed, f"a ragged spec has no fixed shape: {self}"
        return tuple(n for n in self.shape if n is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample's array; only for a fixed spec."""
        return int(np.prod(self.fixed_shape, dtype=np.int64)) * self.dtype.itemsize


Specs = dict[str, ArraySpec]


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample this is: the epoch and the record's position in the data set (not in the plan)."""

    epoch: int
    index: int


@dataclass(slots=True)
class Sample(Mapping[str, Any]):
    """A key and named values; stages return a changed copy and never touch the one they were given.

    Args:
        key: Epoch and index of the sample.
        data: Arrays and, between source and decoders, records and encoded bytes.
        origin: Where the sample came from, for messages: ``"part-00003 at byte 1234"``.
        rows: Memory that the executor offers for finished arrays; see :meth:`destination`.
    """

    key: SampleKey
    data: dict[str, Any]
    origin: str = ""
    rows: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def replace(self, **changes: Any) -> Sample:
        """This sample with some values added or exchanged."""
        return Sample(self.key, self.data | changes, self.origin, self.rows)

    def select(self, names: tuple[str, ...]) -> Sample:
        """This sample with the named values only."""
        return Sample(self.key, {name: self.data[name] for name in names}, self.origin, self.rows)

    def destination(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Memory to write the value ``name`` into: its row of the batch if it fits, else a new array.

        A stage that produces a whole array anyway writes it here and saves the copy into the batch. It is never
        wrong to return another array instead. The memory never overlaps a value that the sample holds already, so a
        stage may write while it still reads its input.
        """
        row = self.rows.get(name)
        if row is None or row.shape != shape or row.dtype != np.dtype(dtype):
            return np.empty(shape, dtype)
        for value in self.data.values():
            if isinstance(value, np.ndarray) and np.may_share_memory(row, value):
                return np.empty(shape, dtype)
        return row


@dataclass(slots=True, eq=False)
class Batch(Mapping[str, Any]):
    """One rank's part of one global batch.

    Args:
        arrays: Name to an array of shape (number of samples, ...); a ragged value is a list of arrays.
        indices: Data-set index of each row, int64.
        epoch: Epoch that the batch belongs to.
        step: Position of the global batch within the epoch, from 0.
        global_size: Samples in the global batch, over all shards, as planned.
        bad: What was left out or replaced; ``indices`` has no row for what was left out, and the planned index for
            what was replaced.
        specs: What one sample's value is by each name, as far as the pipeline says: also where there is no sample.
    """

    arrays: dict[str, Any]
    indices: NDArray[np.int64]
    epoch: int
    step: int
    global_size: int
    bad: tuple[BadSample, ...] = ()
    specs: Specs = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        """Number of named arrays; the number of samples is :attr:`size`."""
        return len(self.arrays)

    def replace(self, **changes: Any) -> Batch:
        """This batch with some arrays added or exchanged."""
        return replace(self, arrays=self.arrays | changes)

    @property
    def size(self) -> int:
        """Samples in this part of the batch; 0 when there are more shards than samples."""
        return len(self.indices)
