"""CoinFlip: certain at 0 and 1, fair in between, the same for the same stream."""

import numpy as np
import pytest

from flowdata.errors import ConfigError
from flowdata.sample import ArraySpec
from flowdata.seeding import sample_rng
from flowdata.stages.draw import CoinFlip
from tests.helpers.records import sample_of


def flips(count, **arguments):
    stage = CoinFlip(**arguments)
    return [stage(sample_of(), sample_rng(1, 0, index, "coin_flip"))[stage.output] for index in range(count)]


def test_certain_outcomes():
    assert set(map(int, flips(100, probability=0.0))) == {0}
    assert set(map(int, flips(100, probability=1.0))) == {1}


@pytest.mark.parametrize("probability", [0.5, 0.1])
def test_the_share_of_ones(probability):
    found = np.mean(flips(4000, probability=probability))
    assert abs(found - probability) < 4 * np.sqrt(probability * (1 - probability) / 4000)


def test_the_same_stream_gives_the_same_draws():
    np.testing.assert_array_equal(flips(50), flips(50))


def test_the_result_is_an_int8_scalar():
    [flip] = flips(1, output="turn")
    assert (flip.shape, flip.dtype) == ((), np.int8)
    assert CoinFlip(output="turn").output_spec({}) == {"turn": ArraySpec((), np.dtype(np.int8))}


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_an_impossible_probability_is_an_error(probability):
    with pytest.raises(ConfigError, match="coin_flip: expected probability from 0 to 1"):
        CoinFlip(probability=probability)
