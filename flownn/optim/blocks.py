"""One step of many parameters, in blocks that stay in the processor's cache.

``Optimizer.update`` defines what a rule does to one parameter. A rule that treats every element by itself may as well
be asked to update a piece of a large parameter, or many small ones joined to one array: so a large one passes through
the cache once, not once per operation, and small ones cost a handful of calls together, not each. The results are the
same bit by bit. Nothing moves: parameters, gradients and states stay the arrays that they are, and are read anew in
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from flownn import backend
from flownn.autograd import TensorBase, memory_owner, wrap
from flownn.backend import array_module
from flownn.optim.threads import for_each

if TYPE_CHECKING:
    from flownn.optim.base import Optimizer

__all__ = ["Limits", "cut", "elementwise", "joinable", "limits_of", "update_all"]

_Update = TypeVar("_Update", bound=Callable[..., None])


class Limits(NamedTuple):
    """Sizes in elements: what is joined, and where joining and cutting end."""

    joined: int  # parameters up to this size are joined
    block: int  # size of a cut or joined block


# A step touches about five arrays of a block at a time, 1.3 MB of float32; smaller blocks cost more in calls than they
# save in memory traffic. On a GPU only the number of launches counts.
HOST = Limits(4096, 1 << 16)
GPU = Limits(1 << 16, 1 << 22)


def limits_of(xp: Any) -> Limits:
    """The limits for the device of this array module."""
    return HOST if xp is np else GPU


def elementwise(update: _Update) -> _Update:
    """Mark an ``update`` that treats every element by itself, so that parameters may be cut and joined."""
    update.joinable = update.elementwise = True  # type: ignore[attr-defined]
    return update


def joinable(update: _Update) -> _Update:
    """Mark an ``update`` whose rule also has ``update_joined`` for small parameters in one array."""
    update.joinable = True  # type: ignore[attr-defined]
    return update


def update_all(optimizer: Optimizer, parameters: Sequence[Any], group: Mapping[str, Any]) -> None:
    """Let the rule of ``optimizer`` move these parameters, which all have gradients, by one step."""
    rule = type(optimizer).update  # the class's own: a rule that overrides it is not marked
    may_join, may_cut = getattr(rule, "joinable", False), getattr(rule, "elementwise", False)
    joined: dict[Any, _Joined] = {}
    pieces = _Pieces(optimizer, group)
    waiting: set[int] = set()  # the memory of the values in `joined` and `pieces`
    for p in parameters:
        value, grad, state = p.data, p.grad.data, optimizer.state.setdefault(p, {})
        xp = np if isinstance(value, np.ndarray) and isinstance(grad, np.ndarray) else array_module(value, grad)
        size, shape, dtype = value.size, value.shape, value.dtype
        limits = HOST if xp is np else GPU
        small = may_join and size <= limits.joined
        in_blocks = may_cut and size > limits.block and xp is np
        alike = grad.dtype == dtype and grad.shape == shape  # a user, or a loaded state, may bring others
        names, kept, numbers = [], [], []
        for name, each in state.items():
            if isinstance(each, TensorBase):
                names.append(name)
                kept.append(array := each.data)
                alike = alike and array.dtype == dtype and array.shape == shape
            else:
                numbers.append((name, each))
        owner = id(value if value.base is None else memory_owner(value))
        if owner in waiting:  # two parameters in one piece of memory: one after the other
            _update(pieces, *joined.values())
            waiting.clear()
        if not alike or not (small or in_blocks):
            optimizer.update(xp, value, grad, state, group)
        elif in_blocks:
            if pieces.add(value, grad, state, dict(zip(names, kept, strict=True))):
                waiting.add(owner)
        else:
            waiting.add(owner)
            key = (xp, dtype, *numbers, *names)
            if key not in joined:
                joined[key] = _Joined(optimizer, xp, group, names)
            batch = joined[key]
            batch.add(value, grad, state, kept)
            if batch.size > limits.block - limits.joined:
                batch.update()
    _update(pieces, *joined.values())


def _update(*waiting: _Pieces | _Joined) -> None:
    for each in waiting:
        each.update()


class _Joined:
    """Small parameters that wait to be updated as one array."""

    def __init__(self, optimizer: Optimizer, xp: Any, group: Mapping[str, Any], names: Sequence[str]) -> None:
        self.optimizer, self.xp, self.group, self.names = optimizer, xp, group, names
        self._clear()

    def _clear(self) -> None:
        self.values: list[Any] = []
        self.grads: list[Any] = []
        self.states: list[dict[str, Any]] = []
        self.kept: list[list[Any]] = [[] for _ in self.names]
        self.size = 0

    def add(self, value: Any, grad: Any, state: dict[str, Any], kept: Sequence[Any]) -> None:
        self.values.append(value)
        self.grads.append(grad)
        self.states.append(state)
        for arrays, each in zip(self.kept, kept, strict=True):
            arrays.append(each)
        self.size += value.size

    def update(self) -> None:
        if len(self.values) == 1:
            self.optimizer.update(self.xp, self.values[0], self.grads[0], self.states[0], self.group)
        elif self.values:
            self._update_together()
        self._clear()

    def _update_together(self) -> None:
        values, grads = self._join("value", self.values), self._join("grad", self.grads)
        state = dict(self.states[0])  # whose numbers are those of all
        for name, arrays in zip(self.names, self.kept, strict=True):
            state[name] = wrap(self._join(name, arrays))
        bounds = [0, *accumulate(each.size for each in self.values)]
        self.optimizer.update_joined(self.xp, values, grads, state, self.group, bounds)
        _share_out(values, self.values, bounds)
        kept = dict(zip(self.names, self.kept, strict=True))
        for name, each in state.items():
            if name in kept:
                _share_out(each.data, kept[name], bounds)
            elif isinstance(each, TensorBase):  # a first step makes the state
                for value, own, start in zip(self.values, self.states, bounds, strict=False):
                    own[name] = wrap(each.data[start : start + value.size].reshape(value.shape).copy())
            else:
                for own in self.states:
                    own[name] = each

    def _join(self, name: str, arrays: list[Any]) -> Any:
        flat = self.optimizer.scratch(self.xp, arrays[0], name, self.size)
        return self.xp.concatenate(arrays, axis=None, out=flat)


def _share_out(flat: Any, arrays: Sequence[Any], bounds: Sequence[int]) -> None:
    """Give each array its part of the joined one."""
    for array, (start, stop) in zip(arrays, pairwise(bounds), strict=True):
        part = flat[start:stop]
        array[...] = part if array.ndim == 1 else part.reshape(array.shape)


class _Large(NamedTuple):
    """A parameter in pieces."""

    value: Any
    state: dict[str, Any]
    parts: list[list[Any]]  # value, gradient and states of each piece
    states: list[dict[str, Any]]  # the pieces' own

    def gather(self) -> None:
        """Take over what the pieces made of the state: numbers, and in a first step arrays."""
        for name, each in self.states[-1].items():
            if not isinstance(each, TensorBase):
                self.state[name] = each
            elif name not in self.state:
                like = np.empty_like(self.value)
                flattened = _flattened([self.value, like])
                assert flattened is not None
                np.concatenate([own[name].data for own in self.states], out=flattened[1])
                self.state[name] = wrap(like)


class _Pieces:
    """Pieces of large parameters in host memory, which threads update side by side."""

    def __init__(self, optimizer: Optimizer, group: Mapping[str, Any]) -> None:
        self._optimizer, self._group = optimizer, group
        self._waiting: list[_Large] = []

    def add(self, value: Any, grad: Any, state: dict[str, Any], kept: Mapping[str, Any]) -> bool:
        """Let them wait for the update, or do it now where arrays cannot be cut, for which the answer is False."""
        flats = _flattened([value, grad, *kept.values()])
        if flats is None:
            self._optimizer.update(np, value, grad, state, self._group)
            return False
        numbers = {name: each for name, each in state.items() if name not in kept}
        parts = [[flat[start : start + HOST.block] for flat in flats] for start in range(0, value.size, HOST.block)]
        states = [numbers | {name: wrap(each) for name, each in zip(kept, part[2:], strict=True)} for part in parts]
        self._waiting.append(_Large(value, state, parts, states))
        return True

    def update(self) -> None:
        """Update what waits."""
        for_each(
            self._update_one, [each for large in self._waiting for each in zip(large.parts, large.states, strict=True)]
        )
        for large in self._waiting:
            large.gather()
        self._waiting = []

    def _update_one(self, piece: tuple[list[Any], dict[str, Any]]) -> None:
        (value, grad, *_), state = piece
        self._optimizer.update(np, value, grad, state, self._group)


def _flattened(arrays: Sequence[Any]) -> list[Any] | None:
    """1-D views with equal elements at equal places; None where the arrays differ in their order or have gaps."""
    if not all(each.flags.c_contiguous for each in arrays):
        order = backend.dense_order(arrays[0])
        if order is None:
            return None
        arrays = [each.transpose(order) for each in arrays]
        if not all(each.flags.c_contiguous for each in arrays):
            return None
    return [each.reshape(-1) for each in arrays]


def cut(xp: Any, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Pieces of arrays of one shape, the same of each, as views; the whole arrays where they cannot be cut."""
    block = limits_of(xp).block
    flats = _flattened(arrays) if arrays[0].size > block and xp is np else None
    if flats is None:
        yield arrays
        return
    for start in range(0, arrays[0].size, block):
        yield tuple(flat[start : start + block] for flat in flats)
