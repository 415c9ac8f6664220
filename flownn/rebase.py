"""The place in the graph of a tensor that was changed in place, and of the tensors that share its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flownn import backend, overwritten
from flownn.backend import array_module
from flownn.errors import GradientError
from flownn.grad_mode import is_grad_enabled
from flownn.graph import Node, TensorBase, base_of, live_views


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
    """Let ``tensor`` continue at ``node`` after a recorded change, and its relatives in a way that stays right.

    A view's base gets a node that takes the changed part from the view and the rest from before. For other tensors
    over the memory the way back is not recorded; asking for their gradient is an error.
    """
    base = base_of(tensor)
    if base is not tensor:
        places = _places(base.data, tensor.data)
        edges = ((base.grad_fn or base) if base._requires_grad else None, node)

        def vjp(g: Any) -> Any:
            kept = g.reshape(-1).copy()
            part = kept[places]
            kept[places] = 0
            return kept.reshape(g.shape), part

        base.grad_fn = Node(by, vjp, edges, overwritten.clock, base.data.shape, base.data.dtype)
        base._requires_grad = True
    tensor.grad_fn, tensor._requires_grad = node, True
    for other in live_views(base):
        if other is not tensor:
            other.grad_fn = Node(by, _stale(by), (), overwritten.clock, other.data.shape, other.data.dtype)
            other._requires_grad = True


def _stale(by: str) -> Callable[[Any], Any]:
    def vjp(g: Any) -> Any:
        raise GradientError(
            f"backward: a view was used after {by} changed the memory under it through another tensor, which is not "
            f"recorded for the view; take the view again after {by}"
        )

    return vjp


def _places(base: Any, view: Any) -> Any:
    """For each element of ``view`` its row-major position in ``base``, whose memory it shares."""
    xp = array_module(base)
    item = base.itemsize
    low = sum(min(0, step * (size - 1)) for step, size in zip(base.strides, base.shape, strict=True))
    high = sum(max(0, step * (size - 1)) for step, size in zip(base.strides, base.shape, strict=True))
    memory = xp.zeros((high - low) // item + 1, xp.int64)
    as_strided = xp.lib.stride_tricks.as_strided

    def laid_out(array: Any, offset: int) -> Any:
        strides = [step // item * memory.itemsize for step in array.strides]
        return as_strided(memory[offset // item :], array.shape, strides)

    laid_out(base, -low)[...] = xp.arange(base.size).reshape(base.shape)
    return laid_out(view, backend.address(view) - backend.address(base) - low).copy()
