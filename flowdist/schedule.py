"""When buckets travel: while backward computes, or after it. Whichever takes less time here, which is measured.

Over a slow link, or beside idle processors, what travels while backward computes costs nothing. Where all processors
compute and the link is memory nothing can be gained, and something is lost: the thread that moves data interrupts the
one that computes dozens of times per backward, and takes the cache from it.
"""

from __future__ import annotations

import math
from statistics import median

# Rounds from one trial to the next: what else runs on the machine changes.
_PERIOD = 1000
# The first rounds of a process are no measure: kernels are chosen, memory is mapped.
_FIRST = 2
# Rounds of a trial, by turns of both kinds.
_TRIALS = 20


class Schedule:
    """Says for each round whether its buckets travel while backward computes; they do until a trial says otherwise.

    Rounds count from 0. All ranks note the same seconds, so they come to the same answer.

    >>> schedule = Schedule()
    >>> for number in range(22):
    ...     schedule.note(number, 1.0 if schedule.overlaps(number) else 0.9)
    >>> schedule.overlaps(22)
    False
    """

    def __init__(self) -> None:
        self._overlaps = True
        self._seconds: dict[bool, list[float]] = {True: [], False: []}

    def overlaps(self, number: int) -> bool:
        """Whether the buckets of this round travel while backward computes."""
        position = number % _PERIOD - _FIRST
        return position % 2 == 0 if 0 <= position < _TRIALS else self._overlaps

    def note(self, number: int, seconds: float) -> None:
        """Take note of how long this round took, on all ranks together; nan where some rank does not know."""
        position = number % _PERIOD - _FIRST
        if not 0 <= position < _TRIALS:
            return
        if not math.isnan(seconds):
            self._seconds[self.overlaps(number)].append(seconds)
        if position == _TRIALS - 1:
            if all(self._seconds.values()):
                self._overlaps = median(self._seconds[True]) <= median(self._seconds[False])
            self._seconds = {True: [], False: []}
