"""One step of many parameters, in blocks that stay in the processor's cache.

``Optimizer.update`` defines what a rule does to one parameter. A rule that treats every element by itself may as well
be asked to update a piece of a large parameter, or many small ones joined to one array: so a large one passes through
the cache once, not once per operation, and small ones cost a handful of calls together, not each. The results are the
same bit by bit. Nothing moves: parameters, gradients and states stay the arrays that they are, and are read anew in
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from flownn import backend
from flownn.autograd import TensorBase, memory_owner, wrap

if TYPE_CHECKING:
    from flownn.optim.base import Optimizer
    from flownn.tensor import Tensor

__all__ = ["Limits", "cut", "elementwise", "joinable", "limits_of", "update_all"]

_Update = TypeVar("_Update", bound=Callable[..., None])


class Limits(NamedTuple):
    """Sizes in elements: what is joined, and where joining and cutting end."""

    joined: int  # parameters up to this size are joined
    block: int  # size of a cut or joined block


# A step touches about six arrays of a block: 400 KB of float32. On a GPU only the number of launches counts.
HOST = Limits(4096, 1 << 14)
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


def update_all(optimizer: Optimizer, parameters: Sequence[Tensor], group: Mapping[str, Any]) -> None:
    """Let the rule of ``optimizer`` move these parameters, which all have gradients, by one step."""
    rule = type(optimizer).update  # the class's own: a rule that overrides it is not marked
    may_join, may_cut = getattr(rule, "joinable", False), getattr(rule, "elementwise", False)
    joined: dict[Any, _Joined] = {}
    waiting: set[int] = set()  # the memory of the values in `joined`
    for p in parameters:
        value, grad, state = p.data, p.grad.data, optimizer.state.setdefault(p, {})
        xp = backend.array_module(value, grad)
        limits = limits_of(xp)
        size = value.size
        small = may_join and size <= limits.joined
        if not small and not (may_cut and size > limits.block and xp is np):
            optimizer.update(xp, value, grad, state, group)
            continue
        kept, numbers = {}, []
        for name, each in state.items():
            if isinstance(each, TensorBase):
                kept[name] = each.data
            else:
                numbers.append((name, each))
        if not _alike(value, grad, kept):
            optimizer.update(xp, value, grad, state, group)
            continue
        if not small:
            _update_in_blocks(optimizer, value, grad, state, kept, group)
            continue
        owner = id(memory_owner(value))
        if owner in waiting:  # two parameters in one piece of memory: one after the other
            _flush(joined, waiting)
        key = (xp, value.dtype, *numbers, *kept)
        batch = joined.get(key)
        if batch is None:
            batch = joined[key] = _Joined(optimizer, xp, group)
        elif batch.size + size > limits.block:
            batch.update()
        batch.add(value, grad, state, kept)
        waiting.add(owner)
    _flush(joined, waiting)


def _flush(joined: dict[Any, _Joined], waiting: set[int]) -> None:
    for batch in joined.values():
        batch.update()
    waiting.clear()


def _alike(value: Any, grad: Any, kept: Mapping[str, Any]) -> bool:
    """Whether all have the same shape and type; a user or a loaded state may bring others."""
    shape, dtype = value.shape, value.dtype
    return all(each.shape == shape and each.dtype == dtype for each in (grad, *kept.values()))


class _Joined:
    """Small parameters that wait to be updated as one array."""

    def __init__(self, optimizer: Optimizer, xp: Any, group: Mapping[str, Any]) -> None:
        self.optimizer, self.xp, self.group = optimizer, xp, group
        self.pieces: list[tuple[Any, Any, dict[str, Any], Mapping[str, Any]]] = []
        self.size = 0

    def add(self, value: Any, grad: Any, state: dict[str, Any], kept: Mapping[str, Any]) -> None:
        self.pieces.append((value, grad, state, kept))
        self.size += value.size

    def update(self) -> None:
        pieces, self.pieces, self.size = self.pieces, [], 0
        if not pieces:
            return
        if len(pieces) == 1:
            value, grad, state, _ = pieces[0]
            self.optimizer.update(self.xp, value, grad, state, self.group)
            return
        bounds = [0]
        for value, *_ in pieces:
            bounds.append(bounds[-1] + value.size)
        values = self._join("value", [value for value, *_ in pieces])
        grads = self._join("grad", [grad for _, grad, *_ in pieces])
        _, _, first, kept = pieces[0]
        state = {
            name: wrap(self._join(name, [each[3][name] for each in pieces])) if name in kept else number
            for name, number in first.items()
        }
        self.optimizer.update_joined(self.xp, values, grads, state, self.group, bounds)
        tensors = {name: each.data for name, each in state.items() if isinstance(each, TensorBase)}
        numbers = {name: each for name, each in state.items() if name not in tensors}
        for i, (value, _, own, kept) in enumerate(pieces):
            start, stop, shape = bounds[i], bounds[i + 1], value.shape
            value[...] = values[start:stop].reshape(shape)
            own.update(numbers)
            for name, flat in tensors.items():
                part = flat[start:stop].reshape(shape)
                if name in kept:
                    kept[name][...] = part
                else:
                    own[name] = wrap(part.copy())

    def _join(self, name: str, arrays: list[Any]) -> NDArray[Any]:
        size = sum(each.size for each in arrays)
        flat = self.optimizer.scratch(self.xp, arrays[0], name, size)
        self.xp.concatenate([each.reshape(-1) for each in arrays], out=flat)
        return flat


def _update_in_blocks(
    optimizer: Optimizer,
    value: Any,
    grad: Any,
    state: dict[str, Any],
    kept: Mapping[str, Any],
    group: Mapping[str, Any],
) -> None:
    """Update one large parameter in host memory piece by piece."""
    flats = _flattened([value, grad, *kept.values()])
    if flats is None:
        optimizer.update(np, value, grad, state, group)
        return
    numbers = {name: each for name, each in state.items() if name not in kept}
    made: dict[str, Any] = {}
    piece: dict[str, Any] = {}
    for start in range(0, value.size, HOST.block):
        part = [flat[start : start + HOST.block] for flat in flats]
        piece = numbers | {name: wrap(each) for name, each in zip(kept, part[2:], strict=True)}
        optimizer.update(np, part[0], part[1], piece, group)
        for name in piece.keys() - kept.keys():
            each = piece[name]
            if isinstance(each, TensorBase):  # a first step makes the state
                if name not in made:
                    made[name] = np.empty(value.size, value.dtype)
                made[name][start : start + HOST.block] = each.data
    for name, each in piece.items():
        if name in made:
            like = np.empty_like(value)
            flattened = _flattened([value, like])
            assert flattened is not None
            flattened[1][...] = made[name]
            state[name] = wrap(like)
        elif name not in kept:
            state[name] = each


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
