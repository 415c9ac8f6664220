"""Normalisation of each channel over the batch: alone, with an addition and ReLU behind it, and across ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import channel_affine, channel_dot, channel_sum, check_parameters, compute_dtype

__all__ = ["batch_norm", "from_image", "fused_batch_norm", "normalize_channels", "to_image"]

SumOverRanks = Callable[[NDArray[Any]], NDArray[Any]]  # of a vector of float64, which every rank passes


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
    sum_over_ranks: SumOverRanks | None = None,
) -> Any:
    """Normalise each channel of x (N, C, *spatial), then scale by ``weight`` and add ``bias`` (Ioffe & Szegedy, 2015).

    With ``use_batch_statistics`` the batch's own mean and biased variance are used, and the running statistics, where
    given, are moved *in place* by ``momentum`` towards them (with the unbiased variance). Without, the running
    statistics normalise. An empty batch leaves the statistics as they are.

    ``sum_over_ranks`` makes one batch of those of all ranks, whatever the size of each. Every rank calls the op, which
    sums counts and values, then the squared differences from the common mean: two short messages, but as exact as one
    process, and no longer with more ranks. The gradient of x sums once more; those of weight and bias are this rank's
    part.

    Raises:
        ShapeError: one value per channel has no variance to normalise by, or shapes do not fit.
        DtypeError: x is not of a floating point type, or the others do not fit it.
    """
    y, gradients = normalize_channels(
        xp,
        "BatchNorm",
        x,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=use_batch_statistics,
        momentum=momentum,
        eps=eps,
        sum_over_ranks=sum_over_ranks,
    )
    dtype = y.dtype
    return from_image(xp, y, x), lambda g: (*gradients(to_image(xp, g, dtype)), None, None)


@op
def fused_batch_norm(
    xp: Any,
    x: NDArray[Any],
    addend: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    running_mean: NDArray[Any] | None = None,
    running_var: NDArray[Any] | None = None,
    *,
    use_batch_statistics: bool,
    momentum: float,
    eps: float,
) -> Any:
    """``relu(batch_norm(x) + addend)``, with ``addend`` of the shape and dtype of x; saves x and the result alone.

    Raises:
        ShapeError: as `batch_norm`, or ``addend`` has another shape.
        DtypeError: as `batch_norm`, or ``addend`` has another dtype.
    """
    check_parameters("FusedBatchNorm", x.dtype, x.shape, addend=addend)
    result, gradients = normalize_channels(
        xp,
        "FusedBatchNorm",
        x,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=use_batch_statistics,
        momentum=momentum,
        eps=eps,
    )
    if addend is not None:
        result += xp.moveaxis(addend, 1, -1)
    y = from_image(xp, xp.maximum(result, 0, out=result), x)
    dtype = result.dtype

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = to_image(xp, g, dtype) * (xp.moveaxis(y, 1, -1) > 0)
        grad_x, grad_weight, grad_bias = gradients(grad)
        return grad_x, lambda: from_image(xp, grad, x), grad_weight, grad_bias, None, None

    return y, vjp


def normalize_channels(
    xp: Any,
    name: str,
    x: NDArray[Any],
    weight: NDArray[Any] | None,
    bias: NDArray[Any] | None,
    running_mean: NDArray[Any] | None,
    running_var: NDArray[Any] | None,
    *,
    use_batch_statistics: bool,
    momentum: float,
    eps: float,
    sum_over_ranks: SumOverRanks | None = None,
) -> tuple[NDArray[Any], Callable[[NDArray[Any]], tuple[Any, Any, Any]]]:
    """`batch_norm` as an image (N, *spatial, C), and the function from its gradient to those of x, weight and bias."""
    dtype = compute_dtype(name, x.dtype)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected input (N, C, ...), got shape {tuple(x.shape)}")
    check_parameters(name, x.dtype, x.shape[1:2], weight=weight, bias=bias)
    check_parameters(name, None, x.shape[1:2], running_mean=running_mean, running_var=running_var)
    image = to_image(xp, x, dtype)
    count = image.size // max(image.shape[-1], 1)
    if use_batch_statistics:
        if eps <= 0:
            raise ValueError(f"{name}: expected a positive eps beside the batch's own variance, got {eps}")
        sums = channel_sum(xp, image)
        if sum_over_ranks is not None:
            sums = sum_over_ranks(xp.append(sums, count))
            count, sums = int(sums[-1]), sums[:-1]
        if count == 1:
            raise ShapeError(f"{name}: expected more than 1 value per channel when training, got {tuple(x.shape)}")
        mean = sums / max(count, 1)
        result = channel_affine(xp, image, [("subtract", mean)])
        squares = channel_dot(xp, result, result)
        if sum_over_ranks is not None:
            squares = sum_over_ranks(squares)
        variance = squares / max(count, 1)
        if running_mean is not None and running_var is not None and count:
            move(running_mean, mean, momentum)
            move(running_var, squares / (count - 1), momentum)
    elif running_mean is None or running_var is None:
        raise ValueError(f"{name}: expected running statistics, or use_batch_statistics")
    else:
        mean, variance = running_mean.astype("float64"), running_var.astype("float64")
        result = channel_affine(xp, image, [("subtract", mean)])
    inverse = 1 / xp.sqrt(variance + eps)
    scale = inverse if weight is None else inverse * weight.astype("float64")
    steps = [("multiply", scale)] if bias is None else [("multiply", scale), ("add", bias)]
    channel_affine(xp, result, steps, out=result)

    def gradients(grad: NDArray[Any]) -> tuple[Any, Any, Any]:
        centered = channel_affine(xp, to_image(xp, x, dtype), [("subtract", mean)])
        grad_sum, grad_dot = channel_sum(xp, grad), channel_dot(xp, grad, centered)

        def grad_x() -> Any:
            if not use_batch_statistics:
                return from_image(xp, channel_affine(xp, grad, [("multiply", scale)]), x)
            sums = xp.concatenate([grad_sum, grad_dot])
            if sum_over_ranks is not None:
                sums = sum_over_ranks(sums)
            along_one, along_x = xp.split(sums / max(count, 1), 2)
            # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
            back = channel_affine(xp, centered, [("multiply", -along_x * inverse**2)], out=centered)
            back += grad
            return from_image(xp, channel_affine(xp, back, [("subtract", along_one), ("multiply", scale)], out=back), x)

        return grad_x, grad_dot * inverse, grad_sum

    return result, gradients


def to_image(xp: Any, x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Array (N, C, *spatial) as a contiguous image (N, *spatial, C) of ``dtype``; without a copy where it is one."""
    image: NDArray[Any] = xp.ascontiguousarray(xp.moveaxis(x, 1, -1), dtype=dtype)
    return image


def from_image(xp: Any, image: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """View an image (N, *spatial, C) as (N, C, *spatial), in the dtype of ``x``."""
    y: NDArray[Any] = xp.moveaxis(image, -1, 1).astype(x.dtype, copy=False)
    return y


def move(running: NDArray[Any], towards: NDArray[Any], momentum: float) -> None:
    """Move running statistics in place."""
    running[...] = (1 - momentum) * running + momentum * towards
