"""The small values everything is made of: splits, random streams, samples, stages, public names."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import flowdata
from flowdata.errors import ConfigError
from flowdata.sample import ArraySpec
from flowdata.seeding import epoch_rng, sample_rng
from flowdata.sharding import ShardSpec, split_range, split_sizes
from flowdata.stages import FunctionStage, as_stage, describe, shown_names, stage, stage_names
from flowdata.stages.draw import CoinFlip
from tests.helpers.records import sample_of


@pytest.mark.parametrize(("size", "count", "sizes"), [
    (10, 4, [3, 3, 2, 2]), (20, 6, [4, 4, 3, 3, 3, 3]), (6, 4, [2, 2, 1, 1]), (2, 3, [1, 1, 0]), (0, 2, [0, 0]),
])  # fmt: skip
def test_balanced_split(size, count, sizes):
    assert split_sizes(size, count) == sizes
    ranges = [split_range(size, count, part) for part in range(count)]
    assert [len(each) for each in ranges] == sizes
    assert [item for each in ranges for item in each] == list(range(size))


def test_parts_of_the_specification():
    assert [(r.start, r.stop) for r in (split_range(10, 4, k) for k in range(4))] == [(0, 3), (3, 6), (6, 8), (8, 10)]


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_is_one_of_the_shards(index, count):
    with pytest.raises(ValueError, match="expected 0 <= index < count"):
        ShardSpec(index, count)


def test_random_streams_differ_in_every_argument_and_repeat():
    arguments = [(seed, epoch, index, name) for seed in (0, 1, 2**63) for epoch in (0, 1) for index in (0, 1, 2**40)
                 for name in ("a", "b")]  # fmt: skip
    draws = {each: tuple(sample_rng(*each).integers(0, 2**63, 4).tolist()) for each in arguments}
    assert len(set(draws.values())) == len(arguments)
    assert all(tuple(sample_rng(*each).integers(0, 2**63, 4).tolist()) == draws[each] for each in arguments)


def test_streams_of_whole_epochs_are_exact_in_large_words():
    """The counter holds 2**64 - 1; neighbouring epochs must not be rounded into each other."""
    found = {tuple(epoch_rng(0, epoch, "order").integers(0, 2**63, 2).tolist()) for epoch in range(2**40, 2**40 + 50)}
    assert len(found) == 50


def test_the_streams_are_pinned():
    """A change here changes every augmentation of every training run: resumed runs would no longer be exact."""
    assert sample_rng(1, 2, 3, "coin_flip").bit_generator.random_raw(2).tolist() == [
        6738488874343501974,
        16429916939638881030,
    ]
    assert epoch_rng(1, 2, "order").bit_generator.random_raw(2).tolist() == [9527165277734675688, 7685401925019196035]


def test_a_destination_is_the_row_only_if_it_fits_and_is_not_read():
    row = np.zeros((2, 3), np.float32)
    sample = sample_of(other=np.ones(3))
    sample.rows = {"image": row}
    assert sample.destination("image", (2, 3), np.float32) is row
    for name, shape, dtype in [("image", (3, 2), "f4"), ("image", (2, 3), "f8"), ("mask", (2, 3), "f4")]:
        found = sample.destination(name, shape, dtype)
        assert found is not row
        assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    busy = sample.replace(view=row[:, 1:])
    assert not np.may_share_memory(busy.destination("image", (2, 3), np.float32), row)


def test_specs_know_their_size():
    assert ArraySpec((2, 3), np.dtype(np.float32)).nbytes == 24
    assert ArraySpec((), np.dtype(np.int64)).nbytes == 8
    assert not ArraySpec((None, 3), np.dtype(np.uint8)).fixed


def test_a_stage_name_is_registered_once():
    with pytest.raises(ValueError, match="'coin_flip' is registered already, by CoinFlip"):
        stage("coin_flip")(type("Other", (), {}))


def test_stage_names_are_distinct():
    flip = CoinFlip()
    assert stage_names((flip, as_stage(lambda s, r: s), flip, flip)) == (
        "coin_flip", "function", "coin_flip#2", "coin_flip#3",
    )  # fmt: skip


def keep(sample, rng):
    return sample


class Keep:
    def __call__(self, sample, rng):
        return sample


def test_plain_callables_are_shown_under_their_own_names():
    stages = tuple(map(as_stage, (CoinFlip(), keep, Keep(), keep, partial(keep, rng=None), CoinFlip())))
    assert shown_names(stages) == (
        "coin_flip", f"{__name__}:keep", f"{__name__}:Keep", f"{__name__}:keep#2", f"{__name__}:keep(){{'rng': None}}",
        "coin_flip#2",
    )  # fmt: skip
    assert stage_names(stages)[1:5] == ("function", "function#2", "function#3", "function#4")  # the random streams


def test_callables_become_stages_and_other_things_do_not():
    def double(sample, rng):
        return sample.replace(x=sample["x"] * 2)

    wrapped = as_stage(double)
    assert isinstance(wrapped, FunctionStage)
    assert wrapped(sample_of(x=3), np.random.default_rng(0))["x"] == 6
    assert describe(wrapped).endswith("double")
    assert as_stage(wrapped) is wrapped
    with pytest.raises(ConfigError, match="expected a stage or a callable"):
        as_stage(3)


def test_every_public_name_resolves():
    assert set(flowdata.__all__) == set(flowdata._HOME)
    for name in flowdata.__all__:
        assert getattr(flowdata, name).__name__ == name
    assert set(flowdata.__all__) <= set(dir(flowdata))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = flowdata.Nonsense


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, flowdata; print([m for m in ('numpy', 'cv2', 'pydantic', 'yaml', 'google') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
