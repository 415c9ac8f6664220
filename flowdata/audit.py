"""Was every sample of an epoch delivered exactly once, over all ranks, stops and restarts?

Each part of a run (a rank, or the time between two stops) adds up a digest of what it took, four numbers whatever the
length of the data set and in whatever order. The sum of the parts' digests equals the digest of the plan if and, but
for a chance of about 2^-64, only if each planned sample was taken as often as planned. Where it does not, the parts'
indices say which samples were not, or too often.

>>> import flowdata
>>> pipeline = flowdata.Pipeline([{"x": number} for number in range(7)], batch_size=3)
>>> parts = []
>>> for rank in range(2):
...     with pipeline.loader(flowdata.ShardSpec(rank, 2)) as loader:
...         parts.append(Audit(pipeline, epoch=0))
...         for batch in loader:
...             parts[-1].add(batch)
>>> parts[0].digest() + parts[1].digest() == parts[0].planned()
True
>>> differences(pipeline, 0, [parts[0].indices()])
Differences(missing=[2, 5], repeated=[])
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowdata.pipeline import Pipeline
from flowdata.sample import Batch
from flowdata.sources.order import Indices

_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Digest:
    """What a set of samples of one epoch adds up to, in any order.

    Args:
        epoch: The epoch.
        count: Number of samples.
        total: Sum of their hashes, modulo 2^64.
        parity: Exclusive or of their hashes.
    """

    epoch: int
    count: int = 0
    total: int = 0
    parity: int = 0

    def __add__(self, other: Digest) -> Digest:
        """The digest of both sets together."""
        if self.epoch != other.epoch:
            raise ValueError(f"Digest: expected digests of one epoch, got {self.epoch} and {other.epoch}")
        total = (self.total + other.total) & _WORD
        return Digest(self.epoch, self.count + other.count, total, self.parity ^ other.parity)


@dataclass(frozen=True, slots=True)
class Differences:
    """Indices that were delivered less often than planned, and more often, ascending."""

    missing: list[int]
    repeated: list[int]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.missing or self.repeated)


def digest_of(epoch: int, indices: Indices) -> Digest:
    """The digest of samples with these indices."""
    hashes = _hashes(epoch, indices)
    total, parity = np.add.reduce(hashes), np.bitwise_xor.reduce(hashes)
    return Digest(epoch, len(indices), int(total), int(parity))


def planned_indices(pipeline: Pipeline, epoch: int) -> Indices:
    """Indices of all samples of an epoch over all ranks, in order; with ``last_batch: wrap`` some are there twice."""
    pipeline.source.open()
    return pipeline.epoch_plan(epoch).indices


def differences(pipeline: Pipeline, epoch: int, delivered: Iterable[Indices]) -> Differences:
    """Which samples of an epoch were not delivered, or too often.

    Args:
        pipeline: What was to be delivered.
        epoch: Of which epoch.
        delivered: The indices that each part of the run took, such as :meth:`Audit.indices` of every rank. A sample
            that ``on_error: skip`` left out is not among them, so it is listed as missing.
    """
    size = len(pipeline.source)
    surplus = -np.bincount(planned_indices(pipeline, epoch), minlength=size)
    for each in delivered:
        surplus += np.bincount(each, minlength=size)
    return Differences(np.flatnonzero(surplus < 0).tolist(), np.flatnonzero(surplus > 0).tolist())


class Audit:
    """What one part of a run takes of one epoch.

    Args:
        pipeline: What is delivered.
        epoch: The epoch.
    """

    def __init__(self, pipeline: Pipeline, epoch: int) -> None:
        self.pipeline, self.epoch = pipeline, epoch
        self._digest = Digest(epoch)
        self._indices: list[Indices] = []

    def add(self, batch: Batch) -> None:
        """Take note of a batch.

        Raises:
            ValueError: it is of another epoch.
        """
        if batch.epoch != self.epoch:
            raise ValueError(f"Audit: expected batches of epoch {self.epoch}, got one of epoch {batch.epoch}")
        self._digest += digest_of(self.epoch, batch.indices)
        self._indices.append(batch.indices.copy())

    def digest(self) -> Digest:
        """The digest of what was taken."""
        return self._digest

    def indices(self) -> Indices:
        """Indices of what was taken, in order."""
        return np.concatenate([np.zeros(0, np.int64), *self._indices])

    def planned(self) -> Digest:
        """The digest of the whole epoch over all ranks, which the parts must add up to."""
        return digest_of(self.epoch, planned_indices(self.pipeline, self.epoch))


def _hashes(epoch: int, indices: Indices) -> NDArray[np.uint64]:
    """64 well-mixed bits per sample: the finalizer of SplitMix64 over (epoch, index)."""
    value = indices.astype(np.uint64) + np.uint64((epoch + 1) * 0x9E3779B97F4A7C15 & _WORD)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(31))
