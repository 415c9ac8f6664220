"""What happens to bad samples: the policy, what is reported of each, and the quarantine file.

A sample is *bad* when its record or an encoded value in it is not what it should be: whoever notices raises
:class:`RecordError`. Any other exception is a mistake in a stage, which no policy hides.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from flowdata.errors import RecordError, StageError
from flowdata.sharding import ShardSpec

OnError = Literal["raise", "skip", "replace"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BadSample:
    """One sample that was left out or replaced.

    Args:
        epoch: Epoch of the sample.
        index: Position of its record in the data set.
        file: Where the record lies.
        offset: Byte in the file at which it starts; None for sources without offsets.
        stage: Name of the stage that refused it, ``read`` for the source.
        error: The message.
        replacement: Index of the record that stands in for it; None where it was left out.
    """

    epoch: int
    index: int
    file: str
    offset: int | None
    stage: str
    error: str
    replacement: int | None


def is_bad(error: BaseException) -> bool:
    """Whether an exception of :meth:`Pipeline.process` says that the sample is bad."""
    return isinstance(error, RecordError) or (
        isinstance(error, StageError) and isinstance(error.__cause__, RecordError)
    )


class Quarantine:
    """Counts bad samples, writes each record down once, and ends the epoch that has too many.

    Args:
        path: JSON-lines file to append to, one object per record with the fields of :class:`BadSample`; with several
            shards ``.rank<index>`` is put before its suffix. None logs a warning instead.
        most: Bad samples that an epoch of this shard may have.
        shard: Which shard this is.
    """

    def __init__(self, path: Path | None, most: int, shard: ShardSpec) -> None:
        if path is not None and shard.count > 1:
            path = path.with_name(f"{path.stem}.rank{shard.index}{path.suffix}")
        self._path, self._most = path, most
        self._file: IO[str] | None = None
        self._seen: set[int] = set()
        self._epoch, self._count = -1, 0

    def add(self, bad: Sequence[BadSample]) -> None:
        """Take note of a batch's bad samples.

        Raises:
            RecordError: there are more in this epoch than it may have.
        """
        for each in bad:
            if each.epoch != self._epoch:
                self._epoch, self._count = each.epoch, 0
            self._count += 1
            if each.index not in self._seen:
                self._seen.add(each.index)
                self._write(each)
        if bad and self._count > self._most:
            raise RecordError(
                f"quarantine: {self._count} bad samples in epoch {self._epoch} of this shard, more than the "
                f"{self._most} that max_bad_fraction allows; the last one: {bad[-1].file}: {bad[-1].error}"
            )

    def _write(self, bad: BadSample) -> None:
        if self._path is None:
            done = "left out" if bad.replacement is None else f"replaced by record {bad.replacement}"
            _log.warning("record %d %s: stage %s: %s", bad.index, done, bad.stage, bad.error)
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(asdict(bad)) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())  # it is rare, and what is known must not be lost with the job

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def most_bad(fraction: float, samples: int) -> int:
    """Bad samples that ``samples`` may have under ``max_bad_fraction``."""
    return math.ceil(fraction * samples)
