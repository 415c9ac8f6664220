"""What a pipeline stage is, and the registry of the ones that YAML can name.

A stage is a frozen dataclass with ``output_spec`` and ``__call__``. It never catches: whatever escapes is wrapped by
the pipeline, which knows the record and the stage's position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from flowdata.errors import ConfigError
from flowdata.sample import Sample, Specs

StageFunction = Callable[[Sample, np.random.Generator], Sample]
_Class = TypeVar("_Class", bound=type)

STAGES: dict[str, type[Any]] = {}


@runtime_checkable
class Stage(Protocol):
    """One step from sample to sample.

    ``output_spec`` says before anything runs what the stage makes of its input, and raises :class:`ConfigError` where
    the input does not fit. ``__call__`` returns a changed copy of the sample, drawing only from ``rng``, which is the
    stage's own until it returns. A class that sets ``draws = False`` says that it draws nothing; it is then given no
    stream, which takes time to make. A class may have a method ``narrowed(following)``, which gives the stage to run in
    its place where others follow, see `flowdata.stages.narrow`.
    """

    def output_spec(self, specs: Specs) -> Specs: ...

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


def stage(name: str) -> Callable[[_Class], _Class]:
    """Register a stage class under the name that YAML uses; the name is also its stream of random numbers."""

    def register(cls: _Class) -> _Class:
        if name in STAGES:
            raise ValueError(f"stage {name!r} is registered already, by {STAGES[name].__qualname__}")
        STAGES[name] = cls
        cls.stage_name = name  # type: ignore[attr-defined]
        return cls

    return register


@dataclass(frozen=True, slots=True, repr=False)
class FunctionStage:
    """A plain callable as a stage; it must keep the names, shapes and dtypes that it is given."""

    function: StageFunction
    stage_name: ClassVar[str] = "function"

    def output_spec(self, specs: Specs) -> Specs:
        """The specs unchanged."""
        return specs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.function(sample, rng)

    def __repr__(self) -> str:
        return function_name(self.function)


@dataclass(frozen=True, slots=True)
class Cut:
    """Between two stages: those that follow are a group of their own, with their own workers.

    Args:
        workers: Worker processes of the group, or ``auto``, as for the pipeline.

    Raises:
        ConfigError: ``workers`` is neither a positive integer nor ``auto``.
    """

    workers: int | Literal["auto"] = 1

    def __post_init__(self) -> None:
        if self.workers != "auto" and (type(self.workers) is not int or self.workers < 1):
            raise ConfigError(f"cut: expected workers to be an integer >= 1 or auto, got {self.workers!r}")


def as_stage(value: Stage | StageFunction) -> Stage:
    """``value`` itself if it is a stage, else wrapped as one.

    Raises:
        ConfigError: ``value`` is not callable.
    """
    if isinstance(value, Stage):
        return value
    if not callable(value):
        raise ConfigError(f"pipeline: expected a stage or a callable (sample, rng) -> sample, got {value!r}")
    return FunctionStage(value)


def narrowed(stage: Stage, following: Sequence[Stage]) -> Stage:
    """The stage to run where these follow directly: it makes what they need of its result (docs/adr/0021)."""
    return stage.narrowed(following) if hasattr(stage, "narrowed") else stage


def stage_name(stage: object) -> str:
    """The registered name, or that of the class."""
    return getattr(stage, "stage_name", type(stage).__name__)


def stage_names(stages: tuple[object, ...]) -> tuple[str, ...]:
    """A distinct name per stage: the registered one, with ``#2``, ``#3`` … where it repeats."""
    return _distinct(map(stage_name, stages))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(found)


def shown_names(stages: tuple[object, ...]) -> tuple[str, ...]:
    """The names for people: as :func:`stage_names`, but a plain callable has the name that it has where it is defined.

    Its stream of random numbers keeps the other name: a function that moves to another module changes no bytes.
    """
    return _distinct(str(each) if isinstance(each, FunctionStage) else stage_name(each) for each in stages)


def describe(stage: object) -> str:
    """What the stage does, in words that are equal in every process: its class and fields, or a function's name."""
    return repr(stage) if is_dataclass(stage) else f"{type(stage).__module__}:{type(stage).__qualname__}"


def function_name(function: Callable[..., Any]) -> str:
    """``module:name`` of a function, or of the class of another callable."""
    if isinstance(function, partial):
        return f"{function_name(function.func)}{function.args}{function.keywords}"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}:{name}"
