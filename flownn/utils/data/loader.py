"""`DataLoader`: batches of a data set, made here or ahead of time in worker processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flowdata.executors.calls import CallPool
from flownn.random import Generator
from flownn.utils.data.collate import default_collate, default_convert
from flownn.utils.data.dataset import IterableDataset
from flownn.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler, drawn_seed
from flownn.utils.data.worker import LoaderJob, Request, streams_restored

__all__ = ["DataLoader"]


class DataLoader:
    """Go through a data set in batches.

    Without workers each batch is made when it is asked for. Workers make ``num_workers * prefetch_factor`` batches
    ahead and deliver the same, in the same order. They are processes of their own that get data set, ``collate_fn`` and
    ``worker_init_fn`` by pickle, also from a script without ``if __name__ == "__main__"``, and end with the iteration
    or, after a ``break``, with its iterator.

    Random numbers: each iteration draws a seed from ``generator``. For each batch it starts `flownn`'s default
    generator and those of `random` and `numpy.random` anew, from the seed and the number of the batch; without workers
    they are given back to the process as they were. So what a data set draws is the same for any number of workers.

    Each worker goes through a copy of an `IterableDataset`; their batches come in turn. So that not all give the same,
    the data set asks `get_worker_info` for its part.

    Args:
        dataset: Samples by key, or an `IterableDataset`.
        batch_size: Samples in a batch; None to deliver single samples, not put together.
        shuffle: Whether the order is random, and another in each iteration.
        sampler: Keys in order; in place of ``shuffle``.
        batch_sampler: Lists of keys, one for each batch; in place of ``batch_size``, ``shuffle``, ``sampler`` and
            ``drop_last``.
        num_workers: Worker processes; 0 for none.
        collate_fn: Makes a batch of a list of samples; None means `default_collate` (`default_convert` for a single
            sample).
        drop_last: Leave out a last batch that is smaller.
        timeout: Seconds to wait for a batch from the workers; 0 for as long as it takes.
        worker_init_fn: Called in each worker with its number, before its first batch.
        generator: Where the seed and the random order come from; None means the default generator.
        prefetch_factor: Batches that each worker prepares ahead; None means 2.
        persistent_workers: Keep workers, with their copies of the data set, from a complete iteration for the next.

    Raises:
        ValueError: arguments contradict each other.
        ConfigError: what the workers need cannot be pickled (when an iteration starts).
        WorkerError: a worker died; the message names the signal and the batch.
        TimeoutError: a batch took longer than ``timeout``.
        Exception: what the data set raised in a worker, with the worker's traceback as a note.

    Reference:
        ``torch.utils.data.DataLoader``; it seeds workers rather than batches, so there the number of workers matters.

    >>> import flownn as flow
    >>> from flownn.utils.data import TensorDataset
    >>> data = TensorDataset(flow.arange(5), flow.arange(5) * 10)
    >>> for x, y in DataLoader(data, batch_size=3):
    ...     print(x.tolist(), y.tolist())
    [0, 1, 2] [0, 10, 20]
    [3, 4] [30, 40]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        stream = isinstance(dataset, IterableDataset)
        order = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
        _check_order([name for name, value in order.items() if value is not None], stream, batch_size, drop_last)
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if sampler is None and not stream:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self._together = batch_size is not None or batch_sampler is not None
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn or (default_collate if self._together else default_convert)
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self._idle: list[CallPool] = []  # persistent workers between two iterations
        self._iterations = 0

    def __len__(self) -> int:
        """Batches in an iteration, where the data set has a length.

        Raises:
            TypeError: it has none.
        """
        keys: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if keys is not None:
            return len(keys)
        if self.batch_size is None:
            return len(self.dataset)
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        seed = drawn_seed(self.generator)
        self._iterations += 1
        if not self.num_workers:
            return _without_workers(self._job(seed), self._requests(seed))
        return _Ahead(self, seed)

    def _job(self, seed: int, first_worker: int = 0) -> LoaderJob:
        return LoaderJob(
            self.dataset,
            self.collate_fn,
            self._together,
            self.batch_size,
            self.drop_last,
            self.num_workers,
            self.worker_init_fn,
            seed,
            first_worker,
        )

    def _requests(self, seed: int, stream: int = 0) -> Iterator[Request]:
        """What is asked of the workers, batch by batch; of a stream more than it may have."""
        keys: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if keys is None:
            return (Request(seed, stream, number) for number in itertools.count())
        return (Request(seed, stream, number, each) for number, each in enumerate(keys))


