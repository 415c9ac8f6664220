"""The endless order of samples, against plain loops written from the specification."""

import copy
from collections import Counter
from itertools import count, islice, pairwise

import numpy as np
import pytest

from flowdata.sample import SampleKey
from flowdata.sharding import ShardSpec
from flowdata.sources.endless import Batches, PartKeys, SampledKeys
from flowdata.sources.order import Buffered, Shuffled

STARTS = np.array([0, 5, 5, 12, 13, 20])  # parts of 5, 0, 7, 1 and 7 records


def take(keys, number):
    return list(islice(keys, number))


def epochs_of(keys, number):
    """Indices of each of so many epochs, after checking that epochs follow each other."""
    found = [[]]
    for key in keys:
        if key.epoch == number:
            return found
        assert key.epoch in (len(found) - 1, len(found))
        if key.epoch == len(found):
            found.append([])
        found[-1].append(key.index)
    raise AssertionError("the keys ended")


# ---------------------------------------------------------------- part files


@pytest.mark.parametrize(("shard", "records"), [
    (ShardSpec(), range(20)), (ShardSpec(0, 2), range(12)), (ShardSpec(1, 2), range(12, 20)),
    (ShardSpec(2, 4), [12]), (ShardSpec(4, 5), range(13, 20)),
])  # fmt: skip
def test_a_shard_reads_its_parts_in_order_forever(shard, records):
    keys = take(PartKeys(STARTS, shard), 50)
    wanted = (SampleKey(epoch, index) for epoch in count() for index in records)
    assert keys == take(wanted, 50)


def test_shuffled_parts_are_a_partition_in_every_epoch():
    ranks = [epochs_of(PartKeys(STARTS, ShardSpec(rank, 2), shuffle_parts=True), 8) for rank in range(2)]
    orders = set()
    for epoch in range(8):
        together = [index for rank in ranks for index in rank[epoch]]
        assert sorted(together) == list(range(20))
        orders.add(tuple(together))
        for start, stop in pairwise(STARTS):  # within a file nothing moves
            if stop > start:
                at = together.index(start)
                assert together[at : at + stop - start] == list(range(start, stop))
    assert ranks[0][0] == list(range(12))
    assert len(orders) > 4


def test_the_order_of_parts_does_not_depend_on_the_seed():
    one, other = (PartKeys(STARTS, shuffle_parts=True, seed=seed) for seed in (1, 2))
    assert take(one, 60) == take(other, 60)


def test_a_shard_whose_parts_are_empty_in_some_epoch_goes_on_with_the_next():
    starts = np.array([0, 4, 4, 4])
    keys = [PartKeys(starts, ShardSpec(rank, 3), shuffle_parts=True) for rank in range(3)]
    got = [{key.epoch for key in take(each, 40)} for each in keys[:1]]
    assert got[0] != set(range(max(got[0]) + 1))
    for epoch in range(1, 10):
        assert sorted(index for each in keys for index in each.indices(epoch)) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_shuffle_buffer_is_drained_in_each_epoch(size):
    for epoch in epochs_of(PartKeys(STARTS, ShardSpec(0, 2), Buffered(size), seed=3), 4):
        assert sorted(epoch) == list(range(12))
        if size == 3:  # a record comes at most as early as the buffer reaches
            assert all(index <= place + 3 for place, index in enumerate(epoch))


def test_one_shard_delivers_what_a_pipeline_delivers():
    found = epochs_of(PartKeys(STARTS, order=Buffered(4), seed=9), 3)
    for epoch in range(3):
        assert found[epoch] == Buffered(4).permutation(9, epoch, 20).tolist()


# ---------------------------------------------------------------- sampled positions


@pytest.mark.parametrize(("stride", "wanted"), [
    (True, ["0 4 8 2 6 0", "1 5 9 3 7 1", "2 6 0 4 8 2", "3 7 1 5 9 3"]),
    (False, ["0 1 2 2 3 4", "3 4 5 5 6 7", "6 7 8 8 9 0", "9 0 1 1 2 3"]),
])  # fmt: skip
def test_the_orders_of_the_specification(stride, wanted):
    for rank in range(4):
        keys = take(SampledKeys(10, ShardSpec(rank, 4), stride=stride), 6)
        assert " ".join(str(key.index) for key in keys) == wanted[rank]


@pytest.mark.parametrize("stride", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("length", "shards"), [(10, 4), (9, 4), (7, 1), (3, 5), (1, 3), (12, 3)])
def test_shards_take_their_elements_of_one_endless_sequence(stride, shuffle, length, shards):
    def sequence():
        for epoch in count():
            order = Shuffled().permutation(5, epoch, length) if shuffle else range(length)
            for index in order:
                yield SampleKey(epoch, int(index))

    endless = take(sequence(), 40 * shards + 40 * length)
    block = 1 if stride else -(-length // shards)
    for rank in range(shards):
        places = [p for p in range(len(endless)) if p // block % shards == rank][:40]
        keys = take(SampledKeys(length, ShardSpec(rank, shards), shuffle, 5, stride), 40)
        assert keys == [endless[place] for place in places]


def test_all_shards_together_see_every_sample_equally_often():
    keys = [key for rank in range(4) for key in take(SampledKeys(9, ShardSpec(rank, 4), True, 1), 18)]
    assert set(Counter(keys).values()) == {1}
    assert set(Counter(key.index for key in keys).values()) == {8}


# ---------------------------------------------------------------- batches


def slow_groups(keys, groups, size):
    """The algorithm of the specification with creation numbers and a queue per group."""
    pending, created = {}, count()  # group -> list of (creation number, samples)
    while True:
        oldest = min(((queue[0][0], group) for group, queue in pending.items() if queue), default=None)
        if oldest is None:
            first = next(keys)
            group, batch = groups[first.index], [first]
        else:
            group = oldest[1]
            batch = pending[group].pop(0)[1]
        while len(batch) < size:
            key = next(keys)
            own = groups[key.index]
            if own == group:
                batch.append(key)
                continue
            queue = pending.setdefault(own, [])
            if not queue or len(queue[-1][1]) == size:
                queue.append((next(created), []))
            queue[-1][1].append(key)
        yield batch


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_grouped_batches_are_those_of_the_slow_algorithm(size, kinds):
    groups = np.random.default_rng(kinds).integers(0, kinds, 23)
    batches = Batches(SampledKeys(23, shuffle=True, seed=2), size, groups)
    slow = slow_groups(SampledKeys(23, shuffle=True, seed=2), groups, size)
    found = [batches.take() for _ in range(60)]
    assert found == take(slow, 60)
    assert all(len({groups[key.index] for key in batch}) == 1 and len(batch) == size for batch in found)
    delivered = [key for batch in found for key in batch]
    assert len(set(delivered)) == len(delivered)


def test_plain_batches_run_on_over_the_end_of_an_epoch():
    batches = Batches(PartKeys(np.array([0, 3])), 2)
    assert [[key.index for key in batches.take()] for _ in range(4)] == [[0, 1], [2, 0], [1, 2], [0, 1]]


def test_a_copy_goes_its_own_way():
    batches = Batches(PartKeys(STARTS, order=Buffered(4), seed=1), 3)
    batches.take()
    copied = copy.deepcopy(batches)
    assert [batches.take() for _ in range(9)] == [copied.take() for _ in range(9)]
