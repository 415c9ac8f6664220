"""Layers that put maxima back, and adaptive max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flownn.nn import functional as F
from flownn.nn.arguments import Sizes, adaptive_sizes, ntuple
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = [
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _MaxUnpoolNd(Module):
    spatial_dims: ClassVar[int]

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        self.kernel_size = ntuple(kernel_size, n, f"{name}.kernel_size", minimum=1)
        self.stride = ntuple(kernel_size if stride is None else stride, n, f"{name}.stride", minimum=1)
        self.padding = ntuple(padding, n, f"{name}.padding")

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Put the elements of ``input`` where ``indices`` says, in zeros of ``output_size``."""
        function = getattr(F, f"max_unpool{self.spatial_dims}d")
        result: Tensor = function(input, indices, self.kernel_size, self.stride, self.padding, output_size)
        return result

    def extra_repr(self) -> str:
        """All arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AdaptiveMaxPoolNd(Module):
    spatial_dims: ClassVar[int]

    def __init__(self, output_size: int | Sequence[int | None] | None, return_indices: bool = False) -> None:
        super().__init__()
        adaptive_sizes(output_size, self.spatial_dims, f"{type(self).__name__}.output_size")
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """Pool ``input``; with ``return_indices`` the result is a pair."""
        function = getattr(F, f"adaptive_max_pool{self.spatial_dims}d")
        return function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The size as given."""
        return f"output_size={self.output_size}"


class MaxUnpool1d(_MaxUnpoolNd):
    """Put maxima back where `MaxPool1d` found them in sequences; zeros everywhere else.

    Args:
        kernel_size: The pooling's window, in elements.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: The pooling's padding.

    Shape:
        Input and indices (N, C, L) or (C, L), the indices from pooling with ``return_indices=True``; output
        (N, C, L') or (C, L'), L' = (L - 1)*stride - 2*padding + kernel_size. Pooling maps several sizes to
        one; ``output_size`` says which it was: the spatial sizes, or those of all dims.

    Raises:
        ShapeError: the input has another number of dims, or the indices another shape.
        DtypeError: the indices are not int64.
        IndexError: an index lies outside of the output.
        ValueError: ``output_size`` is a stride or more away from the formula's.

    Reference:
        ``torch.nn.MaxUnpool1d``.

    >>> import flownn as flow
    >>> from flownn import nn
    >>> x = flow.tensor([[[1.0, 4.0, 3.0, 2.0]]])
    >>> MaxUnpool1d(2)(*nn.MaxPool1d(2, return_indices=True)(x))
    tensor([[[0., 4., 3., 0.]]], dtype=flownn.float32)
    """

    spatial_dims = 1


class MaxUnpool2d(_MaxUnpoolNd):
    """Put maxima back where `MaxPool2d` found them in images; zeros everywhere else.

    Args:
        kernel_size: The pooling's window, in elements per dim.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: The pooling's padding.

    Shape:
        Input and indices (N, C, H, W) or (C, H, W), the indices from pooling with ``return_indices=True``; output
        (N, C, H', W') or (C, H', W'), H' = (H - 1)*stride - 2*padding + kernel_size. Pooling maps several sizes to
        one; ``output_size`` says which it was: the spatial sizes, or those of all dims.

    Raises:
        ShapeError: the input has another number of dims, or the indices another shape.
        DtypeError: the indices are not int64.
        IndexError: an index lies outside of the output.
        ValueError: ``output_size`` is a stride or more away from the formula's.

    Reference:
        ``torch.nn.MaxUnpool2d``.

    >>> import flownn as flow
    >>> from flownn import nn
    >>> x = flow.tensor([[[[1.0, 4.0], [3.0, 2.0]]]])
    >>> MaxUnpool2d(2)(*nn.MaxPool2d(2, return_indices=True)(x))
    tensor([[[[0., 4.],
              [0., 0.]]]], dtype=flownn.float32)
    """

    spatial_dims = 2


class MaxUnpool3d(_MaxUnpoolNd):
    """Put maxima back where `MaxPool3d` found them in volumes; zeros everywhere else.

    Args:
        kernel_size: The pooling's window, in elements per dim.
        stride: Elements between the starts of two windows; None means ``kernel_size``.
        padding: The pooling's padding.

    Shape:
        Input and indices (N, C, D, H, W) or (C, D, H, W), the indices from pooling with ``return_indices=True``; output
        (N, C, D', H', W') or (C, D', H', W'), D' = (D - 1)*stride - 2*padding + kernel_size. Pooling maps several sizes
        to one; ``output_size`` says which it was: the spatial sizes, or those of all dims.

    Raises:
        ShapeError: the input has another number of dims, or the indices another shape.
        DtypeError: the indices are not int64.
        IndexError: an index lies outside of the output.
        ValueError: ``output_size`` is a stride or more away from the formula's.

    Reference:
        ``torch.nn.MaxUnpool3d``.

    >>> import flownn as flow
    >>> from flownn import nn
    >>> x = flow.tensor([[[[[1.0, 4.0], [3.0, 2.0]], [[5.0, 0.0], [0.0, 0.0]]]]])
    >>> MaxUnpool3d(2)(*nn.MaxPool3d(2, return_indices=True)(x))
    tensor([[[[[0., 0.],
               [0., 0.]],
    <BLANKLINE>
              [[5., 0.],
               [0., 0.]]]]], dtype=flownn.float32)
    """

    spatial_dims = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Take the largest element of windows that cover sequences, as many as asked for.

    Args:
        output_size: Windows along each spatial dim; one int means the same for all, None keeps a dim's size.
        return_indices: Also return where in the flattened spatial dims each result was found (int64).

    Shape:
        Input (N, C, L) or (C, L); output (N, C, *output_size) or (C, *output_size). Window i of a dim of size
        s reaches from floor(i*s/out) to ceil((i+1)*s/out).

    Raises:
        ShapeError: the input has another number of dims, or an empty one that is not the batch.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.AdaptiveMaxPool1d``.

    >>> import flownn as flow
    >>> AdaptiveMaxPool1d(2)(flow.zeros(2, 3, 7)).shape
    flownn.Size([2, 3, 2])
    """

    spatial_dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Take the largest element of windows that cover images, as many as asked for.

    Args:
        output_size: Windows along each spatial dim; one int means the same for all, None keeps a dim's size.
        return_indices: Also return where in the flattened spatial dims each result was found (int64).

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, C, *output_size) or (C, *output_size). Window i of a dim of size
        s reaches from floor(i*s/out) to ceil((i+1)*s/out).

    Raises:
        ShapeError: the input has another number of dims, or an empty one that is not the batch.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.AdaptiveMaxPool2d``.

    >>> import flownn as flow
    >>> AdaptiveMaxPool2d(2)(flow.zeros(2, 3, 7, 5)).shape
    flownn.Size([2, 3, 2, 2])
    """

    spatial_dims = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Take the largest element of windows that cover volumes, as many as asked for.

    Args:
        output_size: Windows along each spatial dim; one int means the same for all, None keeps a dim's size.
        return_indices: Also return where in the flattened spatial dims each result was found (int64).

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output (N, C, *output_size) or (C, *output_size). Window i of a dim of
        size s reaches from floor(i*s/out) to ceil((i+1)*s/out).

    Raises:
        ShapeError: the input has another number of dims, or an empty one that is not the batch.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.AdaptiveMaxPool3d``.

    >>> import flownn as flow
    >>> AdaptiveMaxPool3d(2)(flow.zeros(2, 3, 7, 5, 4)).shape
    flownn.Size([2, 3, 2, 2, 2])
    """

    spatial_dims = 3
