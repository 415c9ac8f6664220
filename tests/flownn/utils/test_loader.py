"""DataLoader: the same batches for any number of workers, and its arguments."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    get_worker_info,
)


class Drawing(Dataset[Any]):
    """A sample of another size for each key, and numbers from all three generators."""

    def __init__(self, n: int = 23) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return np.arange(index % 4), random.random(), np.random.random(), flow.rand(1).item(), index


class Stream(IterableDataset[int]):
    """Numbers, each from one worker only; some workers have more of them."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.n, step))


def as_list(batch: list[Any]) -> list[Any]:
    """A collate_fn for samples of different shapes."""
    return [(array.tolist(), *rest) for array, *rest in batch]


def keys_of(batch: list[Any]) -> list[int]:
    return [sample[-1] for sample in batch]


LOADERS: list[Callable[[int], DataLoader]] = [
    lambda workers: DataLoader(Drawing(), 4, shuffle=True, num_workers=workers, collate_fn=as_list, drop_last=True),
    lambda workers: DataLoader(
        Drawing(), 5, True, num_workers=workers, collate_fn=as_list, generator=flow.Generator(2)
    ),
    lambda workers: DataLoader(Drawing(), 4, sampler=[3, 1, 1, 7, 2], num_workers=workers, collate_fn=as_list),
    lambda workers: DataLoader(Drawing(), batch_sampler=[[1], [2, 3, 4], []], num_workers=workers, collate_fn=as_list),
    lambda workers: DataLoader(Drawing(), batch_size=None, num_workers=workers, collate_fn=lambda x: x[1:]),
    lambda workers: DataLoader(Drawing(3), 4, num_workers=workers, collate_fn=as_list),
    lambda workers: DataLoader(Drawing(0), 4, num_workers=workers, collate_fn=as_list),
    lambda workers: DataLoader({"a": 1, "b": 2}, 2, sampler=["b", "a", "b"], num_workers=workers, collate_fn=list),
]


@pytest.mark.parametrize("make", LOADERS)
def test_workers_change_nothing(make: Callable[[int], DataLoader]) -> None:
    results = []
    for workers in (0, 2):
        flow.manual_seed(4)
        loader = make(workers)
        batches = list(loader)
        results.append((batches, len(loader), flow.default_generator.get_state()))
        assert len(batches) == len(loader)
    assert results[0] == results[1]


def test_nor_does_their_number_in_any_epoch() -> None:
    results = []
    for workers in (0, 1, 3):
        flow.manual_seed(4)
        loader = DataLoader(Drawing(), 4, shuffle=True, num_workers=workers, collate_fn=as_list)
        results.append([list(loader) for _ in range(2)])
    assert results[0] == results[1] == results[2]


def test_epochs_draw_anew_and_seeds_repeat() -> None:
    loader = DataLoader(Drawing(8), 4, shuffle=True, collate_fn=as_list)
    flow.manual_seed(1)
    first, second = list(loader), list(loader)
    assert sorted(key for batch in first for key in keys_of(batch)) == list(range(8))
    assert [keys_of(batch) for batch in first] != [keys_of(batch) for batch in second]
    flow.manual_seed(1)
    assert list(loader) == first


def test_numbers_differ_between_batches_and_the_process_keeps_its_streams() -> None:
    random.seed(1)
    np.random.seed(1)
    flow.manual_seed(1)
    flow.default_generator.integers(0, 2**63 - 1, ())  # the loader's seed
    expected = random.random(), np.random.random(), flow.rand(1).item()
    random.seed(1)
    np.random.seed(1)
    flow.manual_seed(1)
    batches = list(DataLoader(Drawing(8), 2, collate_fn=as_list))
    assert (random.random(), np.random.random(), flow.rand(1).item()) == expected
    drawn = [sample[column] for batch in batches for sample in batch for column in (1, 2, 3)]
    assert len(set(drawn)) == len(drawn)


def test_default_collation_of_tensors_in_workers() -> None:
    data = TensorDataset(flow.arange(12).reshape(6, 2).float(), flow.arange(6))
    for workers in (0, 2):
        batches = list(DataLoader(data, 4, num_workers=workers))
        assert [batch[1].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]
        x = batches[0][0]
        assert isinstance(x, flow.Tensor)
        assert x.shape == (4, 2)
        x += 1  # the consumer's own memory
        assert batches[1][0].tolist() == [[8, 9], [10, 11]]


def test_large_and_small_batches() -> None:
    def sample(size: int) -> Any:
        return {"image": np.full(size, size % 251, np.uint8), "size": size}

    sizes = [1, 3_000_000, 5, 2_000_000, 0]
    loader = DataLoader(sizes, batch_size=None, num_workers=2, collate_fn=sample)
    for size, found in zip(sizes, loader, strict=True):
        assert found["size"] == size
        np.testing.assert_array_equal(found["image"], sample(size)["image"])


@pytest.mark.parametrize(("workers", "drop_last"), [(0, False), (0, True), (1, False), (3, False), (3, True)])
def test_streams(workers: int, drop_last: bool) -> None:
    """Batches come in turn from the workers that still have some."""
    loader = DataLoader(Stream(10), 2, num_workers=workers, drop_last=drop_last)
    parts = [list(range(k, 10, workers or 1)) for k in range(workers or 1)]
    queues = [[part[i : i + 2] for i in range(0, len(part), 2)] for part in parts]
    if drop_last:
        queues = [[batch for batch in queue if len(batch) == 2] for queue in queues]
    expected = []
    while any(queues):
        expected += [queue.pop(0) for queue in queues if queue]
    assert [batch.tolist() for batch in loader] == expected


