"""Which memory was overwritten in place, and when: the check that a backward uses the values its forward saw.

The arrays that an op saved are found through the closure of its vjp, so tensors need no version counters: one clock
ticks at every in-place change, a node knows when it was recorded, a table when which memory was last overwritten.
For a node younger than the last change, the normal case, the check is one comparison.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from flownn import backend
from flownn.errors import GradientError
from flownn.graph import Node

clock = 0  # read by the recorder at every op
_lock = threading.Lock()
_last_change: dict[int, tuple[weakref.ref[Any], int, str]] = {}


def memory_owner(array: Any) -> Any:
    """The array at the end of the chain of bases, the same for all views of one piece of memory."""
    owner = array
    while (array := getattr(array, "base", None)) is not None:
        if backend.is_array(array):  # as_strided puts something else in between
            owner = array
    return owner


def tick() -> int:
    """Let the clock go on, so that what is recorded from now on can be told from all before; return the new time."""
    global clock
    with _lock:
        clock += 1
        return clock


def mark_overwritten(array: Any, by: str) -> None:
    """Note that ``by`` changed this array in place, so that a backward that needs the old values can say so.

    Args:
        array: The changed array or a view of it.
        by: Name for the message, such as ``"add_"`` or ``"SGD.step"``.
    """
    mark_all_overwritten((array,), by)


def mark_all_overwritten(arrays: Iterable[Any], by: str) -> None:
    """`mark_overwritten` for several arrays at once."""
    global clock
    owners = [memory_owner(array) for array in arrays]
    with _lock:
        clock += 1
        for owner in owners:
            key = id(owner)
            known = _last_change.get(key)
            if known is None or known[0]() is not owner:
                _last_change[key] = (weakref.ref(owner, partial(_forget, key)), clock, by)
            else:
                _last_change[key] = (known[0], clock, by)


def _forget(key: int, _: Any) -> None:
    _last_change.pop(key, None)


def _saved_arrays(vjp: Any) -> Iterator[Any]:
    """Every array in the cells of a closure, and in the functions, tuples, lists and dicts found there.

    An object there may list its arrays as ``saved_arrays``.
    """
    pending, seen = [vjp], set()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, FunctionType):
            for cell in item.__closure__ or ():
                try:
                    pending.append(cell.cell_contents)
                except ValueError:  # a variable that was not assigned on the way taken
                    continue
            pending.extend(item.__defaults__ or ())
            pending.extend((item.__kwdefaults__ or {}).values())
        elif isinstance(item, (tuple, list)):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, partial):
            pending.extend((item.func, item.args, item.keywords))
        elif isinstance(item, MethodType):
            pending.append(item.__self__)
        elif backend.is_array(item):
            yield item
        else:  # the context of a user's `Function`
            pending.extend(getattr(item, "saved_arrays", ()))


def keeps(vjp: Any, array: Any) -> bool:
    """Whether the closure holds the memory of this array."""
    owner = memory_owner(array)
    return any(memory_owner(saved) is owner for saved in _saved_arrays(vjp))


def check_unchanged(node: Node) -> None:
    """Refuse to run a node after something it saved was overwritten.

    Raises:
        GradientError: it was; the message names both ops.
    """
    check_arrays(_saved_arrays(node.vjp), node.stamp, node.op)


def check_arrays(arrays: Iterable[Any], since: int, op: str) -> None:
    """Refuse to go on after one of the arrays that ``op`` saved was overwritten.

    Raises:
        GradientError: it was, later than ``since``; the message names both ops.
    """
    for saved in arrays:
        owner = memory_owner(saved)
        change = _last_change.get(id(owner))
        if change is not None and change[0]() is owner and change[1] > since:
            raise GradientError(
                f"{op}_backward: needs a value of shape {tuple(saved.shape)} as {op} saw it, but {change[2]} has "
                "overwritten it since; use the form that makes a new tensor, or change a clone()"
            )
