"""Normalisation of the last dims: by mean and variance, or by the mean square alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.blocks import cache_blocks
from flownn.kernels.channels import channel_sum, check_parameters, compute_dtype

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
    """Result and vjp. Blocks of rows go through all steps while they are in the cache."""
    dtype = compute_dtype(name, x.dtype)
    lead = x.ndim - len(normalized_shape)
    if not normalized_shape or lead < 0 or x.shape[lead:] != normalized_shape:
        form = ", ".join(["...", *map(str, normalized_shape)])
        raise ShapeError(f"{name}: expected input ({form}), got shape {tuple(x.shape)}")
    check_parameters(name, x.dtype, normalized_shape, weight=weight, bias=bias)
    count, width = math.prod(x.shape[:lead]), math.prod(normalized_shape)
    rows = x.reshape(count, width)
    scale, shift = (None if array is None else array.reshape(width).astype(dtype) for array in (weight, bias))
    blocks = cache_blocks(xp, count, width * dtype.itemsize)
    mean, inverse = xp.zeros((count, 1), dtype), xp.empty((count, 1), dtype)

    def row_mean(array: NDArray[Any]) -> Any:
        return array.sum(axis=1, keepdims=True) / max(width, 1)

    def centered(block: slice) -> NDArray[Any]:
        part = rows[block].astype(dtype, copy=False)
        return part - mean[block] if centre else part

    y = xp.empty((count, width), x.dtype)
    for block in blocks:
        if centre:
            mean[block] = row_mean(rows[block].astype(dtype, copy=False))
        part = centered(block)
        inverse[block] = 1 / xp.sqrt(row_mean(part * part) + eps)
        normal = part * inverse[block]
        if scale is not None:
            normal *= scale
        if shift is not None:
            normal += shift
        y[block] = normal

    def vjp(g: NDArray[Any]) -> tuple[Any, Any, Any]:
        grad_rows = g.reshape(count, width)
        back = xp.empty((count, width), x.dtype)
        grad_weight, grad_bias = xp.zeros(width), xp.zeros(width)
        for block in blocks:
            grad = grad_rows[block].astype(dtype, copy=False)
            normal = centered(block) * inverse[block]
            product = grad * normal
            if shift is not None:
                grad_bias += channel_sum(xp, grad[None])
            if scale is not None:
                grad_weight += channel_sum(xp, product[None])
                grad = grad * scale
                product *= scale
            # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
            normal *= row_mean(product)
            if centre:
                normal += row_mean(grad)
            back[block] = (grad - normal) * inverse[block]
        return back.reshape(x.shape), grad_weight.reshape(normalized_shape), grad_bias.reshape(normalized_shape)

    return y.reshape(x.shape), vjp
