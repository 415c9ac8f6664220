"""Normalisation as functions."""

from __future__ import annotations

from collections.abc import Sequence

from flownn.ops import group_norm as group_norm_ops
from flownn.ops import layer_norm as layer_norm_ops
from flownn.ops import norm
from flownn.tensor import Tensor

__all__ = ["batch_norm", "fused_batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Normalise each channel of ``input`` (N, C, ...); with ``training`` moves the running statistics in place.

    Raises:
        ShapeError: one value per channel, in training.
    """
    result: Tensor = norm.batch_norm(
        input,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=training,
        momentum=momentum,
        eps=eps,
    )
    return result


def fused_batch_norm(
    input: Tensor,
    addend: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """``relu(batch_norm(input, ...) + addend)``; the arguments after ``addend`` are those of `batch_norm`.

    Raises:
        ShapeError: one value per channel, in training; ``addend`` has another shape than ``input``.
    """
    result: Tensor = norm.fused_batch_norm(
        input,
        addend,
        weight,
        bias,
        running_mean,
        running_var,
        use_batch_statistics=training,
        momentum=momentum,
        eps=eps,
    )
    return result


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-05
) -> Tensor:
    """Normalise groups of channels of each sample of ``input`` (N, C, ...); see `flownn.nn.GroupNorm`."""
    result: Tensor = group_norm_ops.group_norm(input, weight, bias, num_groups=num_groups, eps=eps)
    return result


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Normalise each channel of each sample of ``input`` (N, C, ...), by its own statistics or by the running ones.

    With ``use_input_stats`` the running statistics, where given, move in place.

    Raises:
        ShapeError: one value per channel and sample, with ``use_input_stats``.
        ValueError: no running statistics, without.
    """
    result: Tensor = group_norm_ops.instance_norm(
        input,
        weight,
        bias,
        running_mean,
        running_var,
        use_input_statistics=use_input_stats,
        momentum=momentum,
        eps=eps,
    )
    return result


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """Normalise the last dims of ``input``, those of ``normalized_shape``; see `flownn.nn.LayerNorm`."""
    result: Tensor = layer_norm_ops.layer_norm(input, weight, bias, normalized_shape=normalized_shape, eps=eps)
    return result


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide the last dims of ``input``, those of ``normalized_shape``, by their root mean square."""
    result: Tensor = layer_norm_ops.rms_norm(input, weight, normalized_shape=normalized_shape, eps=eps)
    return result
