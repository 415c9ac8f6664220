"""Who holds an array: whether its memory may be used for something else.

Reference counts say it. What they are for an array with one holder depends on the version of Python, and is measured.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from flownn import backend

__all__ = ["ONE_CELL", "ONE_LOCAL", "shows_alone"]

_SPARE_BYTES = (0, 64)  # what an owner has beside its only view: a cache line if it was made to be aligned


def _one_local() -> int:
    array = np.empty(0)
    return getrefcount(array)


def _one_cell() -> int:
    array = np.empty(0)

    def inside() -> int:
        return getrefcount(array)

    return inside()


def _one_view() -> int:
    array = np.empty(0).reshape(0, 1)
    return getrefcount(array.base)


ONE_LOCAL = _one_local()  # what `getrefcount` says of an array that one local variable holds
ONE_CELL = _one_cell()  # and of one that a closure holds, called there
_ONE_VIEW = _one_view()  # and of the base of one view


def shows_alone(array: Any) -> bool:
    """Whether the memory of an array, one with a single holder, is known to nobody else.

    It is where the array owns it, or is the only view of an owner and shows all of it, in whatever order.
    """
    if array.base is None:
        return True
    owner = array.base
    if not (isinstance(owner, np.ndarray) and owner.base is None and owner.nbytes - array.nbytes in _SPARE_BYTES):
        return False
    del owner
    return getrefcount(array.base) == _ONE_VIEW and backend.dense_order(array) is not None
