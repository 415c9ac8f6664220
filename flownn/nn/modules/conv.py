"""Convolution layers, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from flownn.nn import init
from flownn.nn.arguments import conv_padding, ntuple, output_padding_for, transposed_padding
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter, empty_parameter
from flownn.ops.conv import check_input, conv, conv_transpose
from flownn.ops.pad import pad
from flownn.tensor import Tensor

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _ConvNd(Module):
    spatial_dims: ClassVar[int]
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        if min(in_channels, out_channels, groups) < 1:
            raise ValueError(
                f"{name}: expected positive in_channels, out_channels and groups, "
                f"got {in_channels}, {out_channels} and {groups}"
            )
        for which, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: {which} must be divisible by groups, got {channels} and {groups}")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"{name}: expected padding_mode of {', '.join(_PADDING_MODES)}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1)
        self.stride = ntuple(stride, n, f"{name}.stride", minimum=1)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, n, f"{name}.padding")
        self.dilation = ntuple(dilation, n, f"{name}.dilation", minimum=1)
        self.output_padding = (0,) * n
        self.groups = groups
        self.padding_mode = padding_mode
        self._pad_pairs = conv_padding(self.padding, self.kernel_size, self.stride, self.dilation, name)
        leading = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = empty_parameter(*leading, *self.kernel_size)
        self.register_parameter("bias", empty_parameter(out_channels) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-k, k), k = 1 / sqrt(weight.shape[1] * product of kernel_size)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input``."""
        padding = self._pad_pairs
        if self.padding_mode != "zeros":
            check_input(type(self).__name__, input.shape, self.in_channels, self.spatial_dims)
            input = pad(input, padding=padding, mode=_PADDING_MODES[self.padding_mode])
            padding = ((0, 0),) * self.spatial_dims
        result: Tensor = conv(
            input,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return result

    def extra_repr(self) -> str:
        """Arguments as PyTorch prints them: those at their defaults are left out."""
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}",
            f"padding={self.padding}" if self.padding != (0,) * self.spatial_dims else "",
            f"dilation={self.dilation}" if self.dilation != (1,) * self.spatial_dims else "",
            f"output_padding={self.output_padding}" if self.output_padding != (0,) * self.spatial_dims else "",
            f"groups={self.groups}" if self.groups != 1 else "",
            "bias=False" if self.bias is None else "",
            f"padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "",
        ]
        return ", ".join(part for part in parts if part)


class Conv1d(_ConvNd):
    """Cross-correlate a batch of sequences with a bank of learned filters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, one filter each.
        kernel_size: Length of a filter in elements.
        stride: Elements between the starts of two windows.
        padding: Elements added on both sides, or "valid" (none) or "same" (output as long as the input; stride 1 only).
        dilation: Distance of a filter's elements in the input.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        padding_mode: What the added elements hold: "zeros", "reflect", "replicate" or "circular".

    Shape:
        Input (N, C, L) or (C, L); output (N, O, L') or (O, L'),
        L' = (L + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or is smaller than the kernel.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.Conv1d``; initial values as in PyTorch.

    >>> import flownn as flow
    >>> Conv1d(16, 33, 3, stride=2)(flow.randn(20, 16, 50)).shape
    flownn.Size([20, 33, 24])
    """

    spatial_dims = 1


class Conv2d(_ConvNd):
    """Cross-correlate a batch of images with a bank of learned filters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, one filter each.
        kernel_size: Height and width in pixels; one int means both. Same for ``stride``, ``padding``, ``dilation``.
        stride: Pixels between the starts of two windows.
        padding: Pixels added on both sides, or "valid" (none) or "same" (output as large as the input; stride 1 only).
        dilation: Distance of a filter's elements in the input.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        padding_mode: What the added pixels hold: "zeros", "reflect", "replicate" or "circular".

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, O, H', W') or (O, H', W'),
        H' = (H + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or is smaller than the kernel.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.Conv2d``; initial values as in PyTorch.

    >>> import flownn as flow
    >>> Conv2d(3, 8, kernel_size=3)(flow.ones(1, 3, 5, 5)).shape
    flownn.Size([1, 8, 3, 3])
    """

    spatial_dims = 2


class Conv3d(_ConvNd):
    """Cross-correlate a batch of volumes with a bank of learned filters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, one filter each.
        kernel_size: Depth, height and width; one int means all. Same for ``stride``, ``padding``, ``dilation``.
        stride: Elements between the starts of two windows.
        padding: Elements added on both sides, or "valid" (none) or "same" (output as large as the input; stride 1
            only).
        dilation: Distance of a filter's elements in the input.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        padding_mode: What the added elements hold: "zeros", "reflect", "replicate" or "circular".

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, O, D', H', W') or (O, D', H', W'),
        D' = (D + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or is smaller than the kernel.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.Conv3d``; initial values as in PyTorch.

    >>> import flownn as flow
    >>> Conv3d(2, 4, kernel_size=3)(flow.ones(1, 2, 5, 5, 5)).shape
    flownn.Size([1, 4, 3, 3, 3])
    """

    spatial_dims = 3


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
    ) -> None:
        name, n = type(self).__name__, self.spatial_dims
        if padding_mode != "zeros":
            raise ValueError(f"{name}: expected padding_mode 'zeros', got {padding_mode!r}")
        dropped = ntuple(padding, n, f"{name}.padding")
        super().__init__(in_channels, out_channels, kernel_size, stride, dropped, dilation, groups, bias)
        self.output_padding = ntuple(output_padding, n, f"{name}.output_padding")
        self._pad_pairs = transposed_padding(dropped, self.output_padding, self.stride, self.dilation, name)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Spread ``input``; ``output_size`` (with or without N and channels) takes the place of ``output_padding``.

        Raises:
            ValueError: ``output_size`` is none of the sizes that the stride leaves open.
        """
        pairs = self._pad_pairs
        if output_size is not None:
            name, n, dropped = type(self).__name__, self.spatial_dims, [before for before, _ in pairs]
            check_input(name, input.shape, self.in_channels, n)
            extra = output_padding_for(
                output_size, input.shape[-n:], self.kernel_size, self.stride, dropped, self.dilation, name
            )
            pairs = transposed_padding(dropped, extra, self.stride, self.dilation, name)
        result: Tensor = conv_transpose(
            input, self.weight, self.bias, stride=self.stride, padding=pairs, dilation=self.dilation, groups=self.groups
        )
        return result


class ConvTranspose1d(_ConvTransposeNd):
    """Add to a larger result, for every element of a batch of sequences, that element times a learned filter.

    The adjoint of `Conv1d` with the same arguments: what that makes of a shape, this undoes.

    Args:
        in_channels: Channels of the input, one filter each.
        out_channels: Channels of the output.
        kernel_size: Length of a filter in elements.
        stride: Elements of the output between the windows of two neighbours of the input.
        padding: Elements that the result loses on both sides.
        output_padding: Elements that it gains behind, which no window may reach; below ``stride`` or ``dilation``.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        dilation: Distance of a filter's elements in the output.
        padding_mode: "zeros", the only one.

    Shape:
        Input (N, C, L) or (C, L); output (N, O, L') or (O, L'),
        L' = (L - 1)*stride - 2*padding + dilation*(kernel_size-1) + output_padding + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or nothing of the result is left.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.ConvTranspose1d``; initial values, and ``output_size`` of ``forward``,
        as in PyTorch.

    >>> import flownn as flow
    >>> ConvTranspose1d(16, 33, 3, stride=2)(flow.randn(20, 16, 50)).shape
    flownn.Size([20, 33, 101])
    """

    spatial_dims = 1


class ConvTranspose2d(_ConvTransposeNd):
    """Add to a larger result, for every element of a batch of images, that element times a learned filter.

    The adjoint of `Conv2d` with the same arguments: what that makes of a shape, this undoes.

    Args:
        in_channels: Channels of the input, one filter each.
        out_channels: Channels of the output.
        kernel_size: Height and width in pixels; one int means both. Same for ``stride``, ``padding``,
            ``output_padding`` and ``dilation``.
        stride: Pixels of the output between the windows of two neighbours of the input.
        padding: Pixels that the result loses on both sides.
        output_padding: Pixels that it gains behind, which no window may reach; below ``stride`` or ``dilation``.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        dilation: Distance of a filter's elements in the output.
        padding_mode: "zeros", the only one.

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, O, H', W') or (O, H', W'),
        H' = (H - 1)*stride - 2*padding + dilation*(kernel_size-1) + output_padding + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or nothing of the result is left.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.ConvTranspose2d``; initial values, and ``output_size`` of ``forward``,
        as in PyTorch.

    >>> import flownn as flow
    >>> ConvTranspose2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2))(flow.randn(2, 16, 50, 100)).shape
    flownn.Size([2, 33, 93, 100])
    """

    spatial_dims = 2


class ConvTranspose3d(_ConvTransposeNd):
    """Add to a larger result, for every element of a batch of volumes, that element times a learned filter.

    The adjoint of `Conv3d` with the same arguments: what that makes of a shape, this undoes.

    Args:
        in_channels: Channels of the input, one filter each.
        out_channels: Channels of the output.
        kernel_size: Depth, height and width; one int means all. Same for ``stride``, ``padding``,
            ``output_padding`` and ``dilation``.
        stride: Elements of the output between the windows of two neighbours of the input.
        padding: Elements that the result loses on both sides.
        output_padding: Elements that it gains behind, which no window may reach; below ``stride`` or ``dilation``.
        groups: Number of independent blocks of channels; divides both channel counts.
        bias: Whether to add a learned number per output channel.
        dilation: Distance of a filter's elements in the output.
        padding_mode: "zeros", the only one.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, O, D', H', W') or (O, D', H', W'),
        D' = (D - 1)*stride - 2*padding + dilation*(kernel_size-1) + output_padding + 1.

    Raises:
        ShapeError: the input has another number of dims or channels, or nothing of the result is left.
        DtypeError: the input has another dtype than the weight.

    Reference:
        Arguments and defaults as in ``oneflow.nn.ConvTranspose3d``; initial values, and ``output_size`` of ``forward``,
        as in PyTorch.

    >>> import flownn as flow
    >>> ConvTranspose3d(4, 3, 3, stride=2)(flow.randn(1, 4, 5, 6, 7)).shape
    flownn.Size([1, 3, 11, 13, 15])
    """

    spatial_dims = 3
