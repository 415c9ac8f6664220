import math

import pytest

from flowdist.schedule import Schedule

TRIAL = range(2, 22)


def after_trial(overlapping, later, start=0, schedule=None):
    """Whether buckets travel early once a trial of these seconds (of each kind, by turns) has ended."""
    schedule = schedule or Schedule()
    seconds = {True: list(overlapping), False: list(later)}
    for number in TRIAL:
        schedule.note(start + number, seconds[schedule.overlaps(start + number)].pop(0))
    assert seconds == {True: [], False: []}
    return schedule.overlaps(start + 22)


def test_buckets_travel_early_until_a_trial_says_otherwise():
    schedule = Schedule()
    assert [schedule.overlaps(number) for number in (0, 1, 22, 999, 1001, 1022)] == [True] * 6
    assert [schedule.overlaps(number) for number in TRIAL] == [True, False] * 10


@pytest.mark.parametrize(
    ("overlapping", "later", "expected"),
    [
        ([1.0] * 10, [0.9] * 10, False),
        ([0.9] * 10, [1.0] * 10, True),
        ([1.0] * 10, [1.0] * 10, True),
        ([1, 1, 9, 9, 1, 1, 9, 1, 9, 1], [2] * 10, True),  # a few slow rounds do not count
        ([2] * 10, [1, 9, 1, 1, 9, 1, 9, 9, 1, 1], False),
        ([2, math.nan] * 5, [1, 1, math.nan, 1, 1] * 2, False),
        ([math.nan] * 10, [1] * 10, True),  # nothing to compare with
    ],
)
def test_the_kind_with_the_smaller_median_is_kept(overlapping, later, expected):
    assert after_trial(overlapping, later) is expected


def test_rounds_outside_of_a_trial_do_not_count():
    schedule = Schedule()
    for number in (0, 1, 22, 500, -1):
        schedule.note(number, 0.0)
    assert after_trial([1.0] * 10, [0.9] * 10, schedule=schedule) is False
    assert not schedule.overlaps(999)


def test_a_later_trial_may_change_the_answer():
    schedule = Schedule()
    assert after_trial([1.0] * 10, [0.9] * 10, schedule=schedule) is False
    assert [schedule.overlaps(number) for number in (1000, 1001)] == [False] * 2
    assert after_trial([0.5] * 10, [0.9] * 10, start=1000, schedule=schedule) is True
