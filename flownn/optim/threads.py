"""Threads that do a list of independent things together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from flownn.kernels.threads import get_num_threads

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["for_each"]

_Item = TypeVar("_Item")

# Each thread gets so many things at least; fewer are not worth waking it.
_FEWEST = 4


class _Helpers:
    """The threads beside the calling one, started when they are first needed."""

    def __init__(self) -> None:
        self.count = 0
        self.pool: ThreadPoolExecutor | None = None

    def of(self, count: int) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # not at the top: it is slow to import

        if self.pool is None or self.count != count:
            if self.pool is not None:
                self.pool.shutdown(wait=False)
            self.pool, self.count = ThreadPoolExecutor(count, "flownn-optim"), count
        return self.pool

    def forget(self) -> None:
        self.pool = None


_helpers = _Helpers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.forget)  # the child has none of the threads


def for_each(function: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    """Call ``function`` with each item, in as many threads as compute (`flownn.get_num_threads`).

    It pays where the function spends its time in NumPy, which lets other threads run meanwhile.

    Raises:
        Exception: the first that the function raised, after all threads have ended.
    """
    threads = min(get_num_threads(), len(items) // _FEWEST)
    if threads < 2:
        _call_with_all(function, items)
        return
    shares = [items[start::threads] for start in range(threads)]
    pool = _helpers.of(threads - 1)
    # Each in a copy of the context, where NumPy keeps what it does about overflow.
    others = [pool.submit(copy_context().run, _call_with_all, function, share) for share in shares[1:]]
    try:
        _call_with_all(function, shares[0])
    finally:
        for each in others:
            each.exception()  # wait
    for each in others:
        each.result()


def _call_with_all(function: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    for each in items:
        function(each)
