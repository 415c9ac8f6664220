"""What reference counts say of an array, on every version of Python."""

from sys import getrefcount
from typing import Any

import numpy as np
import pytest

from flownn.holders import ONE_CELL, ONE_LOCAL, shows_alone


def test_one_holder_is_told_from_two() -> None:
    array = np.zeros(3)
    alone = getrefcount(array)
    other = array
    assert (alone, getrefcount(array)) == (ONE_LOCAL, ONE_LOCAL + 1)
    assert other is array


def test_a_closure_is_one_holder() -> None:
    def closure(array: Any) -> Any:
        return lambda: getrefcount(array)

    array = np.zeros(3)
    alone, shared = closure(np.zeros(3)), closure(array)
    assert (alone(), shared()) == (ONE_CELL, ONE_CELL + 1)


@pytest.mark.parametrize(
    ("make", "alone"),
    [
        (lambda: np.zeros((2, 3)), True),
        (lambda: np.zeros((2, 3)).T, True),
        (lambda: np.zeros(64 + 48, np.uint8)[16:64].view(np.float64), True),  # made to be aligned
        (lambda: np.zeros((2, 3))[:, :2], False),
        (lambda: np.broadcast_to(np.zeros(3), (2, 3)), False),
        (lambda: np.frombuffer(bytes(24)), False),
    ],
)
def test_what_shows_all_of_memory_that_nobody_else_knows(make: Any, alone: bool) -> None:
    assert shows_alone(make()) == alone


def test_memory_with_a_second_view_is_shared() -> None:
    first = np.zeros((2, 3)).T
    second = first[:1]
    assert not shows_alone(first)
    del second
    assert shows_alone(first)
