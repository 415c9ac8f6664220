"""Orders are permutations that depend on seed, epoch and length alone."""

import numpy as np
import pytest

from flowdata.errors import ConfigError
from flowdata.sources.order import Buffered, Sequential, Shuffled, order_from

ORDERS = [Sequential(), Shuffled(), Buffered(1), Buffered(7), Buffered(1000)]


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 100])
def test_every_epoch_is_a_permutation(order, length):
    for epoch in range(3):
        found = order.permutation(5, epoch, length)
        assert found.dtype == np.int64
        assert sorted(found.tolist()) == list(range(length))


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_same_arguments_give_the_same_order(order):
    np.testing.assert_array_equal(order.permutation(5, 2, 100), order.permutation(5, 2, 100))


@pytest.mark.parametrize("order", [Shuffled(), Buffered(50)], ids=str)
def test_seed_and_epoch_change_a_random_order(order):
    orders = {tuple(order.permutation(seed, epoch, 100).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_sequential_is_disk_order():
    assert Sequential().permutation(1, 1, 4).tolist() == [0, 1, 2, 3]


def test_shuffled_is_uniform():
    firsts = np.bincount([Shuffled().permutation(0, epoch, 5)[0] for epoch in range(2000)], minlength=5)
    assert ((firsts - 400) ** 2 / 400).sum() < 18.5  # chi-square, 4 degrees of freedom, p = 0.001


def test_a_buffer_lets_no_record_out_early():
    """Record i enters the buffer as output i - size + 1 is drawn at the earliest."""
    size = 10
    found = Buffered(size).permutation(3, 0, 200)
    assert all(index <= position + size for position, index in enumerate(found.tolist()))
    assert not (found == np.arange(200)).all()


def test_a_buffer_of_one_record_keeps_the_order():
    assert Buffered(1).permutation(0, 0, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("value", "expected"), [
    ("sequential", Sequential()), ("shuffled", Shuffled()), ({"buffered": 3}, Buffered(3)),
])  # fmt: skip
def test_the_names_that_yaml_uses(value, expected):
    assert order_from(value) == expected


@pytest.mark.parametrize("value", ["random", None, 3, {"buffered": "x"}, {"buffered": True}, {"buffered": 1, "b": 2}])
def test_other_names_are_errors(value):
    with pytest.raises(ConfigError, match="expected sequential, shuffled or"):
        order_from(value)


def test_an_empty_buffer_is_an_error():
    with pytest.raises(ConfigError, match="size >= 1, got 0"):
        order_from({"buffered": 0})
