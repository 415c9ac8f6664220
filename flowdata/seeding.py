"""Random streams that depend on the sample, never on who computes it."""

from __future__ import annotations

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
