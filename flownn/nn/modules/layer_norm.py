"""Normalisation layers that know nothing but the sample at hand: over groups of channels, and over the last dims."""

from __future__ import annotations

from collections.abc import Sequence

from flownn.errors import ShapeError
from flownn.nn import init
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.ops import group_norm as group_norm_ops
from flownn.ops import layer_norm as layer_norm_ops
from flownn.tensor import Tensor

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class GroupNorm(Module):
    """Normalise groups of channels of each sample by their own mean and biased variance.

    Args:
        num_groups: Number of groups; divides ``num_channels``. 1 takes all channels together, ``num_channels`` each one
            of its own.
        num_channels: Number of channels C.
        eps: Added to the variance.
        affine: Whether to learn a scale and a shift per channel.

    Shape:
        Input (N, C, *) with any number of further dims; output the same.

    Raises:
        ShapeError: another number of channels, or one value per group and one sample.
        DtypeError: the input has another dtype than the parameters, and is not a 16-bit one beside float32.

    Reference:
        Wu and He, 2018; ``torch.nn.GroupNorm``.

    >>> import flownn as flow
    >>> GroupNorm(3, 6)(flow.randn(20, 6, 10, 10)).shape
    flownn.Size([20, 6, 10, 10])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-05, affine: bool = True) -> None:
        super().__init__()
        if num_groups < 1 or num_channels < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: expected num_channels divisible by num_groups, both positive, got {num_channels} "
                f"and {num_groups}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", empty_parameter(num_channels) if affine else None)
        self.register_parameter("bias", empty_parameter(num_channels) if affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        _reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``input``."""
        shape = input.data.shape
        if len(shape) < 2 or shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm: expected input (N, {self.num_channels}, ...), got shape {tuple(shape)}")
        result: Tensor = group_norm_ops.group_norm(
            input, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps
        )
        return result

    def extra_repr(self) -> str:
        """All arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LayerNorm(Module):
    """Normalise the last dims of each sample by their own mean and biased variance.

    Args:
        normalized_shape: Sizes of these dims; an int is the size of the last one.
        eps: Added to the variance.
        elementwise_affine: Whether to learn a scale, and a shift, per element of these dims.
        bias: Whether there is a shift; only with ``elementwise_affine``.

    Shape:
        Input (*, *normalized_shape) with any number of dims before; output the same.

    Raises:
        ShapeError: the input does not end in ``normalized_shape``.
        DtypeError: the input has another dtype than the parameters, and is not a 16-bit one beside float32.

    Reference:
        Ba, Kiros and Hinton, 2016; ``oneflow.nn.LayerNorm``, ``bias`` as in ``torch.nn.LayerNorm``.

    >>> import flownn as flow
    >>> LayerNorm((5, 10))(flow.randn(20, 5, 10)).shape
    flownn.Size([20, 5, 10])
    """

    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool
    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-05,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        has_bias = elementwise_affine and bias
        self.register_parameter("weight", empty_parameter(*self.normalized_shape) if elementwise_affine else None)
        self.register_parameter("bias", empty_parameter(*self.normalized_shape) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        _reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``input``."""
        result: Tensor = layer_norm_ops.layer_norm(
            input, self.weight, self.bias, normalized_shape=self.normalized_shape, eps=self.eps
        )
        return result

    def extra_repr(self) -> str:
        """All arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divide the last dims of each sample by their root mean square.

    Args:
        normalized_shape: Sizes of these dims; an int is the size of the last one.
        eps: Added to the mean square; None means the machine epsilon of the dtype that is computed in.
        elementwise_affine: Whether to learn a scale per element of these dims.

    Shape:
        Input (*, *normalized_shape) with any number of dims before; output the same.

    Raises:
        ShapeError: the input does not end in ``normalized_shape``.
        DtypeError: the input has another dtype than the scale, and is not a 16-bit one beside float32.

    Reference:
        Zhang and Sennrich, 2019; ``torch.nn.RMSNorm``.

    >>> import flownn as flow
    >>> RMSNorm(2)(flow.tensor([[3.0, 4.0]]))
    tensor([[0.8485, 1.1314]], dtype=flownn.float32, grad_fn=<rms_norm_backward>)
    """

    normalized_shape: tuple[int, ...]
    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        super().__init__()
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", empty_parameter(*self.normalized_shape) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight 1."""
        _reset(self.weight, None)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``input``."""
        result: Tensor = layer_norm_ops.rms_norm(
            input, self.weight, normalized_shape=self.normalized_shape, eps=self.eps
        )
        return result

    def extra_repr(self) -> str:
        """All arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def _reset(weight: Parameter | None, bias: Parameter | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


def _sizes(name: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    given = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    if not given or not all(hasattr(size, "__index__") and int(size) >= 0 for size in given):
        raise ValueError(f"{name}: expected normalized_shape as a size or several, got {normalized_shape!r}")
    return tuple(int(size) for size in given)
