"""The place in the graph of a tensor that was changed in place, and of the tensors that share its memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flownn import backend, overwritten
from flownn.backend import array_module
from flownn.errors import GradientError
from flownn.grad_mode import is_grad_enabled
from flownn.graph import Node, TensorBase, base_of, live_views
from flownn.kernels.accumulate import sum_at


def check_changeable(tensor: TensorBase, by: str) -> None:
    """Refuse a recorded change of a leaf, whose gradient could no longer be told from that of the result.

    Raises:
        GradientError: it is a leaf that requires a gradient, or a view of one.
    """
    base = base_of(tensor)
    if is_grad_enabled() and any(each._requires_grad and each.grad_fn is None for each in (tensor, base)):
        raise GradientError(
            f"{by}: a leaf that requires a gradient{' (through a view)' if base is not tensor else ''} cannot be "
            "changed in place while ops are recorded; use no_grad(), or the form that makes a new tensor"
        )


def rebase(tensor: TensorBase, node: Node, by: str) -> None:
    """Let ``tensor`` continue at ``node`` after a recorded change, and its relatives where they stay right.

    A view's base gets a node that takes the changed part from the view and the rest from before; every other view is
    from then on a part of what the base has become.
    """
    base = base_of(tensor)
    xp, whole = array_module(base.data), _layout(base.data)
    if base is not tensor:
        edges = ((base.grad_fn or base) if base._requires_grad else None, node)
        vjp = _of_base(xp, whole, _layout(tensor.data))
        base.grad_fn = Node(by, vjp, edges, overwritten.clock, base.data.shape, base.data.dtype)
        base._requires_grad = True
    tensor.grad_fn, tensor._requires_grad = node, True
    for other in live_views(base):
        if other is not tensor:
            vjp = _of_view(xp, whole, _layout(other.data))
            other.grad_fn = Node(by, vjp, (base.grad_fn,), overwritten.clock, other.data.shape, other.data.dtype)
            other._requires_grad = True


class _Layout(NamedTuple):
    """Where the elements of an array are; it keeps no array alive."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int


def _layout(array: Any) -> _Layout:
    return _Layout(backend.address(array), array.shape, array.strides, array.itemsize)


def _of_base(xp: Any, whole: _Layout, part: _Layout) -> Callable[[Any], Any]:
    """The gradient of a base whose part was changed: of what it was before, and of the part."""

    def vjp(g: Any) -> Any:
        places = _places(xp, whole, part)
        kept = g.reshape(-1).copy()
        changed = kept[places]
        kept[places] = 0
        return kept.reshape(g.shape), changed

    return vjp


def _of_view(xp: Any, whole: _Layout, part: _Layout) -> Callable[[Any], Any]:
    """The gradient of a base of which only a part was used."""

    def vjp(g: Any) -> Any:
        flat = sum_at(xp, (math.prod(whole.shape),), _places(xp, whole, part).reshape(-1), g.reshape(-1))
        return (flat.reshape(whole.shape),)

    return vjp


def _places(xp: Any, whole: _Layout, part: _Layout) -> Any:
    """For each element of a part its row-major position in the whole, whose memory it shares."""
    low = sum(min(0, step * (size - 1)) for step, size in zip(whole.strides, whole.shape, strict=True))
    high = sum(max(0, step * (size - 1)) for step, size in zip(whole.strides, whole.shape, strict=True))
    memory = xp.zeros((high - low) // whole.itemsize + 1, xp.int64)
    as_strided = xp.lib.stride_tricks.as_strided

    def laid_out(layout: _Layout, offset: int) -> Any:
        strides = [step // layout.itemsize * memory.itemsize for step in layout.strides]
        return as_strided(memory[offset // layout.itemsize :], layout.shape, strides)

    laid_out(whole, -low)[...] = xp.arange(math.prod(whole.shape)).reshape(whole.shape)
    return laid_out(part, part.address - whole.address - low).copy()
