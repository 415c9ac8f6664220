"""Each rank's part of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

import numpy as np

from flowdist.env import rank_info
from flownn.random import Generator
from flownn.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """This rank's part of a data set, in an order that all ranks share.

    Call `set_epoch` before each epoch, or every epoch has the order of the first.

    Args:
        dataset: The data set, the same on all ranks.
        num_replicas: Number of ranks; None means that of the job.
        rank: Which rank's part; None means this process's.
        shuffle: Whether the order is random.
        seed: Where the order starts; the same on all ranks.
        drop_last: Leave out the samples that do not divide by the number of ranks; otherwise some of the first ones
            come again, so that all ranks have equally many.

    Raises:
        ValueError: there is no such rank.

    Reference:
        ``torch.utils.data.DistributedSampler``.

    >>> list(DistributedSampler("abcde", num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.num_replicas = rank_info().world_size if num_replicas is None else num_replicas
        self.rank = rank_info().rank if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"DistributedSampler: expected a rank from 0 to {self.num_replicas - 1}, got {self.rank}")
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0

    @property
    def num_samples(self) -> int:
        """Samples of each rank."""
        share = len(self.dataset) / self.num_replicas
        return math.floor(share) if self.drop_last else math.ceil(share)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        order = Generator(self.seed + self.epoch).permutation(size) if self.shuffle else np.arange(size)
        every = np.resize(order, self.num_samples * self.num_replicas)  # repeats from the start, or cuts
        return iter(every[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples
