"""Changes of a whole batch after its samples are finished: what they are, and the registry of those that YAML can name.

They run in the consumer's process, on one shard's part of a global batch, whatever the executor. Their random stream
depends on (seed, epoch, step, name), so every shard draws the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Batch, Specs
from flowdata.stages import STAGES, function_name

_Class = TypeVar("_Class", bound=type)

BATCH_TRANSFORMS: dict[str, type[Any]] = {}


@runtime_checkable
class BatchTransform(Protocol):
    """A change of a batch; ``output_spec`` speaks of one sample, ``__call__`` may write into the arrays.

    The batch that ``__call__`` gets has ``specs``, those that ``output_spec`` got: a part of a batch may be empty.
    """

    def output_spec(self, specs: Specs) -> Specs: ...

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch: ...


def batch_transform(name: str) -> Callable[[_Class], _Class]:
    """Register a class under the name that YAML uses; the name is also its stream of random numbers."""

    def register(cls: _Class) -> _Class:
        if name in BATCH_TRANSFORMS:
            raise ValueError(f"batch transform {name!r} is registered already")
        BATCH_TRANSFORMS[name] = cls
        cls.stage_name = name  # type: ignore[attr-defined]
        return cls

    return register


@dataclass(frozen=True, slots=True, repr=False)
class BatchFunction:
    """A plain callable as a batch transform; it must keep names, shapes and dtypes."""

    function: Callable[[Batch, np.random.Generator], Batch]
    stage_name: ClassVar[str] = "batch_function"

    def output_spec(self, specs: Specs) -> Specs:
        """The specs unchanged."""
        return specs

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        return self.function(batch, rng)

    def __repr__(self) -> str:
        return function_name(self.function)


def as_batch_transform(value: BatchTransform | Callable[[Batch, np.random.Generator], Batch]) -> BatchTransform:
    """``value`` itself if it is a batch transform, else wrapped as one.

    Raises:
        ConfigError: ``value`` is not callable, or a stage, which takes single samples.
    """
    if type(value) in STAGES.values():
        raise ConfigError(f"pipeline: {value!r} changes single samples and belongs into stages")
    if isinstance(value, BatchTransform):
        return value
    if not callable(value):
        raise ConfigError(f"pipeline: expected a batch transform or a callable (batch, rng) -> batch, got {value!r}")
    return BatchFunction(value)
