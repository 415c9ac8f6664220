"""Normalisation over all but the channel axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import channel_dot, channel_sum, compute_dtype

__all__ = ["batch_norm"]


@op
def batch_norm(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    running_mean: NDArray[Any] | None = None,
    running_var: NDArray[Any] | None = None,
    *,
    use_batch_statistics: bool,
    momentum: float,
    eps: float,
) -> Any:
    """Normalise each channel of x (N, C, *spatial), then scale by ``weight`` and add ``bias`` (Ioffe & Szegedy, 2015).

    With ``use_batch_statistics`` the batch's own mean and biased variance are used, and the running statistics, where
    given, are moved *in place* by ``momentum`` towards them (with the unbiased variance). Without, the running
    statistics normalise. An empty batch leaves the statistics as they are.

    Raises:
        ShapeError: one value per channel has no variance to normalise by.
    """
    channels = x.shape[1]
    dtype = compute_dtype("BatchNorm", x.dtype)
    image = xp.ascontiguousarray(xp.moveaxis(x, 1, -1), dtype=dtype)
    count = image.size // max(channels, 1)
    if use_batch_statistics and count == 1:
        raise ShapeError(f"BatchNorm: expected more than 1 value per channel when training, got {tuple(x.shape)}")
    if use_batch_statistics and count:
        mean = channel_sum(xp, image) / count
        result = _affine(xp, image, [("subtract", mean)])
        variance = channel_dot(xp, result, result) / count
        if running_mean is not None and running_var is not None:
            _move(running_mean, mean, momentum)
            _move(running_var, variance * (count / (count - 1)), momentum)
    elif use_batch_statistics:
        mean, variance, result = xp.zeros(channels), xp.ones(channels), image
    elif running_mean is None or running_var is None:
        raise ValueError("batch_norm: expected running statistics, or use_batch_statistics")
    else:
        mean, variance = running_mean.astype("float64"), running_var.astype("float64")
        result = _affine(xp, image, [("subtract", mean)])
    inverse = 1 / xp.sqrt(variance + eps)
    scale = inverse if weight is None else inverse * weight.astype("float64")
    shift = [] if bias is None else [("add", bias)]
    y = _affine(xp, result, [("multiply", scale), *shift], out=result)
    y = xp.moveaxis(y, -1, 1).astype(x.dtype, copy=False)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = xp.ascontiguousarray(xp.moveaxis(g, 1, -1), dtype=dtype)
        centered = _affine(xp, image, [("subtract", mean)])
        grad_sum, grad_dot = channel_sum(xp, grad), channel_dot(xp, grad, centered)

        def grad_x() -> Any:
            if not use_batch_statistics or count == 0:
                back = _affine(xp, grad, [("multiply", scale)])
            else:
                # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
                back = _affine(xp, centered, [("multiply", -grad_dot * inverse**2 / count)])
                back += grad
                back = _affine(xp, back, [("subtract", grad_sum / count), ("multiply", scale)], out=back)
            return xp.moveaxis(back, -1, 1).astype(x.dtype, copy=False)

        def grad_weight() -> Any:
            return None if weight is None else (grad_dot * inverse).astype(weight.dtype)

        def grad_bias() -> Any:
            return None if bias is None else grad_sum.astype(bias.dtype)

        return grad_x, grad_weight, grad_bias, None, None

    return y, vjp


def _move(running: NDArray[Any], towards: NDArray[Any], momentum: float) -> None:
    running[...] = (1 - momentum) * running + momentum * towards


def _affine(
    xp: Any, image: NDArray[Any], steps: Sequence[tuple[str, NDArray[Any]]], out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Apply (ufunc name, per-channel vector) steps to a contiguous image (N, *spatial, C), into ``out`` or anew.

    The last spatial dim and the channels are taken as one axis, so that the inner loop is long also with few channels.
    """
    result: NDArray[Any] = xp.empty_like(image) if out is None else out
    width = image.shape[-2] if image.ndim > 2 else 1
    lead = image.shape[:-2] if image.ndim > 2 else image.shape[:-1]
    rows, into = (array.reshape(*lead, width * image.shape[-1]) for array in (image, result))
    for name, vector in steps:
        getattr(xp, name)(rows, xp.tile(vector.astype(image.dtype), width), out=into)
        rows = into
    return result
