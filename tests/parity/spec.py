"""What a row of the parity table says, the cases made from it, and what rows share."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np

from tests.parity.exceptions import DIFFERENCES, difference
from tests.parity.pairs import Choice, covering, values_at

API = Path(__file__).resolve().parents[1] / "api"
DOCUMENTED = {full.split(".")[-1]: row for full, row in json.loads((API / "documented.json").read_text()).items()}
IMPLEMENTED = (API / "implemented.txt").read_text().split()

TARGET = 45  # cases per name, unless its pairs need more or there are fewer combinations
MOST = 60

# Every row has these factors besides its arguments.
PRECISIONS = ("float32", "float64")
WITH_INTEGERS = (*PRECISIONS, "int64")
WITH_MIXED = (*PRECISIONS, "mixed")  # a float64 input for float32 parameters
LAYOUTS = ("contiguous", "strided", "channels_last")
MODES = (True, False)

Values = Any  # the values of a case as attributes: c.kernel_size, c.shape, c.precision, c.training ...


@dataclass(frozen=True)
class Array:
    """An argument that is an array: made anew for every case, and handed over as a tensor in the case's precision."""

    label: str
    make: Callable[[np.random.Generator], Any]

    def __str__(self) -> str:
        return self.label

    def tensor(self, lib: Any, precision: str) -> Any:
        array = np.asarray(self.make(np.random.default_rng(crc32(self.label.encode()))))
        return lib.from_numpy(array.astype(precision) if array.dtype.kind == "f" else array)


def normal(*shape: int) -> Array:
    return Array(f"normal{list(shape)}", lambda rng: rng.standard_normal(shape))


def positive(*shape: int) -> Array:
    return Array(f"positive{list(shape)}", lambda rng: rng.uniform(0.2, 2, shape))


def one_input(c: Values, rng: np.random.Generator) -> list[Any]:
    """Normal numbers in the case's shape."""
    return [rng.standard_normal(c.shape)]


def none(c: Values) -> Sequence[int]:
    return ()


def accept_all(c: Values) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Row:
    """A documented name and how to compare it with PyTorch.

    ``reference`` builds PyTorch's counterpart as ``build`` builds ours: both take the library (`flownn` or `torch`)
    and a case. ``accepts`` says which combinations PyTorch takes; a test asks PyTorch whether that is true.
    In shapes, -1 stands for the argument that ``channels`` names.
    """

    name: str
    arguments: Mapping[str, Sequence[Any]]
    factors: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    inputs: Callable[[Values, np.random.Generator], list[Any]] = one_input
    build: Callable[[Any, Case], Any]
    reference: Callable[[Any, Case], Any]
    accepts: Callable[[Values], bool] = accept_all
    channels: str = ""
    constants: Callable[[Values], Sequence[int]] = none  # floating point inputs that nevertheless get no gradient
    speakers: Sequence[str] = ()  # other names that may stand in the messages of refusals
    steps: int = 1  # how often to go forward and back, for modules that remember
    convert: bool = True  # whether the module is turned to the case's precision after construction
    precisions: Sequence[str] = PRECISIONS

    @cached_property
    def values(self) -> dict[str, Sequence[Any]]:
        """Arguments and factors, each with its values."""
        shared = {"precision": self.precisions, "layout": LAYOUTS, "training": MODES}
        return {**self.arguments, **self.factors, **shared}

    @cached_property
    def cases(self) -> list[Case]:
        sizes = [len(values) for values in self.values.values()]
        musts = [
            lambda choice, each=each: difference(self.name, self.namespace(choice)) is each
            for each in DIFFERENCES
            if self.name in each.names.split()
        ]
        choices = covering(sizes, lambda choice: self.compares(self.namespace(choice)), TARGET, self.name, musts)
        return [Case(self, number, choice) for number, choice in enumerate(choices)]

    def compares(self, c: Values) -> bool:
        """Whether both compute something, and the same."""
        return self.accepts(c) and difference(self.name, c) is None

    def namespace(self, choice: Choice) -> Values:
        found = SimpleNamespace(**values_at(self.values, choice))
        if self.channels:
            found.shape = tuple(getattr(found, self.channels) if size == -1 else size for size in found.shape)
        return found


@dataclass(frozen=True)
class Case:
    """One combination of a row's values."""

    row: Row
    number: int
    choice: Choice

    @cached_property
    def c(self) -> Values:
        return self.row.namespace(self.choice)

    @cached_property
    def accepted(self) -> bool:
        return self.row.accepts(self.c)

    def arguments(self, lib: Any, *without: str) -> dict[str, Any]:
        """The constructor's arguments, arrays as tensors of ``lib``."""
        named = {name: getattr(self.c, name) for name in self.row.arguments if name not in without}
        return {n: v.tensor(lib, self.c.precision) if isinstance(v, Array) else v for n, v in named.items()}

    def rng(self, purpose: str = "inputs") -> np.random.Generator:
        return np.random.default_rng(crc32(f"{self.row.name} {self.number} {purpose}".encode()))

    def __str__(self) -> str:
        """Name and number, then whatever is not the first value: fit for ``-k``."""
        parts = [f"{self.row.name}-{self.number:02d}"]
        for (name, values), index in zip(self.row.values.items(), self.choice, strict=True):
            if index:
                text = "".join(ch if ch.isalnum() or ch in ".+-" else "_" for ch in str(values[index]).replace(" ", ""))
                parts.append(f"{name}.{text.strip('_')}")
        return "-".join(parts)


# ---------------------------------------------------------------- building


def by_name(lib: Any, case: Case) -> Any:
    """The class of the row's name, with the case's arguments."""
    return getattr(lib.nn, case.row.name)(**case.arguments(lib))


def without_unknown(lib: Any, case: Case) -> Any:
    """The same in PyTorch, whose class may lack an argument that only asks for another way to the same result."""
    cls = getattr(lib.nn, case.row.name)
    known = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in case.arguments(lib).items() if name in known})


def row(name: str, arguments: Mapping[str, Sequence[Any]], **others: Any) -> Row:
    """A row that calls the classes of its name unless told otherwise."""
    return Row(name=name, arguments=arguments, **{"build": by_name, "reference": by_name, **others})
