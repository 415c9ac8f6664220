"""The definition itself: positions, aliases and what the consumer may do with a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from flowdata.errors import StageError
from flowdata.sample import Sample, Specs
from tests.flowdata.executors.synthetic import At, Numbers, content, numbers, serial


def test_a_failed_take_stays_where_it_is():
    with serial(numbers()).loader() as loader:
        batches = list(loader)
        want = [content(batch) for batch in batches]
        first_of_batch_2 = int(batches[2].indices[0])
    attempts = []

    def fail_once() -> None:
        attempts.append(None)
        if len(attempts) == 1:
            raise OSError("not yet")

    with serial(numbers(At((first_of_batch_2,), fail_once))).loader() as loader:
        got = [content(batch) for _, batch in zip(range(2), loader, strict=False)]
        with pytest.raises(StageError, match=r"stage .*:At, record \d+ \(number \d+\): OSError: not yet"):
            next(iter(loader))
        assert (loader.epoch, loader.step) == (0, 2)
        got += [content(batch) for batch in loader]
    assert got == want


def test_the_indices_belong_to_the_consumer():
    pipeline = serial(numbers(last_batch="wrap"))
    with pipeline.loader() as loader:
        want = [batch.indices.tolist() for batch in loader]
        loader.seek(0)
        got = []
        for batch in loader:
            got.append(batch.indices.tolist())
            batch.indices[...] = 0
    assert got == want


@dataclass(frozen=True)
class Keep:
    """The image as it was, beside a changed one; the old one lies in the new one's row."""

    def output_spec(self, specs: Specs) -> Specs:
        return specs | {"before": specs["image"]}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        assert sample["image"] is sample.rows["image"]
        return sample.replace(before=sample["image"], image=-sample["image"])


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_value_passed_on_by_another_name_is_not_overwritten(executor):
    pipeline = replace(numbers(Keep(), source=Numbers(8)), executor=executor)
    with pipeline.loader() as loader:
        batch = next(iter(loader))
        assert batch["before"].any()
        np.testing.assert_array_equal(batch["before"], -batch["image"])
