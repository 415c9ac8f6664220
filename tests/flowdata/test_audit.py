"""An audit proves that each sample came exactly once, or says which did not."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from flowdata import audit
from flowdata.audit import Audit, Differences, Digest, differences, digest_of, planned_indices
from flowdata.sharding import ShardSpec
from tests.flowdata.executors.synthetic import Numbers, numbers, serial


def audited(pipeline, epoch, shard=None, steps=None, skipped=()):
    """An audit of one rank's batches of an epoch, from step to step, without the batches ``skipped``."""
    found = Audit(pipeline, epoch)
    with pipeline.loader(shard or ShardSpec()) as loader:
        loader.seek(epoch)
        for batch in loader:
            if batch.step not in skipped and (steps is None or batch.step in steps):
                found.add(batch)
    return found


@pytest.mark.parametrize("last_batch", ["keep", "drop", "wrap"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_ranks_digests_add_up_to_the_plan(ranks, last_batch):
    pipeline = serial(numbers(last_batch=last_batch, batch_size=10))
    for epoch in (0, 2):
        parts = [audited(pipeline, epoch, ShardSpec(rank, ranks)) for rank in range(ranks)]
        assert sum((part.digest() for part in parts), Digest(epoch)) == parts[0].planned()
        assert not differences(pipeline, epoch, [part.indices() for part in parts])
        assert parts[0].planned().count == {"keep": 53, "drop": 50, "wrap": 60}[last_batch]


class Shapes(Numbers):
    """Numbers, of which every third belongs to a group of its own."""

    def aspect_groups(self):
        return (np.arange(len(self)) % 3 == 0).astype(np.int64)


@pytest.mark.parametrize("last_batch", ["keep", "drop", "wrap"])
def test_groups_by_aspect_ratio_have_a_plan_too(last_batch):
    pipeline = serial(numbers(source=Shapes(), group_by_aspect_ratio=True, last_batch=last_batch, batch_size=10))
    parts = [audited(pipeline, 1, ShardSpec(rank, 2)) for rank in range(2)]
    assert parts[0].digest() + parts[1].digest() == parts[0].planned()
    assert parts[0].planned().count == {"keep": 53, "drop": 40, "wrap": 60}[last_batch]  # 18 and 35


def test_a_run_with_a_stop_in_between_adds_up_too():
    pipeline = serial(numbers())
    first, second = audited(pipeline, 1, steps=range(3)), audited(pipeline, 1, steps=range(3, 7))
    assert first.digest() + second.digest() == second.planned()
    assert second.digest() + first.digest() == second.planned()  # in any order
    again = audited(pipeline, 1, steps=range(2, 7))  # one batch is made twice
    assert first.digest() + again.digest() != second.planned()
    repeated = sorted(planned_indices(pipeline, 1)[2 * 8 : 3 * 8].tolist())
    assert differences(pipeline, 1, [first.indices(), again.indices()]) == Differences([], repeated)


def test_a_lost_batch_of_one_rank_is_named():
    pipeline = serial(numbers())
    parts = [audited(pipeline, 0, ShardSpec(rank, 2), skipped=(4,) if rank else ()) for rank in range(2)]
    assert parts[0].digest() + parts[1].digest() != parts[0].planned()
    lost = planned_indices(pipeline, 0)[4 * 8 + 4 : 5 * 8]
    assert differences(pipeline, 0, [part.indices() for part in parts]) == Differences(sorted(lost.tolist()), [])


def test_a_swap_of_samples_is_found_though_the_count_is_right():
    plan = planned_indices(serial(numbers()), 0)
    swapped = plan.copy()
    swapped[3] = plan[4]
    assert digest_of(0, swapped).count == digest_of(0, plan).count
    assert digest_of(0, swapped) != digest_of(0, plan)
    assert digest_of(0, plan) != digest_of(1, plan)  # another epoch's samples are other samples
    assert digest_of(0, np.random.default_rng(0).permutation(plan)) == digest_of(0, plan)


def test_hashes_do_not_collide_and_bits_are_even():
    hashes = np.concatenate([audit._hashes(epoch, np.arange(100_000)) for epoch in range(5)])
    assert len(np.unique(hashes)) == len(hashes)
    ones = np.array([((hashes >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)])
    assert np.abs(ones - 0.5).max() < 0.5 * 7 / np.sqrt(len(hashes))  # 7 standard deviations: never by chance


def test_a_digest_is_four_numbers_that_travel_as_json():
    digest = digest_of(3, np.arange(10))
    text = json.dumps(asdict(digest))
    assert len(text) < 120
    assert Digest(**json.loads(text)) == digest


def test_what_does_not_belong_together():
    pipeline = serial(numbers(source=Numbers(5)))
    found = Audit(pipeline, 1)
    with pipeline.loader() as loader, pytest.raises(ValueError, match="batches of epoch 1, got one of epoch 0"):
        found.add(next(iter(loader)))
    with pytest.raises(ValueError, match="of one epoch, got 0 and 1"):
        Digest(0) + Digest(1)
    assert found.indices().tolist() == []
