"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flownn.nn.arguments import adaptive_sizes, ntuple
from flownn.nn.modules.module import Module
from flownn.ops.pool import adaptive_avg_pool, avg_pool, max_pool, max_pool_with_indices
from flownn.tensor import Tensor

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _MaxPoolNd(Module):
    spatial_dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self._attrs: dict[str, Any] = {
            "kernel_size": ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1),
            "stride": ntuple(self.stride, n, f"{name}.stride", minimum=1),
            "padding": ntuple(padding, n, f"{name}.padding"),
            "dilation": ntuple(dilation, n, f"{name}.dilation", minimum=1),
            "ceil_mode": ceil_mode,
        }

    def forward(self, input: Tensor) -> Any:
        """Pool ``input``; with ``return_indices`` the result is a pair."""
        return (max_pool_with_indices if self.return_indices else max_pool)(input, **self._attrs)

    def extra_repr(self) -> str:
        """Arguments as given."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """Take the largest element of every window of a batch of sequences.

    Args:
        kernel_size: Length of the window in elements.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: Elements of minus infinity added on both sides; at most half the window.
        dilation: Distance of a window's elements in the input.
        return_indices: Also return where in the sequence each result was found (int64).
        ceil_mode: Allow a last window that starts in the input or the left padding and reaches beyond the right.

    Shape:
        Input (N, C, L) or (C, L); output (N, C, L'), L' = (L + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1
        (rounded up with ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.MaxPool1d``; arguments and defaults as in ``oneflow.nn.MaxPool1d``.

    >>> import flownn as flow
    >>> MaxPool1d(kernel_size=3, padding=1, stride=1)(flow.randn(1, 4, 4)).shape
    flownn.Size([1, 4, 4])
    """

    spatial_dims = 1


class MaxPool2d(_MaxPoolNd):
    """Take the largest pixel of every window of a batch of images.

    Args:
        kernel_size: Height and width of the window in pixels; one int means both. Same for ``stride``, ``padding``,
            ``dilation``.
        stride: Pixels between the starts of two windows; None means ``kernel_size``.
        padding: Pixels of minus infinity added on both sides; at most half the window.
        dilation: Distance of a window's elements in the input.
        return_indices: Also return where in the flattened H x W plane each result was found (int64).
        ceil_mode: Allow a last window that starts in the input or the top/left padding and reaches beyond the other.

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, C, H', W'),
        H' = (H + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1 (rounded up with ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.MaxPool2d``; arguments and defaults as in ``oneflow.nn.MaxPool2d``.

    >>> import flownn as flow
    >>> MaxPool2d(2)(flow.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[4.]]]], dtype=flownn.float32)
    """

    spatial_dims = 2


class MaxPool3d(_MaxPoolNd):
    """Take the largest element of every window of a batch of volumes.

    Args:
        kernel_size: Depth, height and width of the window; one int means all. Same for ``stride``, ``padding``,
            ``dilation``.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: Elements of minus infinity added on both sides; at most half the window.
        dilation: Distance of a window's elements in the input.
        return_indices: Also return where in the flattened D x H x W volume each result was found (int64).
        ceil_mode: Allow a last window that starts in the input or its front padding and reaches beyond the back.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, C, D', H', W'),
        D' = (D + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1 (rounded up with ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.MaxPool3d``; arguments and defaults as in ``oneflow.nn.MaxPool3d``.

    >>> import flownn as flow
    >>> MaxPool3d(kernel_size=3, padding=1, stride=1)(flow.randn(1, 4, 4, 4, 4)).shape
    flownn.Size([1, 4, 4, 4, 4])
    """

    spatial_dims = 3


class _AvgPoolNd(Module):
    spatial_dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int = 0,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self._attrs: dict[str, Any] = {
            "kernel_size": ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1),
            "stride": ntuple(self.stride, n, f"{name}.stride", minimum=1),
            "padding": ntuple(padding, n, f"{name}.padding"),
            "ceil_mode": ceil_mode,
            "count_include_pad": count_include_pad,
            "divisor_override": divisor_override,
        }

    def forward(self, input: Tensor) -> Tensor:
        """Pool ``input``."""
        result: Tensor = avg_pool(input, **self._attrs)
        return result

    def extra_repr(self) -> str:
        """Arguments as given."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPoolNd):
    """Take the mean of every window of a batch of sequences.

    Args:
        kernel_size: Length of the window in elements.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: Zeros added on both sides; at most half the window.
        ceil_mode: Allow a last window that starts in the input or the left padding and reaches beyond the right.
        count_include_pad: Whether the padding counts in the number of elements to divide by.

    Shape:
        Input (N, C, L) or (C, L); output (N, C, L'), L' = (L + 2*padding - kernel_size) // stride + 1 (rounded up with
        ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.AvgPool1d``; arguments and defaults as in ``oneflow.nn.AvgPool1d``.

    >>> import flownn as flow
    >>> AvgPool1d(kernel_size=3, padding=1, stride=1)(flow.randn(1, 4, 4)).shape
    flownn.Size([1, 4, 4])
    """

    spatial_dims = 1

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.kernel_size = self._attrs["kernel_size"]
        self.stride = self._attrs["stride"]
        self.padding = self._attrs["padding"]


