"""Which samples make a batch, against the one-by-one algorithm of the endless readers, and loops."""

import numpy as np
import pytest

from flowdata.plan import plan_epoch, steps
from flowdata.sample import SampleKey
from flowdata.sources.endless import Batches


def batches(plan):
    return [plan.batch(step).tolist() for step in range(len(plan.starts) - 1)]


def slow(order, size, last_batch, groups):
    """One sample after the other into the open batch of its group."""
    opened = []  # from the oldest to the newest
    for index in order:
        for batch in opened:
            if groups[batch[0]] == groups[index] and len(batch) < size:
                batch.append(index)
                break
        else:
            opened.append([index])
    if last_batch == "drop":
        return [batch for batch in opened if len(batch) == size]
    if last_batch == "wrap":
        for batch in opened:
            members = [index for index in order if groups[index] == groups[batch[0]]]
            missing = size - len(batch)
            batch += [members[place % len(members)] for place in range(missing)]
    return opened


@pytest.mark.parametrize("last_batch", ["keep", "drop", "wrap"])
@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_plans_are_those_of_the_slow_reference(kinds, last_batch):
    rng = np.random.default_rng(kinds)
    for _ in range(60):
        length, size = rng.integers(0, 40), int(rng.integers(1, 9))
        order, groups = rng.permutation(length), rng.integers(0, kinds, length)
        plan = plan_epoch(order, size, last_batch, groups)
        assert batches(plan) == slow(order.tolist(), size, last_batch, groups)
        counts = np.bincount(groups, minlength=kinds)
        assert len(batches(plan)) == sum(steps(int(count), size, last_batch) for count in counts)
        assert plan.indices.dtype == np.int64
        if kinds == 1:
            assert batches(plan_epoch(order, size, last_batch)) == batches(plan)


def test_full_batches_come_in_the_order_of_the_endless_reader():
    rng = np.random.default_rng(0)
    for kinds in (2, 3, 7):
        size, counts = 4, 4 * rng.integers(1, 9, kinds)  # nothing is left of any group
        groups = np.repeat(np.arange(kinds), counts)
        order = rng.permutation(len(groups))
        reader = Batches(iter([SampleKey(0, int(index)) for index in order]), size, groups)
        expected = [[key.index for key in reader.take()] for _ in range(len(order) // size)]
        assert batches(plan_epoch(order, size, "keep", groups)) == expected


def test_an_epoch_has_each_sample_once():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 4, 1003)
    plan = plan_epoch(rng.permutation(1003), 16, "keep", groups)
    assert sorted(plan.indices.tolist()) == list(range(1003))
    assert all(len(set(groups[batch])) == 1 for batch in batches(plan))
