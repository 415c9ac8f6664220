"""Helpers around parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from flownn import backend
from flownn.autograd import quiet, wrap
from flownn.dtypes import accumulator
from flownn.tensor import Tensor

__all__ = ["clip_grad_norm_"]


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
        RuntimeError: such a norm, with ``error_if_nonfinite``; the gradients are as they were.

    Reference:
        ``torch.nn.utils.clip_grad_norm_``: the factor is ``max_norm / (norm + 1e-6)`` where that is below 1.

    >>> import flownn as flow
    >>> x = flow.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_norm_(x, 5.0), x.grad
    (tensor(10., dtype=flownn.float32), tensor([3.0000, 4.0000], dtype=flownn.float32))
    """
    chosen = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [p.grad.data for p in chosen if p.grad is not None]
    if not grads:
        return wrap(np.zeros((), np.float32))  # type: ignore[no-any-return]
    xp = backend.array_module(*grads)
    order = float(norm_type)
    dtype = np.result_type(*(accumulator(g.dtype) or g.dtype for g in grads))
    with quiet():
        norms = xp.stack([xp.linalg.norm(g.reshape(-1).astype(dtype, copy=False), ord=order) for g in grads])
        total = xp.asarray(xp.linalg.norm(norms, ord=order), dtype=dtype)
    norm = float(total)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"clip_grad_norm_: the gradients' norm is {norm}; they were not scaled. Pass error_if_nonfinite=False to "
            "scale them nevertheless"
        )
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # also for nan, as in PyTorch
        with quiet():
            for g in grads:
                g *= g.dtype.type(factor)
    return wrap(total)  # type: ignore[no-any-return]
