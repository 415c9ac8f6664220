"""Samplers: what comes, how often, and the same again from the same seed."""

import itertools

import numpy as np
import pytest

import flownn as flow
from flownn.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def test_sequential() -> None:
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert len(SequentialSampler("abc")) == 3


def test_random_orders_are_permutations_and_repeat() -> None:
    flow.manual_seed(5)
    sampler = RandomSampler(range(50))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    flow.manual_seed(5)
    assert list(sampler) == first
    own = RandomSampler(range(50), generator=flow.Generator(1))
    assert list(own) == list(RandomSampler(range(50), generator=flow.Generator(1)))
    assert list(RandomSampler([])) == []


def test_draws_in_between_do_not_change_an_order_that_has_begun() -> None:
    flow.manual_seed(7)
    whole = list(RandomSampler(range(40), num_samples=100))
    flow.manual_seed(7)
    order = iter(RandomSampler(range(40), num_samples=100))
    start = list(itertools.islice(order, 5))
    flow.rand(10)
    assert start + list(order) == whole


def test_other_numbers_of_samples() -> None:
    sampler = RandomSampler(range(4), num_samples=10, generator=flow.Generator(0))
    drawn = list(sampler)
    assert len(sampler) == len(drawn) == 10
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3]
    assert len(set(drawn[8:])) == 2
    again = list(RandomSampler(range(4), replacement=True, num_samples=1000, generator=flow.Generator(0)))
    assert len(again) == 1000
    # Each count is binomial: 5 sigma, wrong in one of 1.7 million seeds, and this seed is fixed.
    assert abs(np.bincount(again) - 250).max() < 5 * np.sqrt(1000 * 0.25 * 0.75)
    with pytest.raises(ValueError, match="expected a positive num_samples, got 0"):
        RandomSampler("abc", num_samples=0)


def test_subset() -> None:
    sampler = SubsetRandomSampler(["x", "y", "z"], flow.Generator(0))
    assert len(sampler) == 3
    assert sorted(sampler) == ["x", "y", "z"]


def test_weights() -> None:
    drawn = list(WeightedRandomSampler([0, 1, 3], 4000, generator=flow.Generator(0)))
    counts = np.bincount(drawn, minlength=3)
    assert counts[0] == 0
    assert abs(counts[2] - 3000) < 5 * np.sqrt(4000 * 0.75 * 0.25)  # 5 sigma, as above
    assert sorted(WeightedRandomSampler(flow.tensor([1.0, 0, 5, 2]), 3, replacement=False)) == [0, 2, 3]
    for weights, number, replacement, message in [
        ([1, 0], 2, False, "2 samples cannot be drawn from the 1 whose weight is not 0"),
        ([0, 0], 1, True, "finite weights of at least 0, and one above"),
        ([1, -1], 1, True, "finite weights"),
        ([1, np.nan], 1, True, "finite weights"),
        ([1], 0, True, "expected a positive num_samples, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            WeightedRandomSampler(weights, number, replacement)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 3), (2, 3), (0, 3)])
def test_batches(n: int, size: int) -> None:
    kept, dropped = BatchSampler(range(n), size, False), BatchSampler(range(n), size, True)
    assert [key for batch in kept for key in batch] == list(range(n))
    assert len(list(kept)) == len(kept) == -(-n // size)
    assert list(dropped) == list(kept)[: n // size]
    assert len(list(dropped)) == len(dropped)
    with pytest.raises(ValueError, match="expected a positive batch_size, got 0"):
        BatchSampler(range(3), 0, False)


@pytest.mark.parametrize("n", [1, 7, 8, 9])
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_have_equal_parts_of_everything(n: int, ranks: int, drop_last: bool) -> None:
    for epoch in range(2):
        parts = []
        for rank in range(ranks):
            sampler = DistributedSampler(range(n), ranks, rank, drop_last=drop_last, seed=3)
            sampler.set_epoch(epoch)
            parts.append(list(sampler))
            assert len(parts[-1]) == len(sampler) == (n // ranks if drop_last else -(-n // ranks))
        seen = [key for part in parts for key in part]
        assert len(set(seen)) == (len(seen) if drop_last else n)


def test_epochs_differ_and_ranks_come_from_the_job() -> None:
    sampler = DistributedSampler(range(30))
    assert (sampler.rank, sampler.num_replicas) == (0, 1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    with pytest.raises(ValueError, match="expected a rank from 0 to 1, got 2"):
        DistributedSampler(range(3), 2, 2)


@pytest.mark.torch
@pytest.mark.parametrize("drop_last", [False, True])
def test_parts_in_order_as_in_pytorch(drop_last: bool) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for n, ranks in itertools.product([1, 2, 7, 8, 9], [1, 2, 3, 4]):
        for rank in range(ranks):
            arguments = (range(n), ranks, rank, False, 0, drop_last)
            theirs = torch.utils.data.DistributedSampler(*arguments)
            assert list(DistributedSampler(*arguments)) == list(theirs), arguments


def test_own_sampler_must_have_an_order() -> None:
    with pytest.raises(NotImplementedError, match=r"Sampler: define __iter__\(\)"):
        iter(Sampler())
