"""When the consumer of a batch need not look at what the workers say."""

from __future__ import annotations

import time

_LONGEST_S = 0.02  # what the consumer may at worst be late


class Naps:
    """Sleep for half of the time that the rest of a batch will take, rather than wake up for each part of it.

    Where all processors work, every time that the consumer wakes up a worker has to stop for it, and finds the caches
    filled with other things.

    Args:
        missing: Parts of the batch that are not done.
    """

    def __init__(self, missing: int) -> None:
        self._missing = missing
        self._since: float | None = None  # when the first of them was done: only then the workers are known to work

    def until_next_look(self, missing: int) -> float:
        """Seconds to sleep, now that so many parts are missing."""
        now = time.monotonic()
        if self._since is None:
            if missing < self._missing:
                self._since, self._missing = now, missing
            return 0.0
        done = self._missing - missing
        return min(_LONGEST_S, 0.5 * missing * (now - self._since) / done) if done > 0 else 0.0
