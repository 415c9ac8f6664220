"""Random streams that depend on the sample, never on who computes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Never, cast
from zlib import crc32

import numpy as np

_WORD = (1 << 64) - 1


def sample_rng(seed: int, epoch: int, index: int, stage: str) -> np.random.Generator:
    """The random stream of one stage for one sample: the same for any worker count, batch size, rank or restart.

    Philox is counter-based: the key is the seed, and stage, epoch and index select a block of the counter, so
    two streams never overlap.

    Args:
        seed: Seed of the pipeline, 0 or more.
        epoch: Epoch number, from 0.
        index: Position of the sample in the data set.
        stage: Name of the stage within its pipeline.
    """
    # An array: of a list, NumPy would make float64 as soon as one word passes 2**63.
    counter = np.array([0, crc32(stage.encode()), epoch & _WORD, index & _WORD], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed & _WORD, counter=counter))


class _Reused:
    """One generator that becomes one stream after the other, which costs a tenth of a new one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state  # as nothing was drawn; setting it copies it
        self._counter, self._key = self._state["state"]["counter"], self._state["state"]["key"]

    def become(self, seed: int, epoch: int, index: int, stage: str) -> np.random.Generator:
        self._counter[:] = 0, crc32(stage.encode()), epoch & _WORD, index & _WORD
        self._key[0] = seed & _WORD
        self._bits.state = self._state
        return self._generator


class _Idle(threading.local):
    def __init__(self) -> None:
        self.generators: list[_Reused] = []


_idle = _Idle()


@contextmanager
def streams() -> Iterator[Callable[[int, int, int, str], np.random.Generator]]:
    """`sample_rng` for a block that draws from one stream after the other: each ends when the next one begins."""
    reused = _idle.generators.pop() if _idle.generators else _Reused()
    try:
        yield reused.become
    finally:
        _idle.generators.append(reused)


def epoch_rng(seed: int, epoch: int, purpose: str) -> np.random.Generator:
    """The random stream for a decision about a whole epoch, such as its order."""
    return sample_rng(seed, epoch, _WORD, purpose)


class _NoStream:
    """Stands in for the random stream of a stage that says it draws nothing."""

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):  # Python looking for a protocol; no stage draws that way
            raise AttributeError(name)
        raise RuntimeError(f"rng.{name}: the stage says draws = False, so it was given no random stream")


NO_STREAM = cast(np.random.Generator, _NoStream())
