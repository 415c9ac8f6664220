"""Data sets: samples by number, or a stream of them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from flownn.errors import ShapeError
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = ["ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "Subset", "TensorDataset", "random_split"]

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples that are found by a key, mostly a number. A subclass defines ``__getitem__``, mostly ``__len__`` too.

    With a method ``__getitems__`` that takes a list of keys, loaders fetch a batch in one call.

    Reference:
        ``torch.utils.data.Dataset``.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> data = Squares() + Squares()
    >>> len(data), data[5]
    (8, 1)
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__}: define __getitem__()")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """A stream of samples. A subclass defines ``__iter__``.

    Each worker of a loader goes through a copy of its own; `get_worker_info` tells ``__iter__`` which part to give.

    Reference:
        ``torch.utils.data.IterableDataset``.

    >>> from flownn.utils.data import DataLoader
    >>> class Count(IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(5))
    >>> [batch.tolist() for batch in DataLoader(Count(), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__}: define __iter__()")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is a tuple of entry i of each tensor.

    Args:
        tensors: Of equal size in the first dim.

    Raises:
        ShapeError: the sizes differ, or there is a 0-dim tensor or none at all.

    Reference:
        ``torch.utils.data.TensorDataset``.

    >>> import flownn as flow
    >>> TensorDataset(flow.tensor([[1.0, 2.0]]), flow.tensor([7]))[0]
    (tensor([1., 2.], dtype=flownn.float32), tensor(7, dtype=flownn.int64))
    """

    def __init__(self, *tensors: Tensor) -> None:
        sizes = {tensor.data.shape[:1] for tensor in tensors}
        if len(sizes) != 1 or () in sizes:
            shapes = ", ".join(str(tuple(tensor.data.shape)) for tensor in tensors)
            raise ShapeError(
                f"TensorDataset: expected tensors with the same size in the first dim, got {shapes or 'none'}"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[T_co]):
    """Some samples of a data set.

    Args:
        dataset: Where they are.
        indices: Their keys there, in order.

    Reference:
        ``torch.utils.data.Subset``.

    >>> Subset("abcdef", [4, 1])[0]
    'e'
    """

    def __init__(self, dataset: Any, indices: Sequence[Any]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            index = [self.indices[each] for each in index]
        else:
            index = self.indices[index]
        sample: T_co = self.dataset[index]
        return sample

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        """The samples of a batch."""
        keys = [self.indices[each] for each in indices]
        many = getattr(self.dataset, "__getitems__", None)
        return many(keys) if callable(many) else [self.dataset[key] for key in keys]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[T_co]):
    """Data sets one after the other.

    Args:
        datasets: Data sets with a length.

    Raises:
        ValueError: there is none, or one is a stream.

    Reference:
        ``torch.utils.data.ConcatDataset``.

    >>> data = ConcatDataset(["ab", "cde"])
    >>> data.cumulative_sizes, data[2], data[-1]
    ([2, 5], 'c', 'e')
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one data set")
        if any(isinstance(each, IterableDataset) for each in self.datasets):
            raise ValueError("ConcatDataset: an IterableDataset has no length; use ChainDataset")
        self.cumulative_sizes = list(accumulate(len(each) for each in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {size} samples")
        index %= size
        which = bisect_right(self.cumulative_sizes, index)
        sample: T_co = self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]
        return sample


class ChainDataset(IterableDataset[Any]):
    """Streams one after the other.

    Args:
        datasets: Streams.

    Reference:
        ``torch.utils.data.ChainDataset``.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for each in self.datasets:
            yield from each

    def __len__(self) -> int:
        return sum(len(each) for each in self.datasets)


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset[Any]]:
    """Divide a data set at random into parts that do not overlap.

    Args:
        dataset: Has a length.
        lengths: Size of each part; or fractions that add up to 1, of which what rounding leaves goes to the first
            parts, one sample each.
        generator: Where to draw from; None means the default generator.

    Raises:
        ValueError: the lengths do not add up to that of the data set, or to 1.

    Reference:
        ``torch.utils.data.random_split``.

    >>> [len(part) for part in random_split(range(10), [0.55, 0.25, 0.2])]
    [6, 2, 2]
    """
    total = len(dataset)
    sizes = [int(each) for each in lengths]
    if any(isinstance(each, float) for each in lengths):
        if not math.isclose(sum(lengths), 1) or min(lengths) < 0:
            raise ValueError(f"random_split: expected fractions that add up to 1, got {list(lengths)}")
        sizes = [math.floor(total * each) for each in lengths]
        for index in range(total - sum(sizes)):
            sizes[index % len(sizes)] += 1
    if sum(sizes) != total or min(sizes, default=0) < 0:
        raise ValueError(f"random_split: expected lengths that add up to {total}, got {list(lengths)}")
    order = (generator or default_generator).permutation(total).tolist()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
