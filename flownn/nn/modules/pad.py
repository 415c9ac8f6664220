"""Padding layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from flownn.errors import ShapeError
from flownn.nn.arguments import ntuple, pad_pairs
from flownn.nn.modules.module import Module
from flownn.ops.pad import pad
from flownn.tensor import Tensor

__all__ = ["ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d"]


_ANY = -(1 << 62)  # a negative number crops


class _PadNd(Module):
    spatial_dims: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        name, n = type(self).__name__, self.spatial_dims
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * n)
        if len(sides) != 2 * n:
            raise ValueError(f"{name}: expected padding as an int or {2 * n} ints, got {padding!r}")
        self.padding = ntuple(sides, 2 * n, f"{name}.padding", minimum=_ANY)
        self.value: float = 0
        self._pairs = pad_pairs(self.padding, name)

    def forward(self, input: Tensor) -> Tensor:
        """Pad ``input``."""
        n = self.spatial_dims
        if len(input.data.shape) not in (n + 1, n + 2):
            axes = ", ".join("DHW"[-n:])
            raise ShapeError(
                f"{type(self).__name__}: expected input (N, C, {axes}) or (C, {axes}), "
                f"got shape {tuple(input.data.shape)}"
            )
        result: Tensor = pad(input, padding=self._pairs, mode=self.mode, value=self.value)
        return result

    def extra_repr(self) -> str:
        """The padding on all sides."""
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    def __init__(self, padding: int | Sequence[int], value: float = 0) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """The padding on all sides and what it holds."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Extend sequences at both ends with a constant.

    Args:
        padding: Elements at the left and right end; one int means both, a negative one crops.
        value: What the new elements hold.

    Shape:
        Input (N, C, W) or (C, W); output with W + left + right in place of W.

    Raises:
        ShapeError: another number of dims, or a crop of more than there is.

    Reference:
        ``torch.nn.ConstantPad1d``.

    >>> import flownn as flow
    >>> ConstantPad1d((1, 2), 9.5)(flow.zeros(1, 1, 2))
    tensor([[[9.5000, 0.0000, 0.0000, 9.5000, 9.5000]]], dtype=flownn.float32)
    """

    spatial_dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Extend images on all sides with a constant.

    Args:
        padding: Pixels at the left, right, top and bottom; one int means all, a negative one crops.
        value: What the new pixels hold.

    Shape:
        Input (N, C, H, W) or (C, H, W); output with H + top + bottom and W + left + right.

    Raises:
        ShapeError: another number of dims, or a crop of more than there is.

    Reference:
        ``torch.nn.ConstantPad2d``.

    >>> import flownn as flow
    >>> ConstantPad2d((1, 2, 2, 0), 1.0)(flow.zeros(1, 2, 3, 3)).shape
    flownn.Size([1, 2, 5, 6])
    """

    spatial_dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Extend volumes on all sides with a constant.

    Args:
        padding: Elements at the left, right, top, bottom, front and back; one int means all, a negative one crops.
        value: What the new elements hold.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output with D + front + back, H + top + bottom, W + left + right.

    Raises:
        ShapeError: another number of dims, or a crop of more than there is.

    Reference:
        ``torch.nn.ConstantPad3d``.

    >>> import flownn as flow
    >>> ConstantPad3d(1, 9)(flow.zeros(1, 1, 2, 2, 2)).shape
    flownn.Size([1, 1, 4, 4, 4])
    """

    spatial_dims = 3


class ZeroPad2d(_ConstantPadNd):
    """Extend images on all sides with zeros.

    Args:
        padding: Pixels at the left, right, top and bottom; one int means all, a negative one crops.

    Shape:
        Input (N, C, H, W) or (C, H, W); output with H + top + bottom and W + left + right.

    Raises:
        ShapeError: another number of dims, or a crop of more than there is.

    Reference:
        ``torch.nn.ZeroPad2d``.

    >>> import flownn as flow
    >>> ZeroPad2d((1, 2, 2, 0))(flow.ones(1, 2, 3, 3)).shape
    flownn.Size([1, 2, 5, 6])
    """

    spatial_dims = 2

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding)

    def extra_repr(self) -> str:
        """The padding on all sides."""
        return f"{self.padding}"


class ReflectionPad2d(_PadNd):
    """Extend images on all sides with their mirror image, without repeating the edge.

    Args:
        padding: Pixels at the left, right, top and bottom, each less than the image's size; one int means all,
            a negative one crops.

    Shape:
        Input (N, C, H, W) or (C, H, W); output with H + top + bottom and W + left + right.

    Raises:
        ShapeError: another number of dims, more pixels than the image can mirror, or a crop of all there is.

    Reference:
        ``torch.nn.ReflectionPad2d``.

    >>> import flownn as flow
    >>> ReflectionPad2d((2, 0, 0, 0))(flow.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[3., 2., 1., 2., 3.]]], dtype=flownn.float32)
    """

    spatial_dims = 2
    mode = "reflect"


class ReplicationPad2d(_PadNd):
    """Extend images on all sides by repeating their edge.

    Args:
        padding: Pixels at the left, right, top and bottom; one int means all, a negative one crops.

    Shape:
        Input (N, C, H, W) or (C, H, W); output with H + top + bottom and W + left + right.

    Raises:
        ShapeError: another number of dims, or a crop of all there is.

    Reference:
        ``torch.nn.ReplicationPad2d``.

    >>> import flownn as flow
    >>> ReplicationPad2d((2, 0, 0, 0))(flow.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[1., 1., 1., 2., 3.]]], dtype=flownn.float32)
    """

    spatial_dims = 2
    mode = "replicate"
