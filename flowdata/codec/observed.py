"""Which calls the decoder makes of the image libraries, for those who want to make the very same ones again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from flowdata.codec.exif import Window


class LibraryCall(NamedTuple):
    """A call that the decoder makes: of which library, with which bytes, and for which window, None for all of them."""

    library: str  # as in `PROVIDERS`
    data: bytes
    window: Window | None


_calls: ContextVar[list[LibraryCall] | None] = ContextVar("calls of the image libraries", default=None)


@contextmanager
def observed() -> Iterator[list[LibraryCall]]:
    """The calls made within the block, in its thread alone, in a list that grows with each."""
    calls: list[LibraryCall] = []
    before = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(before)


def calling(library: str, data: bytes | bytearray, window: Window | None = None) -> None:
    """The decoder says which call it is about to make."""
    if (calls := _calls.get()) is not None:
        calls.append(LibraryCall(library, bytes(data), window))