def _check_order(given: list[str], stream: bool, batch_size: int | None, drop_last: bool) -> None:
    """Refuse arguments that contradict each other; ``given`` names those about the order."""
    if stream and given:
        raise ValueError(f"DataLoader: an IterableDataset has an order of its own, so {given} cannot be given")
    if {"shuffle", "sampler"} <= set(given):
        raise ValueError("DataLoader: shuffle and sampler exclude each other")
    if "batch_sampler" in given and (len(given) > 1 or batch_size != 1 or drop_last):
        raise ValueError("DataLoader: batch_sampler takes the place of batch_size, shuffle, sampler and drop_last")
    if batch_size is None and drop_last:
        raise ValueError("DataLoader: drop_last needs a batch_size")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"DataLoader: expected a positive batch_size, got {batch_size}")


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0 or timeout < 0:
        raise ValueError(f"DataLoader: expected num_workers and timeout of at least 0, got {num_workers} and {timeout}")
    if not num_workers and (timeout or prefetch_factor is not None or persistent_workers):
        raise ValueError("DataLoader: timeout, prefetch_factor and persistent_workers need num_workers > 0")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"DataLoader: expected a prefetch_factor of at least 1, got {prefetch_factor}")


def _without_workers(job: LoaderJob, requests: Iterator[Request]) -> Iterator[Any]:
    for request in requests:
        with streams_restored():
            made = job.call(request)
        if made is None:
            return
        yield made[0]


class _Ahead:
    """One iteration with workers.

    All workers share the batches of a data set with keys: whoever is free makes the next. A stream is bound to its
    worker, which therefore has a pool to itself; the streams' batches come in turn, until all have ended.
    """

    def __init__(self, loader: DataLoader, seed: int) -> None:
        self._loader = loader
        self._epoch = loader._iterations - 1
        ahead = loader.prefetch_factor or 1
        self._pools, loader._idle = loader._idle, []
        if not self._pools and isinstance(loader.dataset, IterableDataset):
            self._pools = [
                CallPool(loader._job(seed, worker), workers=1, ahead=ahead) for worker in range(loader.num_workers)
            ]
        elif not self._pools:
            workers = loader.num_workers
            self._pools = [CallPool(loader._job(seed), workers=workers, ahead=workers * ahead)]
        self._turns = [(pool, loader._requests(seed, stream)) for stream, pool in enumerate(self._pools)]
        self._finished = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._finished:
            raise StopIteration
        try:
            made, error = self._next()
        except BaseException:  # Ctrl-C and the like may have struck anywhere; StopIteration has no workers left to end
            self.close()
            raise
        if error is not None:
            raise error
        return made

    def _next(self) -> tuple[Any, BaseException | None]:
        for pool, requests in self._turns:
            self._fill(pool, requests)
        while self._turns:
            pool, requests = self._turns.pop(0)
            if not pool.waiting:
                continue  # all keys were used
            made, error = pool.take(self._loader.timeout or None)
            if error is None and made is None:
                while pool.waiting:
                    pool.take()  # its worker was asked for more than there is
                continue
            self._fill(pool, requests)
            self._turns.append((pool, requests))
            return (made[0] if made else None), error
        self._finish()
        raise StopIteration

    def _fill(self, pool: CallPool, requests: Iterator[Request]) -> None:
        while not pool.full and (request := next(requests, None)) is not None:
            pool.submit(request, epoch=self._epoch, number=request.number)

    def _finish(self) -> None:
        """All batches were taken: end the workers, or keep them for the next iteration."""
        if self._loader.persistent_workers:
            self._loader._idle, self._pools = self._pools, []
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._finished = True
        for pool in self._pools:
            pool.stop()
