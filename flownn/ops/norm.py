"""Normalisation of each channel over the batch: alone, with an addition and ReLU behind it, and across ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import OverwritingVjp, op
from flownn.errors import ShapeError
from flownn.kernels.batch_norm import Backward, Gradients, channel_moments, normalize_channels
from flownn.kernels.channels import check_parameters, compute_dtype

__all__ = ["batch_norm", "batch_normalize", "fused_batch_norm", "move"]

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
    return batch_normalize(
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
    sum_over_ranks: SumOverRanks | None = None,
) -> Any:
    """``relu(batch_norm(x) + addend)``, with ``addend`` of the shape and dtype of x.

    Saves x, and with an addend the result. ``sum_over_ranks`` as in `batch_norm`.

    Raises:
        ShapeError: as `batch_norm`, or ``addend`` has another shape.
        DtypeError: as `batch_norm`, or ``addend`` has another dtype.
    """
    check_parameters("FusedBatchNorm", x.dtype, x.shape, addend=addend)
    y, vjp = batch_normalize(
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
        sum_over_ranks=sum_over_ranks,
        addend=addend,
        relu=True,
    )

    def with_addend(g: NDArray[Any], mine: bool, last: bool) -> tuple[Any, ...]:
        grad_x, *others, grad_addend = vjp.compute(g, mine, last)
        return grad_x, grad_addend, *others

    return y, OverwritingVjp(with_addend)


def batch_normalize(
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
    addend: NDArray[Any] | None = None,
    relu: bool = False,
) -> tuple[NDArray[Any], OverwritingVjp]:
    """Result and vjp of `batch_norm`; the vjp's last entry is for ``addend``, or None."""
    compute_dtype(name, x.dtype)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected input (N, C, ...), got shape {tuple(x.shape)}")
    check_parameters(name, x.dtype, x.shape[1:2], weight=weight, bias=bias)
    check_parameters(name, None, x.shape[1:2], running_mean=running_mean, running_var=running_var)
    if use_batch_statistics:
        if eps <= 0:
            raise ValueError(f"{name}: expected a positive eps beside the batch's own variance, got {eps}")
        count, mean, squares = _batch_moments(xp, x, sum_over_ranks)
        if count == 1:
            raise ShapeError(f"{name}: expected more than 1 value per channel when training, got {tuple(x.shape)}")
        variance = squares / max(count, 1)
        if running_mean is not None and running_var is not None and count:
            move(running_mean, mean, momentum)
            move(running_var, squares / (count - 1), momentum)
    elif running_mean is None or running_var is None:
        raise ValueError(f"{name}: expected running statistics, or use_batch_statistics")
    else:
        mean, variance = running_mean.astype("float64"), running_var.astype("float64")
    inverse = 1 / xp.sqrt(variance + eps)
    scale = inverse if weight is None else inverse * weight.astype("float64")
    shift = None if bias is None else bias.astype("float64")
    if x.size:
        y, backward = normalize_channels(xp, x, mean, scale, shift, addend, relu=relu, from_x=use_batch_statistics)
    else:
        y, backward = x.copy(), _empty_gradients(xp, mean, addend)

    def vjp(g: NDArray[Any], mine: bool, last: bool) -> tuple[Any, ...]:
        gradients = backward(g, mine, last)

        def grad_x() -> Any:
            if not use_batch_statistics:
                return gradients.x(None, None)
            along_one, along_x = gradients.sum, gradients.dot
            if sum_over_ranks is not None:
                sums = sum_over_ranks(xp.concatenate([along_one, along_x]))
                along_one, along_x = sums[: len(mean)], sums[len(mean) :]
            return gradients.x(along_one / max(count, 1), along_x * (inverse**2 / max(count, 1)))

        return grad_x, gradients.dot * inverse, gradients.sum, None, None, gradients.addend

    return y, OverwritingVjp(vjp)


def _batch_moments(xp: Any, x: NDArray[Any], sum_over_ranks: SumOverRanks | None) -> tuple[int, Any, Any]:
    """Values per channel, their mean, and the sum of squared differences from it; of all ranks' batches."""
    channels = x.shape[1]
    count = x.size // max(channels, 1)
    mean, squares = channel_moments(xp, x) if x.size else (xp.zeros(channels), xp.zeros(channels))
    if sum_over_ranks is None:
        return count, mean, squares
    sums = sum_over_ranks(xp.append(mean * count, count))
    total = int(sums[-1])
    common = sums[:-1] / max(total, 1)
    return total, common, sum_over_ranks(squares + count * (mean - common) ** 2)


def _empty_gradients(xp: Any, mean: NDArray[Any], addend: NDArray[Any] | None) -> Backward:
    """The backward of an empty batch."""
    zeros = xp.zeros(mean.shape)
    return lambda g, mine=False, last=False: Gradients(
        zeros, zeros, None if addend is None else g, lambda along_one, along_x: g
    )


def move(running: NDArray[Any], towards: NDArray[Any], momentum: float) -> None:
    """Move running statistics in place."""
    running[...] = (1 - momentum) * running + momentum * towards
