"""Random streams that depend on the sample, never on who computes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Never, cast
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
    counter = np.array([0, _number(stage), epoch & _WORD, index & _WORD], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed & _WORD, counter=counter))


@cache
def _number(stage: str) -> int:
    return crc32(stage.encode())


class _Reused:
    """One generator that becomes one stream after the other, which costs a tenth of a new one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state  # as nothing was drawn; setting it copies it
        words: Any = self._state["state"]
        self._counter, self._key = memoryview(words["counter"]), memoryview(words["key"])

    def become(self, seed: int, epoch: int, index: int, stage: str) -> np.random.Generator:
        counter = self._counter  # of the state; its first word stays 0
        counter[1], counter[2], counter[3] = _number(stage), epoch & _WORD, index & _WORD
        self._key[0] = seed & _WORD
        self._bits.state = self._state
        return self._generator


class _Idle(threading.local):
    def __init__(self) -> None:
        self.generators: list[_Reused] = []


_idle = _Idle()


class _Streams:
    __slots__ = ("_reused",)

    def __enter__(self) -> Callable[[int, int, int, str], np.random.Generator]:
        self._reused = _idle.generators.pop() if _idle.generators else _Reused()
        return self._reused.become

    def __exit__(self, *error: object) -> None:
        _idle.generators.append(self._reused)


def streams() -> _Streams:
    """`sample_rng` for a ``with`` block that draws from one stream after the other: each ends when the next begins."""
    return _Streams()


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
