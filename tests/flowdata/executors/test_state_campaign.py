"""Random stops: whoever continues, with other workers and ranks, delivers the rest of the same stream."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from flowdata.audit import Audit, Digest
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline
from flowdata.sample import Batch
from flowdata.sharding import ShardSpec
from flowdata.sources.order import Buffered, Sequential, Shuffled
from tests.conftest import Campaign
from tests.flowdata.executors.synthetic import Mixed, Numbers, numbers, serial

EPOCHS = 3
MOST_STATE_BYTES = 1024

Rows = tuple[int, int, int, list[tuple[object, ...]]]

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


def rows(parts: list[Batch]) -> Rows:
    """A global batch as bytes, put together from the ranks' parts."""
    [(epoch, step, global_size)] = {(part.epoch, part.step, part.global_size) for part in parts}
    content = [
        (index, part["image"][row].tobytes(), part["boxes"][row].tobytes(), part["label"][row].tobytes())
        for part in parts
        for row, index in enumerate(part.indices.tolist())
    ]
    return epoch, step, global_size, content


def drawn_pipeline(rng: random.Random) -> Pipeline:
    return numbers(
        source=Numbers(rng.randint(3, 40)),
        batch_size=rng.randint(1, 12),
        last_batch=rng.choice(["keep", "wrap"]),
        order=rng.choice([Sequential(), Shuffled(), Buffered(rng.randint(1, 50)), Mixed()]),
        seed=rng.randrange(10**6),
    )


def drawn_way_of_running(pipeline: Pipeline, rng: random.Random) -> tuple[Pipeline, int]:
    """The pipeline with other workers, and a number of ranks."""
    running = replace(
        pipeline,
        workers=rng.choice([1, 2, 3]),
        prefetch_batches=rng.randint(1, 5),
        samples_per_message=rng.randint(1, 9),
        executor=rng.choice(["process", "process", "serial"]),
    )
    return running, rng.choice([1, 2, 3])


def take(loaders: list[Loader], count: int) -> list[list[Batch]]:
    """The next ``count`` global batches, over the ends of epochs."""
    taken: list[list[Batch]] = []
    while len(taken) < count:
        for parts in zip(*loaders, strict=True):
            taken.append(list(parts))
            if len(taken) == count:
                break
    return taken


def test_a_stream_with_random_stops_is_the_uninterrupted_one(campaign: Campaign) -> None:
    for rng in campaign(120, 4):
        pipeline = drawn_pipeline(rng)
        with serial(pipeline).loader() as loader:
            expected = [rows([batch]) for _ in range(EPOCHS) for batch in loader]
        steps = pipeline.steps_per_epoch()
        digests = [Digest(epoch) for epoch in range(EPOCHS)]
        state, position = None, 0
        stops = sorted(rng.randint(0, len(expected)) for _ in range(rng.randint(1, 3)))
        for stop in [*stops, len(expected)]:
            running, ranks = drawn_way_of_running(pipeline, rng)
            loaders = [running.loader(ShardSpec(rank, ranks)) for rank in range(ranks)]
            try:
                for loader in loaders:
                    if state is not None:
                        loader.load_state_dict(json.loads(state))
                taken = take(loaders, stop - position)
                assert [rows(parts) for parts in taken] == expected[position:stop]
                for parts in taken:
                    audit = Audit(running, parts[0].epoch)
                    for part in parts:
                        audit.add(part)
                    digests[parts[0].epoch] += audit.digest()
                states = {json.dumps(loader.state_dict(), sort_keys=True) for loader in loaders}
                assert len(states) == 1  # the same on every rank
                [state] = states
                assert len(state) < MOST_STATE_BYTES
                assert divmod(stop, steps) == (loaders[0].epoch, loaders[0].step)
            finally:
                for loader in loaders:
                    loader.close()
            position = stop
        assert digests == [Audit(pipeline, epoch).planned() for epoch in range(EPOCHS)]
