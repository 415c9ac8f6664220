"""A data set in Python as a source: a function of the sample's number, or a sequence of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs
from flowdata.sources.base import Source
from flowdata.stages import function_name

_SOURCE_METHODS = ("open", "close", "output_spec", "read", "fingerprint", "__len__")


class FunctionSource:
    """Samples that a function makes of their number.

    Args:
        function: ``function(index)`` gives a mapping of names to arrays or numbers, or a tuple of them. It runs in the
            workers, so it must not depend on what it was asked before; other values, such as bytes, are for stages.
        length: Number of samples; indices are 0 to ``length - 1``.
        names: Names of the members of a tuple, such as ``("image", "label")``.
        specs: Name to spec. By default what sample 0 looks like, with all samples of that shape; give it where shapes
            differ, or where stages need a layout.

    Raises:
        ConfigError: ``length`` is negative; or, from ``output_spec``, the function gives neither of the two.
    """

    def __init__(
        self,
        function: Callable[[int], Any],
        length: int,
        *,
        names: Sequence[str] | None = None,
        specs: Mapping[str, ArraySpec] | None = None,
    ) -> None:
        if length < 0:
            raise ConfigError(f"source: expected length >= 0, got {length}")
        self.function = function
        self.length = length
        self.names = None if names is None else tuple(names)
        self._specs = None if specs is None else dict(specs)

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        """Number of samples."""
        return self.length

    def output_spec(self) -> Specs:
        """The specs, or those of sample 0."""
        if self._specs is None:
            if self.length == 0:
                raise ConfigError("source: there is no sample to take the specs from; give specs")
            self._specs = {name: _spec_of(value) for name, value in self._values(0).items()}
        return dict(self._specs)

    def read(self, key: SampleKey) -> Sample:
        """Call the function."""
        values = self._values(key.index)
        if missing := [name for name in self.output_spec() if name not in values]:
            raise RecordError(f"source: sample {key.index} has no {', '.join(missing)}; it has {', '.join(values)}")
        return Sample(key, values, f"{function_name(self.function)}({key.index})")

    def _values(self, index: int) -> dict[str, Any]:
        found = self.function(index)
        if isinstance(found, tuple) and self.names is not None and len(found) == len(self.names):
            found = dict(zip(self.names, found, strict=True))
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"source: expected {function_name(self.function)} to give a mapping of names to arrays, or a tuple "
                f"with names for its members, got {type(found).__name__}"
                + (f" of {len(found)}" if isinstance(found, tuple) else "")
            )
        return {name: np.asarray(value) if _is_array(value) else value for name, value in found.items()}

    def fingerprint(self) -> str:
        """Digest of the function's name, the length and the specs; not of what the function does."""
        content = (function_name(self.function), self.length, self.names, sorted(self.output_spec().items()))
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def as_source(value: Any) -> Source:
    """``value`` itself if it is a source, else a sequence of samples (with length and index) as one.

    Raises:
        ConfigError: it is neither.
    """
    if all(hasattr(value, name) for name in _SOURCE_METHODS):
        source: Source = value
        return source
    if hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return FunctionSource(value.__getitem__, len(value))
    raise ConfigError(
        f"pipeline: expected a source, or a sequence of mappings from names to arrays, got {value!r}; make a source of "
        "a function with FunctionSource(function, length)"
    )


def _is_array(value: Any) -> bool:
    if isinstance(value, (bool, int, float, complex)):
        return True
    return hasattr(value, "__array__") and np.asarray(value).dtype.kind in "biufc"


def _spec_of(value: Any) -> ArraySpec:
    if isinstance(value, np.ndarray):
        return ArraySpec(value.shape, value.dtype)
    return ArraySpec((), np.dtype(object))
