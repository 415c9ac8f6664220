"""Before workers start: how many there are, and whether their memory is there. Later: how many are needed."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from flowdata.errors import ConfigError
from flowdata.executors.slots import SlotLayout
from flowdata.resources import cpus_of_this_rank, free_memory

if TYPE_CHECKING:
    from flowdata.pipeline import Pipeline

WORKER_BYTES = 48 << 20  # of its own, beside what it shares: the interpreter's pages that change, an image or two
_STARVED = 0.05  # part of the time that a consumer may wait without being short of workers
_SPARE = 1.25
_log = logging.getLogger(__name__)


def most_workers(pipeline: Pipeline) -> list[int]:
    """Workers that each group begins with: the given number, or for ``auto`` this rank's part of the processors."""
    return [cpus_of_this_rank() if each.workers == "auto" else each.workers for each in pipeline.groups]


def most_threads(pipeline: Pipeline) -> int:
    """Threads, which are in no groups: as many as all have together, but for ``auto`` no more than processors."""
    automatic = any(each.workers == "auto" for each in pipeline.groups)
    return cpus_of_this_rank() if automatic else sum(most_workers(pipeline))


def check_memory(pipeline: Pipeline, layout: SlotLayout) -> None:
    """Say what worker processes will need, before any of it is taken.

    Raises:
        ConfigError: there is not that much; says how much there is and which keys to lower.
    """
    between, unknown = _between_groups(pipeline, layout)
    needed, free = layout.nbytes + layout.workers * WORKER_BYTES + between, free_memory()
    waiting = f", {_mib(between)} for samples between groups" if layout.drawers else ""
    text = (
        f"process executor: {layout.slots} batches of {_mib(layout.slot_bytes)} (prefetch_batches: "
        f"{pipeline.prefetch_batches}, and two for the consumer){waiting} and {layout.workers} workers of about "
        f"{_mib(WORKER_BYTES)} need {_mib(needed)}"
        + (f" and room for {unknown}" if unknown else "")
        + f"; {_mib(free) if free < math.inf else 'an unknown amount'} is free"
    )
    if needed > free:
        lower = "prefetch_batches, samples_per_message" if layout.drawers else "prefetch_batches"
        raise ConfigError(f"{text}; lower {lower} or batch_size ({pipeline.batch_size}), or workers")
    _log.info("%s", text)


def _between_groups(pipeline: Pipeline, layout: SlotLayout) -> tuple[int, str]:
    """Bytes that samples on their way from group to group take at most, and what they hold of unknown size."""
    known, unknown = 0, []
    chunk = min(pipeline.samples_per_message, layout.rows)
    for drawers, specs in zip(layout.drawers, pipeline.specs_at_cuts(), strict=True):
        fixed = {name for name, spec in specs.items() if spec.fixed and not spec.dtype.hasobject}
        known += drawers * chunk * sum(specs[name].nbytes for name in fixed)
        if others := [name for name in specs if name not in fixed]:
            unknown.append(f"{drawers * chunk} times {', '.join(others)}")
    return known, " and ".join(unknown)


def _mib(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


class Settling:
    """How many workers ``auto`` means: at most ``most``, fewer when the consumer is slower than they are.

    It begins with all, drops what is not needed, and takes all again, for good, when the consumer then has to wait.
    """

    def __init__(self, most: int) -> None:
        self.most = self.count = most
        self._dropping = True

    def observe(self, seconds: float, busy_seconds: float, wait_seconds: float) -> int:
        """The number after a while in which the workers were busy and the consumer waited for so long."""
        if wait_seconds > _STARVED * seconds:
            self._dropping = False
            self.count = self.most
        elif self._dropping:
            needed = max(1, math.ceil(_SPARE * busy_seconds / seconds))
            self._dropping = needed < self.count
            self.count = min(needed, self.count)
        return self.count
