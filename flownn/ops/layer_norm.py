"""Normalisation of the last dims: by mean and variance, or by the mean square alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import check_parameters, compute_dtype
from flownn.kernels.layer_norm import normalize_rows

__all__ = ["layer_norm", "rms_norm"]


@op
def layer_norm(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    *,
    normalized_shape: Sequence[int],
    eps: float,
) -> Any:
    """Normalise the last dims of x (..., *normalized_shape), then scale and shift each element (Ba et al., 2016).

    By the mean and the biased variance of these dims.

    Raises:
        ShapeError: x, weight or bias does not end in ``normalized_shape``, or that is empty.
        DtypeError: x is not of a floating point type, or weight and bias do not fit it.
    """
    return _normalize_rows(xp, "LayerNorm", x, weight, bias, tuple(normalized_shape), eps, centre=True)


@op
def rms_norm(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any] | None = None,
    *,
    normalized_shape: Sequence[int],
    eps: float | None = None,
) -> Any:
    """Divide the last dims of x (..., *normalized_shape) by their root mean square, then scale.

    See Zhang and Sennrich, 2019. ``eps`` None is the machine epsilon of the dtype that is computed in, as in PyTorch.

    Raises:
        ShapeError: x or weight does not end in ``normalized_shape``, or that is empty.
        DtypeError: x is not of a floating point type, or weight does not fit it.
    """
    if eps is None:
        eps = float(xp.finfo(compute_dtype("RMSNorm", x.dtype)).eps)
    y, vjp = _normalize_rows(xp, "RMSNorm", x, weight, None, tuple(normalized_shape), eps, centre=False)
    return y, lambda g: vjp(g)[:2]


def _normalize_rows(
    xp: Any,
    name: str,
    x: NDArray[Any],
    weight: NDArray[Any] | None,
    bias: NDArray[Any] | None,
    normalized_shape: tuple[int, ...],
    eps: float,
    *,
    centre: bool,
) -> tuple[NDArray[Any], Callable[[NDArray[Any]], tuple[Any, Any, Any]]]:
    """Result and vjp."""
    dtype = compute_dtype(name, x.dtype)
    lead = x.ndim - len(normalized_shape)
    if not normalized_shape or lead < 0 or x.shape[lead:] != normalized_shape:
        form = ", ".join(["...", *map(str, normalized_shape)])
        raise ShapeError(f"{name}: expected input ({form}), got shape {tuple(x.shape)}")
    check_parameters(name, x.dtype, normalized_shape, weight=weight, bias=bias)
    rows = math.prod(x.shape[:lead]), math.prod(normalized_shape)
    scale, shift = (
        None if array is None else array.reshape(rows[1]).astype(dtype, copy=False) for array in (weight, bias)
    )
    y, backward = normalize_rows(xp, x.reshape(rows), scale, shift, eps, centre)

    def vjp(g: NDArray[Any]) -> tuple[Any, Any, Any]:
        grad_x, grad_scale, grad_shift = backward(g.reshape(rows))
        shaped = [None if each is None else each.reshape(normalized_shape) for each in (grad_scale, grad_shift)]
        return grad_x.reshape(x.shape), shaped[0], shaped[1]

    return y.reshape(x.shape), vjp
