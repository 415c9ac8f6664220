"""Changing a tensor in place: by an op's result, or by assignment to a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flownn import overwritten
from flownn.backend import array_module
from flownn.errors import DtypeError, ShapeError
from flownn.graph import TensorBase, wrap
from flownn.ops.index import write
from flownn.rebase import check_changeable, rebase


def replace(tensor: TensorBase, by: str, op: Callable[..., Any], *operands: Any, **attrs: Any) -> None:
    """Make ``tensor`` hold ``op(tensor, *operands)``, in its own memory.

    Raises:
        GradientError: see `check_changeable`.
        ShapeError: the result has another shape.
        DtypeError: the result's type is of a higher category than the tensor's.
    """
    check_changeable(tensor, by)
    result: Any = op(tensor, *operands, **attrs)
    if result.grad_fn is not None and overwritten.keeps(result.grad_fn.vjp, tensor.data):
        # the backward needs the values from before: let it have a copy of them
        before = wrap(tensor.data.copy(), tensor._requires_grad, tensor.grad_fn)
        result = op(before, *(before if each is tensor else each for each in operands), **attrs)
    array = tensor.data
    if result.data.shape != array.shape:
        raise ShapeError(f"{by}: a result of shape {tuple(result.data.shape)} does not fit into {tuple(array.shape)}")
    if not array_module(array).can_cast(result.data.dtype, array.dtype, "same_kind"):
        raise DtypeError(f"{by}: a result of type {result.data.dtype} does not fit into {array.dtype}")
    array[...] = result.data
    overwritten.mark_overwritten(array, by)
    if result._requires_grad:
        rebase(tensor, result.grad_fn, by)


def assign(tensor: TensorBase, by: str, key: Any, value: Any) -> None:
    """``tensor[key] = value``: the value broadcasts and is converted to the tensor's type.

    Raises:
        GradientError: see `check_changeable`.
        IndexError: the index is out of range or has too many parts.
        ShapeError: the value does not broadcast to the indexed part.
    """
    check_changeable(tensor, by)
    changed = write(tensor, key, value, by)
    overwritten.mark_overwritten(tensor.data, by)
    if changed._requires_grad:
        rebase(tensor, changed.grad_fn, by)
