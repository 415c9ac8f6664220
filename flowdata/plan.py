"""Which samples make which batch of an epoch: a pure function of the epoch's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flowdata.sources.order import Indices

LastBatch = Literal["keep", "drop", "wrap"]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """The global batches of an epoch.

    Args:
        indices: Data-set indices of all batches, one batch after the other.
        starts: Where each batch begins, and where the last one ends.
    """

    indices: Indices
    starts: Indices

    def batch(self, step: int) -> Indices:
        """Data-set indices of one batch."""
        return self.indices[self.starts[step] : self.starts[step + 1]]


def plan_epoch(
    permutation: Indices, batch_size: int, last_batch: LastBatch = "keep", groups: NDArray[np.int64] | None = None
) -> EpochPlan:
    """Cut an epoch into batches.

    With groups, a batch holds samples of one group only: those of each group come in the order of the permutation, and
    batches in the order of their first samples. What is left of a group at the end of the epoch is its last batch.

    Args:
        permutation: Data-set indices in the order of the epoch.
        batch_size: Samples in a batch.
        last_batch: What happens to a remainder, of each group if there are groups: ``keep``, ``drop``, or ``wrap``
            around to the epoch's first samples (of the group) to fill it.
        groups: Group of each sample by its data-set index.

    Reference:
        For groups ``oneflow/user/data/group_batch_dataset.h``, which lets what is left wait for the next epoch.
    """
    if groups is not None:
        return _plan_groups(permutation, batch_size, last_batch, groups[permutation])
    length = len(permutation)
    starts = np.arange(steps(length, batch_size, last_batch) + 1, dtype=np.int64) * batch_size
    missing = int(starts[-1]) - length
    if last_batch == "wrap" and missing > 0:
        permutation = np.concatenate([permutation, np.resize(permutation, missing)])
    starts = np.minimum(starts, len(permutation))
    return EpochPlan(permutation[: starts[-1]], starts)


def _plan_groups(permutation: Indices, batch_size: int, last_batch: LastBatch, groups: Indices) -> EpochPlan:
    batches: list[Indices] = []
    firsts: list[Indices] = []  # the place of each batch's first sample
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        plan = plan_epoch(permutation[places], batch_size, last_batch)
        batches += [plan.batch(step) for step in range(len(plan.starts) - 1)]
        firsts.append(places[plan.starts[:-1]])
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *firsts]))
    ordered = [batches[number] for number in order.tolist()]
    starts = np.cumsum([0, *map(len, ordered)], dtype=np.int64)
    return EpochPlan(np.concatenate([np.zeros(0, np.int64), *ordered]), starts)


def steps(length: int, batch_size: int, last_batch: LastBatch) -> int:
    """Batches that so many samples make."""
    whole, rest = divmod(length, batch_size)
    return whole + (rest > 0 and last_batch != "drop")
