"""Limits for gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from flownn import backend
from flownn.autograd import quiet, wrap
from flownn.dtypes import accumulator
from flownn.errors import DtypeError
from flownn.overwritten import mark_all_overwritten
from flownn.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm"]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale gradients in place so that their norm, taken over all of them as one vector, is at most ``max_norm``.

    Args:
        parameters: Whose gradients; those without one are passed over.
        max_norm: The largest norm to leave.
        norm_type: The p of the p-norm; ``math.inf`` or "inf" for the largest absolute value.
        error_if_nonfinite: Raise instead of scaling by a norm that is infinite or not a number.

    Returns:
        The norm before scaling.

    Raises:
        DtypeError: ``max_norm`` is no number.
        RuntimeError: such a norm, with ``error_if_nonfinite``; the gradients are as they were.

    Reference:
        ``torch.nn.utils.clip_grad_norm_``: the factor is ``max_norm / (norm + 1e-6)`` where that is below 1.

    >>> import flownn as flow
    >>> x = flow.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_norm_(x, 5.0), x.grad
    (tensor(10., dtype=flownn.float32), tensor([3.0000, 4.0000], dtype=flownn.float32))
    """
    if not hasattr(max_norm, "__float__"):
        raise DtypeError(f"clip_grad_norm_: expected max_norm as a number, got {max_norm!r}")
    grads = _gradients(parameters)
    total = get_total_norm(grads, norm_type)
    norm = float(total)
    if error_if_nonfinite:
        _check_finite("clip_grad_norm_", norm, "the gradients' norm is {}; they were not scaled")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # also for nan, as in PyTorch
        with quiet():
            for g in grads:
                g.data *= g.data.dtype.type(factor)
        mark_all_overwritten([g.data for g in grads], "clip_grad_norm_")
    return total


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of tensors as if they were one vector.

    Args:
        tensors: Of any shapes.
        norm_type: The p of the p-norm; ``math.inf`` or "inf" for the largest absolute value.
        error_if_nonfinite: Raise for a norm that is infinite or not a number.

    Raises:
        RuntimeError: such a norm, with ``error_if_nonfinite``.

    Reference:
        ``torch.nn.utils.get_total_norm``.

    >>> import flownn as flow
    >>> get_total_norm([flow.tensor([3.0]), flow.tensor([[4.0]])])
    tensor(5., dtype=flownn.float32)
    """
    arrays = [tensors.data] if isinstance(tensors, Tensor) else [each.data for each in tensors]
    if not arrays:
        return wrap(np.zeros((), np.float32))  # type: ignore[no-any-return]
    xp = backend.array_module(*arrays)
    order = float(norm_type)
    dtype = np.result_type(*(accumulator(each.dtype) or each.dtype for each in arrays))
    with quiet():
        if order == 2 and xp is np and dtype.kind == "f":
            total = np.asarray(math.sqrt(sum(_sum_of_squares(each, dtype) for each in arrays)), dtype)
        else:
            norms = xp.stack([xp.linalg.norm(each.reshape(-1).astype(dtype, copy=False), ord=order) for each in arrays])
            total = xp.asarray(xp.linalg.norm(norms, ord=order), dtype=dtype)
    if error_if_nonfinite:
        _check_finite("get_total_norm", float(total), "the norm is {}")
    return wrap(total)  # type: ignore[no-any-return]


def _sum_of_squares(array: Any, dtype: Any) -> float:
    """One pass over the memory, in whatever order it lies; half precision is widened first."""
    flat = array.ravel(order="K")
    if flat.dtype != dtype:
        flat = flat.astype(dtype)
    return float(flat @ flat)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients, in place, to ``-clip_value`` to ``clip_value``.

    Args:
        parameters: Whose gradients; those without one are passed over.
        clip_value: The largest absolute value to leave.

    Reference:
        ``torch.nn.utils.clip_grad_value_``.

    >>> import flownn as flow
    >>> x = flow.tensor([3.0, -4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_value_(x, 7)
    >>> x.grad
    tensor([ 6., -7.], dtype=flownn.float32)
    """
    limit = float(clip_value)
    grads = [g.data for g in _gradients(parameters)]
    for g in grads:
        backend.array_module(g).clip(g, -limit, limit, out=g)
    mark_all_overwritten(grads, "clip_grad_value_")


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    chosen = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in chosen if p.grad is not None]


def _check_finite(name: str, norm: float, problem: str) -> None:
    if not math.isfinite(norm):
        raise RuntimeError(f"{name}: {problem.format(norm)}. Pass error_if_nonfinite=False to go on nevertheless")
