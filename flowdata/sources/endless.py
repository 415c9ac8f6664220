"""Samples without end, as OneFlow's readers deliver them: one epoch runs on into the next, and batches are full.

Which sample comes when is still a function of seed, shard and position; these classes only keep the position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowdata.sample import SampleKey
from flowdata.seeding import epoch_rng
from flowdata.sharding import ShardSpec, split_range
from flowdata.sources.order import Indices, Order, Sequential, Shuffled

_PARTS_SEED = 524287  # a constant, as in the reference: all shards must permute the parts alike


@dataclass(slots=True)
class PartKeys(Iterator[SampleKey]):
    """The records of one shard's part files, epoch after epoch.

    Args:
        starts: Number of each part's first record, and the number of all records.
        shard: Whose parts: a consecutive range of them, the first shards get one more.
        order: Order of the records within the shard's part of an epoch, such as that of a shuffle buffer.
        seed: Seed of the order.
        shuffle_parts: Permute the list of all parts at the start of each epoch but the first.
        epoch: Current epoch.
        position: Records of it that were delivered.

    Reference:
        ``oneflow/user/data/ofrecord_dataset.h``. Different on purpose: part files are read one by one, an empty one is
        no error, and an order stays within its epoch.
    """

    starts: Indices
    shard: ShardSpec = field(default_factory=ShardSpec)
    order: Order = field(default_factory=Sequential)
    seed: int = 0
    shuffle_parts: bool = False
    epoch: int = 0
    position: int = 0
    _indices: Indices | None = None

    def parts(self, epoch: int) -> Indices:
        """Numbers of the part files that the shard reads in an epoch, in order."""
        count = len(self.starts) - 1
        parts = np.arange(count)
        if self.shuffle_parts and epoch > 0:
            parts = epoch_rng(_PARTS_SEED, epoch, "parts").permutation(parts)
        mine = split_range(count, self.shard.count, self.shard.index)
        return parts[mine.start : mine.stop]

    def indices(self, epoch: int) -> Indices:
        """Numbers of the records that the shard delivers in an epoch, in order."""
        ranges = [np.arange(self.starts[part], self.starts[part + 1]) for part in self.parts(epoch)]
        records = np.concatenate([np.zeros(0, np.int64), *ranges])
        return records[self.order.permutation(self.seed, epoch, len(records))]

    def __next__(self) -> SampleKey:
        if self._indices is None:
            self._indices = self.indices(self.epoch)
        while self.position == len(self._indices):
            self.epoch, self.position = self.epoch + 1, 0
            self._indices = self.indices(self.epoch)
        self.position += 1
        return SampleKey(self.epoch, int(self._indices[self.position - 1]))


@dataclass(slots=True)
class SampledKeys(Iterator[SampleKey]):
    """One shard's share of the endless sequence of all epochs' permutations.

    Args:
        length: Number of samples.
        shard: Whose share.
        shuffle: Whether each epoch is a permutation of its own, or all are ``0, 1, 2, …``.
        seed: Seed of the permutations, the same for all shards.
        stride: Take every ``shard.count``-th element; otherwise blocks of ``ceil(length / shard.count)``.
        taken: Elements that were delivered.

    Reference:
        ``oneflow/user/data/distributed_training_dataset.h``; here also for more shards than samples.
    """

    length: int
    shard: ShardSpec = field(default_factory=ShardSpec)
    shuffle: bool = False
    seed: int = 0
    stride: bool = True
    taken: int = 0
    _epoch: int = -1
    _permutation: Indices = field(default_factory=lambda: np.zeros(0, np.int64))

    def __next__(self) -> SampleKey:
        block = 1 if self.stride else -(-self.length // self.shard.count)
        row, column = divmod(self.taken, block)
        epoch, place = divmod((row * self.shard.count + self.shard.index) * block + column, self.length)
        if epoch != self._epoch:
            order: Order = Shuffled() if self.shuffle else Sequential()
            self._epoch, self._permutation = epoch, order.permutation(self.seed, epoch, self.length)
        self.taken += 1
        return SampleKey(epoch, int(self._permutation[place]))


@dataclass(slots=True)
class Batches:
    """Full batches of keys; with groups, batches whose samples are all of one group.

    With groups, a sample of another group than the batch waits in a batch of its own group, the oldest of which comes
    next. So nothing is lost, but the order of samples is another one, and those that wait cross the ends of epochs.

    Args:
        keys: The samples.
        size: Samples in a batch.
        groups: Group of each sample by its index, or None.
        waiting: Batches that have begun, from the oldest to the newest.

    Reference:
        ``oneflow/user/data/group_batch_dataset.h``.
    """

    keys: Iterator[SampleKey]
    size: int
    groups: NDArray[np.int64] | None = None
    waiting: list[list[SampleKey]] = field(default_factory=list)

    def take(self) -> list[SampleKey]:
        """The next batch."""
        batch = self.waiting.pop(0) if self.waiting else [next(self.keys)]
        while len(batch) < self.size:
            key = next(self.keys)
            if self.groups is None or self.groups[key.index] == self.groups[batch[0].index]:
                batch.append(key)
            else:
                self._put_aside(key, self.groups)
        return batch

    def give_back(self, batch: list[SampleKey]) -> None:
        """Make a batch that was taken the next one again."""
        self.waiting.insert(0, batch)

    def _put_aside(self, key: SampleKey, groups: NDArray[np.int64]) -> None:
        for waiting in reversed(self.waiting):
            if groups[waiting[0].index] == groups[key.index]:
                if len(waiting) < self.size:
                    waiting.append(key)
                    return
                break
        self.waiting.append([key])
