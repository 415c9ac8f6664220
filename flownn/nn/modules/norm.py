"""Normalisation layers with running statistics: over the batch, and over each sample."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np

from flownn.autograd import wrap
from flownn.dtypes import get_default_dtype
from flownn.errors import ShapeError
from flownn.kernels.channels import check_parameters
from flownn.nn import init
from flownn.nn.modules.activation import ReLU
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.ops.group_norm import instance_norm
from flownn.ops.norm import batch_norm, fused_batch_norm
from flownn.tensor import Tensor

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "FusedBatchNorm1d",
    "FusedBatchNorm2d",
    "FusedBatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "norm_add_relu",
]


class _NormBase(Module):
    """A scale, a shift and running statistics per channel; parameters and buffers are named as in PyTorch."""

    input_dims: ClassVar[tuple[int, ...]]
    input_form: ClassVar[str]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-05,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"{type(self).__name__}: expected a positive num_features, got {num_features}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", empty_parameter(num_features) if affine else None)
        self.register_parameter("bias", empty_parameter(num_features) if affine else None)
        dtype = get_default_dtype().dtype
        tracked = track_running_stats
        self.register_buffer("running_mean", wrap(np.zeros(num_features, dtype)) if tracked else None)
        self.register_buffer("running_var", wrap(np.ones(num_features, dtype)) if tracked else None)
        self.register_buffer("num_batches_tracked", wrap(np.zeros((), np.int64)) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the statistics: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.data[...] = 0
            self.running_var.data[...] = 1
            self.num_batches_tracked.data[...] = 0

    def reset_parameters(self) -> None:
        """Forget the statistics, and set weight 1 and bias 0."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _form(self) -> str:
        return self.input_form.replace("C", str(self.num_features))

    def extra_repr(self) -> str:
        """All arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``input``; in training mode also track its statistics."""
        tensors, attributes = self._arguments(input)
        result: Tensor = batch_norm(input, *tensors, **attributes)
        return result

    def _arguments(self, input: Tensor) -> tuple[tuple[Tensor | None, ...], dict[str, Any]]:
        """What the op takes behind a checked ``input``, which counts as tracked if this is training: tensors, the rest.

        The tensors are weight, bias and the running statistics.
        """
        shape = input.data.shape
        if len(shape) not in self.input_dims or shape[1] != self.num_features:
            raise ShapeError(f"{type(self).__name__}: expected input {self._form()}, got shape {tuple(shape)}")
        weight, bias, running_mean, running_var = self.weight, self.bias, self.running_mean, self.running_var
        check_parameters(
            type(self).__name__,
            input.data.dtype,
            shape[1:2],
            weight=_array(weight),
            bias=_array(bias),
            running_mean=_array(running_mean),
            running_var=_array(running_var),
        )
        momentum = 0.0 if self.momentum is None else self.momentum
        tracking = self.training and self.track_running_stats
        if tracking and self.num_batches_tracked is not None:
            self.num_batches_tracked.data[...] += 1
            if self.momentum is None:  # the plain mean over all batches so far
                momentum = 1.0 / float(self.num_batches_tracked.data)
        attributes = {
            "use_batch_statistics": self.training or running_mean is None,
            "momentum": momentum,
            "eps": self.eps,
        }
        if self.training and not tracking:
            running_mean = running_var = None
        return (weight, bias, running_mean, running_var), attributes


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.data


def norm_add_relu(norm: Module, relu: Module, input: Tensor, addend: Tensor | None = None) -> Tensor:
    """``relu(norm(input) + addend)``, as one op where that changes nothing but the speed and the memory.

    One op it is for a batch norm and a `ReLU` that nobody has replaced, nor listens to by hooks, and an ``addend`` like
    the norm's input. Then nothing is kept of what is in between.

    >>> import flownn as flow
    >>> norm_add_relu(BatchNorm1d(3), ReLU(), flow.randn(5, 3), flow.ones(5, 3)).shape
    flownn.Size([5, 3])
    """
    plain = isinstance(norm, _BatchNorm) and type(norm).forward is _BatchNorm.forward and type(relu) is ReLU
    silent = not (norm._forward_hooks or norm._forward_pre_hooks or relu._forward_hooks or relu._forward_pre_hooks)
    like = addend is None or (addend.data.shape == input.data.shape and addend.data.dtype == input.data.dtype)
    if plain and silent and like:
        tensors, attributes = norm._arguments(input)
        return fused_batch_norm(input, addend, *tensors, **attributes)
    result: Tensor = norm(input)
    result = relu(result if addend is None else result + addend)
    return result