class AvgPool2d(_AvgPoolNd):
    """Take the mean of every window of a batch of images.

    Args:
        kernel_size: Height and width of the window in pixels; one int means both. Same for ``stride``, ``padding``.
        stride: Pixels between the starts of two windows; None means ``kernel_size``.
        padding: Zeros added on both sides; at most half the window.
        ceil_mode: Allow a last window that starts in the input or the top/left padding and reaches beyond the other.
        count_include_pad: Whether the padding counts in the number of elements to divide by.
        divisor_override: Divide by this number instead; 0 means not given.

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, C, H', W'),
        H' = (H + 2*padding - kernel_size) // stride + 1 (rounded up with ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.AvgPool2d``; arguments and defaults as in ``oneflow.nn.AvgPool2d``.

    >>> import flownn as flow
    >>> AvgPool2d(2)(flow.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[2.5000]]]], dtype=flownn.float32)
    """

    spatial_dims = 2


class AvgPool3d(_AvgPoolNd):
    """Take the mean of every window of a batch of volumes.

    Args:
        kernel_size: Depth, height and width of the window; one int means all. Same for ``stride``, ``padding``.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: Zeros added on both sides; at most half the window.
        ceil_mode: Allow a last window that starts in the input or its front padding and reaches beyond the back.
        count_include_pad: Whether the padding counts in the number of elements to divide by.
        divisor_override: Divide by this number instead; 0 means not given.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, C, D', H', W'),
        D' = (D + 2*padding - kernel_size) // stride + 1 (rounded up with ``ceil_mode``).

    Raises:
        ShapeError: another number of dims, an input smaller than the window, or too much padding.

    Reference:
        ``torch.nn.AvgPool3d``; arguments and defaults as in ``oneflow.nn.AvgPool3d``.

    >>> import flownn as flow
    >>> AvgPool3d(2, stride=1)(flow.randn(9, 7, 11, 32, 20)).shape
    flownn.Size([9, 7, 10, 31, 19])
    """

    spatial_dims = 3


class _AdaptiveAvgPoolNd(Module):
    spatial_dims: ClassVar[int]

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        self.output_size = output_size
        self._sizes = adaptive_sizes(output_size, n, f"{name}.output_size")

    def forward(self, input: Tensor) -> Tensor:
        """Pool ``input``."""
        result: Tensor = adaptive_avg_pool(input, output_size=self._sizes)
        return result

    def extra_repr(self) -> str:
        """The argument as given."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Take the means of as many windows as the output has elements, for sequences of any length.

    Args:
        output_size: Length L' of the output.

    Shape:
        Input (N, C, L) or (C, L); output (N, C, L'). Window i reaches from floor(i*L/L') to ceil((i+1)*L/L').

    Raises:
        ShapeError: another number of dims, or an empty sequence.

    Reference:
        ``torch.nn.AdaptiveAvgPool1d``.

    >>> import flownn as flow
    >>> AdaptiveAvgPool1d(5)(flow.randn(1, 64, 8)).shape
    flownn.Size([1, 64, 5])
    """

    spatial_dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Take the means of as many windows as the output has pixels, for images of any size.

    Args:
        output_size: Height and width of the output; one int means both, None keeps the input's.

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, C, H', W'). Window i of a dim reaches from floor(i*H/H') to
        ceil((i+1)*H/H').

    Raises:
        ShapeError: another number of dims, or an empty image.

    Reference:
        ``torch.nn.AdaptiveAvgPool2d``.

    >>> import flownn as flow
    >>> AdaptiveAvgPool2d((None, 7))(flow.randn(1, 64, 10, 9)).shape
    flownn.Size([1, 64, 10, 7])
    """

    spatial_dims = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Take the means of as many windows as the output has elements, for volumes of any size.

    Args:
        output_size: Depth, height and width of the output; one int means all, None keeps the input's.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, C, D', H', W'). Window i of a dim reaches from
        floor(i*D/D') to ceil((i+1)*D/D').

    Raises:
        ShapeError: another number of dims, or an empty volume.

    Reference:
        ``torch.nn.AdaptiveAvgPool3d``.

    >>> import flownn as flow
    >>> AdaptiveAvgPool3d((7, None, None))(flow.randn(1, 64, 10, 9, 8)).shape
    flownn.Size([1, 64, 7, 9, 8])
    """

    spatial_dims = 3
