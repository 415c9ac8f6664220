"""What a pipeline reads from."""

from __future__ import annotations

from typing import Protocol

from flowdata.sample import Sample, SampleKey, Specs


class Source(Protocol):
    """A numbered set of records.

    ``open`` loads what reading needs (file index, sizes) and raises early; it is called once before workers are
    forked, so that they share it, and calling it again does nothing. ``read`` may then be called from any thread and
    any forked process. A source travels to other processes by pickle, without what ``open`` made.
    """

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __len__(self) -> int: ...

    def output_spec(self) -> Specs: ...

    def read(self, key: SampleKey) -> Sample: ...

    def fingerprint(self) -> str:
        """Short digest of what the data set is: the same on every host that has the same files."""
        ...