class _FusedBatchNorm(_BatchNorm):
    def forward(self, input: Tensor, addend: Tensor | None = None) -> Tensor:
        """Normalise ``input``, add ``addend`` where given, and set what is negative to 0."""
        tensors, attributes = self._arguments(input)
        result: Tensor = fused_batch_norm(input, addend, *tensors, **attributes)
        return result


class _InstanceNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-05,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of each sample; in training mode also track the statistics, if asked to."""
        shape, unbatched = input.data.shape, input.data.ndim == self.input_dims[0]
        if len(shape) not in self.input_dims:
            raise ShapeError(f"{type(self).__name__}: expected input {self._form()}, got shape {tuple(shape)}")
        channels = shape[0] if unbatched else shape[1]
        if channels != self.num_features:
            if self.affine or self.track_running_stats:
                raise ShapeError(f"{type(self).__name__}: expected input {self._form()}, got shape {tuple(shape)}")
            warnings.warn(
                f"{type(self).__name__}: num_features is {self.num_features}, the input has {channels} channels; this "
                "makes no difference without affine and track_running_stats",
                stacklevel=2,
            )
        result: Tensor = instance_norm(
            input.unsqueeze(0) if unbatched else input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            use_input_statistics=self.training or not self.track_running_stats,
            momentum=0.0 if self.momentum is None else self.momentum,
            eps=self.eps,
        )
        return result.squeeze(0) if unbatched else result


class BatchNorm1d(_BatchNorm):
    """Normalise each channel over the batch and, where there are any, the elements of a sequence.

    In training mode with the batch's mean and biased variance, in evaluation mode with the running ones.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C) or (N, C, L); output the same.

    Raises:
        ShapeError: another number of dims or channels, or, in training mode, one value per channel.

    Reference:
        Ioffe and Szegedy, 2015; ``torch.nn.BatchNorm1d``. An empty batch counts, but leaves mean and
        variance as they are.

    >>> import flownn as flow
    >>> BatchNorm1d(100)(flow.randn(20, 100)).shape
    flownn.Size([20, 100])
    """

    input_dims = (2, 3)
    input_form = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Normalise each channel over the batch and the pixels of an image.

    In training mode with the batch's mean and biased variance, in evaluation mode with the running ones.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C, H, W); output the same.

    Raises:
        ShapeError: another number of dims or channels, or, in training mode, one value per channel.

    Reference:
        Ioffe and Szegedy, 2015; ``torch.nn.BatchNorm2d``. An empty batch counts, but leaves mean and
        variance as they are.

    >>> import flownn as flow
    >>> BatchNorm2d(num_features=2, eps=1e-5, momentum=0.1)(flow.randn(4, 2, 8, 3)).shape
    flownn.Size([4, 2, 8, 3])
    """

    input_dims = (4,)
    input_form = "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Normalise each channel over the batch and the elements of a volume.

    In training mode with the batch's mean and biased variance, in evaluation mode with the running ones.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C, D, H, W); output the same.

    Raises:
        ShapeError: another number of dims or channels, or, in training mode, one value per channel.

    Reference:
        Ioffe and Szegedy, 2015; ``torch.nn.BatchNorm3d``. An empty batch counts, but leaves mean and
        variance as they are.

    >>> import flownn as flow
    >>> BatchNorm3d(num_features=2)(flow.randn(3, 2, 5, 8, 4)).shape
    flownn.Size([3, 2, 5, 8, 4])
    """

    input_dims = (5,)
    input_form = "(N, C, D, H, W)"


class FusedBatchNorm1d(_FusedBatchNorm):
    """Normalise each channel over the batch and, where there are any, the elements of a sequence, add, and rectify.

    ``forward(x, addend=None)`` is ``relu(BatchNorm1d(x) + addend)`` in one step, which keeps no value in between.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C) or (N, C, L); ``addend`` and output the same.

    Raises:
        ShapeError: another number of dims or channels, an ``addend`` of another shape, or, in training mode, one value
            per channel.
        DtypeError: ``addend`` has another dtype than the input.

    Reference:
        ``oneflow.nn.FusedBatchNorm1d``; here on every device. Parameters and buffers are those of `BatchNorm1d`.

    >>> import flownn as flow
    >>> x = flow.randn(20, 100)
    >>> FusedBatchNorm1d(100)(x, addend=x).shape
    flownn.Size([20, 100])
    """

    input_dims = (2, 3)
    input_form = "(N, C) or (N, C, L)"


class FusedBatchNorm2d(_FusedBatchNorm):
    """Normalise each channel over the batch and the pixels of an image, add, and rectify.

    ``forward(x, addend=None)`` is ``relu(BatchNorm2d(x) + addend)`` in one step, which keeps no value in between.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C, H, W); ``addend`` and output the same.

    Raises:
        ShapeError: another number of dims or channels, an ``addend`` of another shape, or, in training mode, one value
            per channel.
        DtypeError: ``addend`` has another dtype than the input.

    Reference:
        ``oneflow.nn.FusedBatchNorm2d``; here on every device. Parameters and buffers are those of `BatchNorm2d`.

    >>> import flownn as flow
    >>> x = flow.randn(4, 2, 8, 3)
    >>> FusedBatchNorm2d(2)(x, addend=x).shape
    flownn.Size([4, 2, 8, 3])
    """

    input_dims = (4,)
    input_form = "(N, C, H, W)"


class FusedBatchNorm3d(_FusedBatchNorm):
    """Normalise each channel over the batch and the elements of a volume, add, and rectify.

    ``forward(x, addend=None)`` is ``relu(BatchNorm3d(x) + addend)`` in one step, which keeps no value in between.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, the batch's serve in evaluation mode too.

    Shape:
        Input (N, C, D, H, W); ``addend`` and output the same.

    Raises:
        ShapeError: another number of dims or channels, an ``addend`` of another shape, or, in training mode, one value
            per channel.
        DtypeError: ``addend`` has another dtype than the input.

    Reference:
        ``oneflow.nn.FusedBatchNorm3d``; here on every device. Parameters and buffers are those of `BatchNorm3d`.

    >>> import flownn as flow
    >>> x = flow.randn(3, 2, 5, 8, 4)
    >>> FusedBatchNorm3d(2)(x, addend=x).shape
    flownn.Size([3, 2, 5, 8, 4])
    """

    input_dims = (5,)
    input_form = "(N, C, D, H, W)"


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each sequence by its own mean and biased variance.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics, which then normalise in evaluation mode.

    Shape:
        Input (N, C, L) or (C, L); output the same.

    Raises:
        ShapeError: another number of dims or channels, or one value per channel and sample where its own statistics
            normalise. Another number of channels is a warning where neither parameters nor statistics depend on it.

    Reference:
        Ulyanov et al., 2016; ``torch.nn.InstanceNorm1d``.

    >>> import flownn as flow
    >>> InstanceNorm1d(100)(flow.randn(20, 100, 40)).shape
    flownn.Size([20, 100, 40])
    """

    input_dims = (2, 3)
    input_form = "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image by its own mean and biased variance.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics, which then normalise in evaluation mode.

    Shape:
        Input (N, C, H, W) or (C, H, W); output the same.

    Raises:
        ShapeError: another number of dims or channels, or one value per channel and sample where its own statistics
            normalise. Another number of channels is a warning where neither parameters nor statistics depend on it.

    Reference:
        Ulyanov et al., 2016; ``torch.nn.InstanceNorm2d``.

    >>> import flownn as flow
    >>> InstanceNorm2d(100)(flow.randn(20, 100, 7, 9)).shape
    flownn.Size([20, 100, 7, 9])
    """

    input_dims = (3, 4)
    input_form = "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each volume by its own mean and biased variance.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics, which then normalise in evaluation mode.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output the same.

    Raises:
        ShapeError: another number of dims or channels, or one value per channel and sample where its own statistics
            normalise. Another number of channels is a warning where neither parameters nor statistics depend on it.

    Reference:
        Ulyanov et al., 2016; ``torch.nn.InstanceNorm3d``.

    >>> import flownn as flow
    >>> InstanceNorm3d(10)(flow.randn(2, 10, 7, 9, 8)).shape
    flownn.Size([2, 10, 7, 9, 8])
    """

    input_dims = (4, 5)
    input_form = "(N, C, D, H, W) or (C, D, H, W)"
