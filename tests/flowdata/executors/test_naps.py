"""Sleeping while a batch is made: for half of what is left, never long, and not before anything is known."""

import pytest

from flowdata.executors import naps


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(naps, "time", clock)
    return clock


def test_the_nap_is_half_of_what_the_rest_will_take(clock):
    each = naps.Naps(16)
    clock.now += 50
    assert each.until_next_look(16) == 0  # nothing was done yet, perhaps because the workers have only started
    assert each.until_next_look(15) == 0
    clock.now += 0.002
    assert each.until_next_look(14) == pytest.approx(0.5 * 14 * 0.002)
    clock.now += 0.004
    assert each.until_next_look(9) == pytest.approx(0.5 * 9 * 0.001)
    assert each.until_next_look(0) == 0


def test_no_nap_is_long(clock):
    each = naps.Naps(3)
    each.until_next_look(2)
    assert each.until_next_look(2) == 0
    clock.now += 60
    assert each.until_next_look(1) == 0.02
