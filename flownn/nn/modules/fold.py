"""Layers between images and the columns of their windows."""

from __future__ import annotations

from flownn.nn import functional as F
from flownn.nn.arguments import Sizes
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["Fold", "Unfold"]


class Unfold(Module):
    """Lay out every window of images as a column of a matrix.

    Args:
        kernel_size: Height and width of the window in pixels; one int means both. Same for those below.
        dilation: Distance of a window's elements in the image.
        padding: Zeros added on all sides.
        stride: Pixels between the starts of two windows.

    Shape:
        Input (N, C, H, W) or (C, H, W); output (N, C*kernel_size[0]*kernel_size[1], L) or without N, where L is the
        product over both dims of (size + 2*padding - dilation*(kernel_size-1) - 1) // stride + 1.

    Raises:
        ShapeError: the input has another number of dims, or is smaller than the window.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Unfold``.

    >>> import flownn as flow
    >>> Unfold(2)(flow.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    tensor([[1., 2.],
            [2., 3.],
            [4., 5.],
            [5., 6.]], dtype=flownn.float32)
    """

    def __init__(self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """Unfold ``input``."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """Arguments as given."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Sum the columns that `Unfold` makes back into images, overlapping windows added up.

    Args:
        output_size: Height and width of the images.
        kernel_size: Height and width of the window in pixels; one int means both. Same for those below.
        dilation: Distance of a window's elements in the image.
        padding: Zeros that were added on all sides.
        stride: Pixels between the starts of two windows.

    Shape:
        Input (N, C*kernel_size[0]*kernel_size[1], L) or without N, L as in `Unfold`; output (N, C, *output_size) or
        without N.

    Raises:
        ShapeError: the input's shape does not follow from the arguments.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Fold``.

    >>> import flownn as flow
    >>> Fold((2, 3), 2)(flow.ones(4, 2))
    tensor([[[1., 2., 1.],
             [1., 2., 1.]]], dtype=flownn.float32)
    """

    def __init__(
        self, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """Fold ``input``."""
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """Arguments as given."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
