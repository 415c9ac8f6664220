"""Random values that later stages use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.seeding import sample_rng
from flowdata.stages import stage


@stage("coin_flip")
@dataclass(frozen=True, kw_only=True, slots=True)
class CoinFlip:
    """Draw 1 with a given probability, else 0.

    Args:
        probability: Probability of 1, from 0 to 1.
        output: Name of the result; ``crop_mirror_normalize`` looks for ``mirror``.

    Shape:
        Output: int8 scalar.

    Raises:
        ConfigError: ``probability`` is out of range.

    Reference:
        ``oneflow.nn.CoinFlip``; here each sample has its own stream, so the draw does not depend on the batch.
    """

    probability: float = 0.5
    output: str = "mirror"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"coin_flip: expected probability from 0 to 1, got {self.probability}")

    def output_spec(self, specs: Specs) -> Specs:
        return specs | {self.output: ArraySpec((), np.dtype(np.int8))}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.output: np.array(rng.random() < self.probability, np.int8)})


def coin_flips(seed: int, rank: int, call: int, count: int, probability: float) -> Array:
    """Zeros and ones for the rows of a batch whose samples nobody knows: for the module ``nn.CoinFlip``.

    Args:
        seed: Seed of the sequence of calls.
        rank: Whose; each rank has its own.
        call: Number of the call, from 0.
        count: Numbers to draw.
        probability: Probability of 1.

    Returns:
        int8 array (count,).
    """
    rng = sample_rng(seed, call, rank, "coin_flips")
    return (rng.random(count) < probability).astype(np.int8)
