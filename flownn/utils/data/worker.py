"""What makes the batches of a loader, in its workers or without them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from flowdata.executors.calls import CallJob
from flownn.random import default_generator
from flownn.utils.data.dataset import IterableDataset

__all__ = ["LoaderJob", "Request", "WorkerInfo", "get_worker_info", "streams_restored"]


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker process knows about itself.

    Args:
        id: Number of the worker, from 0.
        num_workers: Number of workers.
        seed: A seed that no other worker has.
        dataset: Its copy of the data set.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a loader who it is, elsewhere None.

    Reference:
        ``torch.utils.data.get_worker_info``.
    """
    return _worker_info


@dataclass(frozen=True)
class Request:
    """One batch to make.

    Args:
        seed: Seed of the iteration.
        stream: Which copy of an `IterableDataset` it is from; 0 for other data sets.
        number: Position of the batch, within its stream.
        keys: Keys of its samples, or of the only sample where nothing is put together; None for a stream.
    """

    seed: int
    stream: int
    number: int
    keys: Any = None


@dataclass
class LoaderJob(CallJob):
    """Fetch the samples of a batch and put them together.

    The result is a tuple with the batch, or None where a stream has ended.
    """

    owner: ClassVar[str] = "DataLoader"
    parts: ClassVar[str] = "DataLoader: data set, collate_fn and worker_init_fn"
    alternative: ClassVar[str] = "num_workers=0"
    unit: ClassVar[str] = "batch"

    dataset: Any
    collate_fn: Callable[[Any], Any]
    together: bool
    batch_size: int | None
    drop_last: bool
    num_workers: int
    worker_init_fn: Callable[[int], Any] | None
    seed: int
    first_worker: int = 0
    _samples: Any = field(default=None, init=False)  # the iterator of a stream, once it has begun

    def prepare(self, worker: int) -> None:
        """Tell the process who it is, and run the user's set-up."""
        global _worker_info
        number = self.first_worker + worker
        _worker_info = WorkerInfo(number, self.num_workers, self.seed + number, self.dataset)
        _seed(self.seed + number)
        if self.worker_init_fn is not None:
            self.worker_init_fn(number)

    def call(self, request: Request) -> tuple[Any] | None:
        """Make one batch, with random numbers of its own."""
        _seed(request.seed, request.stream, request.number)
        if isinstance(self.dataset, IterableDataset):
            return self._continue_stream(request.number)
        if not self.together:
            return (self.collate_fn(self.dataset[request.keys]),)
        many = getattr(self.dataset, "__getitems__", None)
        samples = many(request.keys) if callable(many) else [self.dataset[key] for key in request.keys]
        return (self.collate_fn(samples),)

    def _continue_stream(self, number: int) -> tuple[Any] | None:
        if number == 0:
            self._samples = iter(self.dataset)
        size = self.batch_size or 1
        samples = list(islice(self._samples, size))
        if not samples or (self.drop_last and len(samples) < size):
            return None
        return (self.collate_fn(samples if self.together else samples[0]),)


def _seed(*entropy: int) -> None:
    """Start the process's three streams of random numbers, each at a place of its own."""
    words = np.random.SeedSequence(entropy).generate_state(4, np.uint64).tolist()
    default_generator.manual_seed(words[0])
    random.seed(words[1])
    np.random.seed([words[2] & 0xFFFFFFFF, words[3] & 0xFFFFFFFF])


@contextmanager
def streams_restored() -> Iterator[None]:
    """Give the process its random streams back afterwards."""
    states = default_generator.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        default_generator.set_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
