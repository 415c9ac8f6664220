"""Normalisation within each sample: groups of channels, or each channel of its own."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import check_parameters, compute_dtype
from flownn.kernels.group_norm import Backward, Moments, normalize_groups
from flownn.ops.norm import batch_normalize, move

__all__ = ["group_norm", "instance_norm"]


@op
def group_norm(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    *,
    num_groups: int,
    eps: float,
) -> Any:
    """Normalise each group of channels of each sample of x (N, C, *spatial), then scale and shift each channel.

    By the mean and the biased variance of the group (Wu & He, 2018).

    Raises:
        ShapeError: ``num_groups`` does not divide the channels, shapes do not fit, or there is one value per group and
            one sample.
        DtypeError: x is not of a floating point type, or weight and bias do not fit it.
    """
    if x.size == num_groups:
        raise ShapeError(f"GroupNorm: expected more than 1 value per channel, got {tuple(x.shape)}")
    y, vjp, _ = _normalize_groups(xp, "GroupNorm", x, weight, bias, num_groups, eps)
    return y, vjp


@op
def instance_norm(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    running_mean: NDArray[Any] | None = None,
    running_var: NDArray[Any] | None = None,
    *,
    use_input_statistics: bool,
    momentum: float,
    eps: float,
) -> Any:
    """Normalise each channel of each sample of x (N, C, *spatial), then scale and shift (Ulyanov et al., 2016).

    With ``use_input_statistics`` by the mean and biased variance of the channel in the sample; the running statistics,
    where given, are moved *in place* by ``momentum`` towards the mean over all samples of these means and of the
    unbiased variances. Without, the running statistics normalise. An empty batch leaves the statistics as they are.

    Raises:
        ShapeError: one value per channel has no variance to normalise by, or shapes do not fit.
        DtypeError: x is not of a floating point type, or weight and bias do not fit it.
    """
    if not use_input_statistics:
        return batch_normalize(
            xp,
            "InstanceNorm",
            x,
            weight,
            bias,
            running_mean,
            running_var,
            use_batch_statistics=False,
            momentum=momentum,
            eps=eps,
        )
    count = math.prod(x.shape[2:])
    if count == 1:
        raise ShapeError(f"InstanceNorm: expected more than 1 value per channel and sample, got {tuple(x.shape)}")
    check_parameters("InstanceNorm", None, x.shape[1:2], running_mean=running_mean, running_var=running_var)
    y, vjp, (mean, variance) = _normalize_groups(xp, "InstanceNorm", x, weight, bias, max((1, *x.shape[1:2])), eps)
    if running_mean is not None and running_var is not None and x.size:
        move(running_mean, mean.mean(axis=0), momentum)
        move(running_var, variance.mean(axis=0) * (count / (count - 1)), momentum)
    return y, lambda g: (*vjp(g), None, None)


def _normalize_groups(
    xp: Any, name: str, x: NDArray[Any], weight: NDArray[Any] | None, bias: NDArray[Any] | None, groups: int, eps: float
) -> tuple[NDArray[Any], Backward, Moments]:
    """Result and vjp, and mean and biased variance (N, groups)."""
    compute_dtype(name, x.dtype)
    if x.ndim < 2 or x.shape[1] % groups:
        raise ShapeError(f"{name}: expected input (N, C, ...) with {groups} groups of channels, got {tuple(x.shape)}")
    check_parameters(name, x.dtype, x.shape[1:2], weight=weight, bias=bias)
    scale, shift = (None if array is None else array.astype("float64") for array in (weight, bias))
    result: tuple[NDArray[Any], Backward, Moments] = normalize_groups(xp, x, scale, shift, groups, eps)
    return result