@pytest.mark.torch
@pytest.mark.parametrize("batch_size", [None, 3])
def test_stream_order_as_in_pytorch_with_workers(batch_size: int | None) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    class Theirs(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[int]:
            info = torch.utils.data.get_worker_info()
            return iter(range(info.id, 11, info.num_workers))

    loader = torch.utils.data.DataLoader(Theirs(), batch_size, num_workers=2, multiprocessing_context="fork")
    theirs = [np.asarray(batch).tolist() for batch in loader]
    ours = [np.asarray(batch).tolist() for batch in DataLoader(Stream(11), batch_size, num_workers=2)]
    assert ours == theirs


def test_persistent_workers_stay() -> None:
    class Pid(Dataset[Any]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            import os

            return os.getpid()

    def pids(loader: DataLoader) -> set[int]:
        return {pid for batch in loader for pid in batch.tolist()}

    loader = DataLoader(Pid(), num_workers=1, persistent_workers=True)
    first = pids(loader)
    assert pids(loader) == first
    for _ in loader:  # leaves the workers with work that nobody wants
        break
    assert pids(loader) != first
    fresh = DataLoader(Pid(), num_workers=1)
    assert pids(fresh) != pids(fresh)
    stream = DataLoader(Stream(7), 2, num_workers=2, persistent_workers=True)
    epochs = [[batch.tolist() for batch in stream] for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] == [[0, 2], [1, 3], [4, 6], [5]]


def test_workers_know_who_they_are() -> None:
    assert get_worker_info() is None

    class Who(Dataset[Any]):
        name = "unset"

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Any:
            info = get_worker_info()
            assert info is not None
            assert info.dataset is self
            return info.id, info.num_workers, info.seed, self.name

    def set_up(number: int) -> None:
        info = get_worker_info()
        assert info is not None
        info.dataset.name = f"worker {number}"

    rows = list(DataLoader(Who(), batch_size=None, num_workers=2, worker_init_fn=set_up, collate_fn=tuple))
    assert {row[3] for row in rows} <= {"worker 0", "worker 1"}
    assert all(row[3] == f"worker {row[0]}" and row[1] == 2 for row in rows)
    assert len({row[2] - row[0] for row in rows}) == 1


def test_two_iterations_at_once() -> None:
    loader = DataLoader(range(4), num_workers=1)
    pairs = [(a.item(), b.item()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_attributes_as_in_pytorch() -> None:
    loader = DataLoader(range(5), 2, shuffle=True)
    assert isinstance(loader.sampler, RandomSampler)
    assert isinstance(loader.batch_sampler, BatchSampler)
    assert isinstance(DataLoader(range(5)).sampler, SequentialSampler)
    assert (loader.batch_size, loader.drop_last, loader.num_workers, loader.timeout) == (2, False, 0, 0)
    assert DataLoader(range(5), num_workers=2).prefetch_factor == 2
    own = [[0, 1], [2]]
    assert DataLoader(range(5), batch_sampler=own).batch_sampler is own
    with pytest.raises(TypeError):
        len(DataLoader(Stream(3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_workers": -1}, "num_workers and timeout of at least 0"),
        ({"timeout": -1}, "num_workers and timeout of at least 0"),
        ({"prefetch_factor": 2}, "need num_workers > 0"),
        ({"persistent_workers": True}, "need num_workers > 0"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor of at least 1, got 0"),
        ({"shuffle": True, "sampler": [1]}, "shuffle and sampler exclude each other"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler takes the place"),
        ({"batch_sampler": [[1]], "drop_last": True}, "batch_sampler takes the place"),
        ({"batch_size": None, "drop_last": True}, "drop_last needs a batch_size"),
        ({"batch_size": 0}, "expected a positive batch_size, got 0"),
        ({"dataset": Stream(3), "shuffle": True}, "an order of its own, so \\['shuffle'\\] cannot be given"),
        ({"dataset": Stream(3), "sampler": [1], "batch_sampler": [[1]]}, "'sampler', 'batch_sampler'. cannot"),
    ],
    ids=str,
)
def test_contradictions(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataLoader(**({"dataset": range(5)} | arguments))


@pytest.mark.campaign
def test_any_setting_gives_the_same_with_and_without_workers(campaign: Any) -> None:
    for rng in campaign(200, 3):
        length, seed = rng.randrange(40), rng.randrange(1000)
        settings: dict[str, Any] = {"batch_size": rng.choice([None, 1, 2, 5, 50]), "shuffle": rng.random() < 0.5}
        settings["drop_last"] = settings["batch_size"] is not None and rng.random() < 0.3
        settings["collate_fn"] = as_list if settings["batch_size"] else None
        ahead = {
            "num_workers": rng.randrange(1, 4),
            "prefetch_factor": rng.randrange(1, 4),
            "persistent_workers": rng.random() < 0.5,
        }
        print(length, seed, settings, ahead)
        results = []
        for workers in ({}, ahead):
            flow.manual_seed(seed)
            loader = DataLoader(Drawing(length), **settings, **workers)
            results.append(repr([list(loader), list(loader), flow.rand(1)]))
        assert results[0] == results[1]
