"""Samplers: in which order a loader takes the samples of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from flownn.random import Generator, default_generator

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)


def drawn_seed(generator: Generator | None) -> int:
    """A seed for streams that depend on this generator, or on the default one."""
    return int((generator or default_generator).integers(0, 2**63 - 1, ()))


def _own(generator: Generator | None) -> Generator:
    """The generator; without one a new one, so that draws in between, such as dropout's, change nothing."""
    return generator or Generator(drawn_seed(None))


class Sampler(Generic[T_co]):
    """An order of keys, new for each iteration. A subclass defines ``__iter__``, mostly ``__len__`` too.

    Args:
        data_source: Taken so that older subclasses may pass it on; the base class has no use for it but to keep it.

    Reference:
        ``torch.utils.data.Sampler``.
    """

    def __init__(self, data_source: Sized | None = None) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__}: define __iter__()")


class SequentialSampler(Sampler[int]):
    """All samples in order.

    Args:
        data_source: The data set.

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Samples at random.

    Args:
        data_source: The data set.
        replacement: Whether a sample may come again before all others came.
        num_samples: How many to draw; None means as many as there are.
        generator: Where to draw from; None means one that the default generator seeds in each iteration.

    Raises:
        ValueError: ``num_samples`` is not positive.

    Reference:
        ``torch.utils.data.RandomSampler``.

    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(data_source)
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"RandomSampler: expected a positive num_samples, got {num_samples}")
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples

    @property
    def num_samples(self) -> int:
        """How many are drawn; the data set may have grown since."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        size, generator = len(self.data_source), _own(self.generator)
        if self.replacement:
            yield from generator.integers(0, size, (self.num_samples,)).tolist()
            return
        left = self.num_samples if size else 0
        while left > 0:
            yield from generator.permutation(size)[:left].tolist()
            left -= size

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[Any]):
    """Given keys at random, each once.

    Args:
        indices: The keys.
        generator: Where to draw from; None means one that the default generator seeds in each iteration.
    """

    def __init__(self, indices: Sequence[Any], generator: Generator | None = None) -> None:
        super().__init__()
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        return (self.indices[i] for i in _own(self.generator).permutation(len(self.indices)).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Samples with given probabilities.

    Args:
        weights: Weight of each sample, at least 0; they need not add up to 1.
        num_samples: How many to draw.
        replacement: Whether a sample may come again.
        generator: Where to draw from; None means one that the default generator seeds in each iteration.

    Raises:
        ValueError: a weight is negative or not finite, all are 0, or without replacement fewer than ``num_samples`` are
            not.

    Reference:
        ``torch.utils.data.WeightedRandomSampler``.

    >>> list(WeightedRandomSampler([0, 3, 0], 4))
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        weights: Iterable[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples < 1:
            raise ValueError(f"WeightedRandomSampler: expected a positive num_samples, got {num_samples!r}")
        self.weights = np.asarray([float(each) for each in weights])
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator
        if not np.isfinite(self.weights).all() or (self.weights < 0).any() or not self.weights.any():
            raise ValueError("WeightedRandomSampler: expected finite weights of at least 0, and one above")
        possible = int(np.count_nonzero(self.weights))
        if not replacement and num_samples > possible:
            raise ValueError(
                f"WeightedRandomSampler: without replacement {num_samples} samples cannot be drawn from the {possible} "
                "whose weight is not 0"
            )

    def __iter__(self) -> Iterator[int]:
        shares = self.weights / self.weights.sum()
        drawn = _own(self.generator).rng.choice(len(shares), self.num_samples, replace=self.replacement, p=shares)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[Any]]):
    """Lists of keys, one for each batch.

    Args:
        sampler: The keys.
        batch_size: Keys in a batch.
        drop_last: Leave out a last batch that has fewer.

    Raises:
        ValueError: ``batch_size`` is not positive.

    Reference:
        ``torch.utils.data.BatchSampler``.

    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        super().__init__()
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"BatchSampler: expected a positive batch_size, got {batch_size!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        keys = iter(self.sampler)
        while batch := list(islice(keys, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)
