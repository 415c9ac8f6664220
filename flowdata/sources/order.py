"""In which order an epoch visits the records: pure functions of seed, epoch and length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowdata.errors import ConfigError
from flowdata.seeding import epoch_rng

Indices = NDArray[np.int64]


class Order(Protocol):
    """A permutation of ``range(length)`` for each epoch."""

    def permutation(self, seed: int, epoch: int, length: int) -> Indices: ...


@dataclass(frozen=True, slots=True)
class Sequential:
    """Records as they lie on disk, in every epoch."""

    def permutation(self, seed: int, epoch: int, length: int) -> Indices:
        """``0, 1, 2, …``."""
        return np.arange(length, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A fresh uniform permutation for each epoch."""

    def permutation(self, seed: int, epoch: int, length: int) -> Indices:
        """A permutation that depends on seed, epoch and length alone."""
        return epoch_rng(seed, epoch, "order").permutation(length).astype(np.int64, copy=False)


@dataclass(frozen=True, slots=True)
class Buffered:
    """The order in which a shuffle buffer lets records out: nearly sequential reads from slow disks.

    The buffer is filled and drained within the epoch, so each epoch is a permutation; OneFlow's buffer is never
    drained and lets records cross into the next epoch.

    Args:
        size: Records held in the buffer.
    """

    size: int = 1024

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"order buffered: expected size >= 1, got {self.size}")

    def permutation(self, seed: int, epoch: int, length: int) -> Indices:
        """Each output is drawn from the buffer, whose slot then takes the next record."""
        size = min(self.size, length)
        rng = epoch_rng(seed, epoch, "order")
        buffer = list(range(size))
        slots = rng.integers(0, max(size, 1), size=length - size)
        order = np.empty(length, np.int64)
        for position, slot in enumerate(slots.tolist()):
            order[position] = buffer[slot]
            buffer[slot] = size + position
        order[length - size :] = rng.permutation(np.array(buffer, np.int64))
        return order


def order_from(value: Any) -> Order:
    """The order that YAML names: ``sequential``, ``shuffled`` or ``{buffered: SIZE}``.

    Raises:
        ConfigError: anything else.
    """
    if value == "sequential":
        return Sequential()
    if value == "shuffled":
        return Shuffled()
    if isinstance(value, dict) and set(value) == {"buffered"} and type(value["buffered"]) is int:
        return Buffered(value["buffered"])
    raise ConfigError(f"order: expected sequential, shuffled or {{buffered: SIZE}}, got {value!r}")
