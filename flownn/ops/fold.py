"""Windows of images as columns of a matrix, and columns summed back to images; each is the other's adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.windows import add_windows, output_size, windows

__all__ = ["fold", "unfold"]

_Array = NDArray[Any]
_Sizes = Sequence[int]


@op
def unfold(xp: Any, x: _Array, *, kernel_size: _Sizes, dilation: _Sizes, padding: _Sizes, stride: _Sizes) -> Any:
    """Each window of x (N, C, *spatial) as a column: (N, C * elements of a window, windows)."""
    n = len(kernel_size)
    compute_dtype("Unfold", x.dtype)
    if x.ndim != n + 2:
        raise ShapeError(f"Unfold: expected input (N, C, H, W) or (C, H, W), got shape {tuple(x.shape)}")
    out = _window_counts("Unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    shape = x.shape

    def vjp(g: _Array) -> tuple[Any, ...]:
        return (_image(xp, g, shape, out, kernel_size, dilation, padding, stride),)

    return _columns(xp, x, out, kernel_size, dilation, padding, stride), vjp


@op
def fold(
    xp: Any,
    x: _Array,
    *,
    image_size: _Sizes,
    kernel_size: _Sizes,
    dilation: _Sizes,
    padding: _Sizes,
    stride: _Sizes,
) -> Any:
    """Sum columns (N, C * elements of a window, windows) into images (N, C, *image_size)."""
    compute_dtype("Fold", x.dtype)
    out = _window_counts("Fold", image_size, kernel_size, dilation, padding, stride)
    elements, count = math.prod(kernel_size), math.prod(out)
    if x.ndim != 3 or x.shape[1] % elements or x.shape[2] != count:
        raise ShapeError(
            f"Fold: expected input (N, C * {elements}, {count}) for output_size {tuple(image_size)}, kernel_size "
            f"{tuple(kernel_size)}, dilation {tuple(dilation)}, padding {tuple(padding)} and stride {tuple(stride)}, "
            f"got shape {tuple(x.shape)}"
        )
    shape = (x.shape[0], x.shape[1] // elements, *image_size)

    def vjp(g: _Array) -> tuple[Any, ...]:
        return (_columns(xp, g, out, kernel_size, dilation, padding, stride),)

    return _image(xp, x, shape, out, kernel_size, dilation, padding, stride), vjp


def _window_counts(
    name: str, spatial: _Sizes, kernel_size: _Sizes, dilation: _Sizes, padding: _Sizes, stride: _Sizes
) -> tuple[int, ...]:
    padded = [size + 2 * p for size, p in zip(spatial, padding, strict=True)]
    out = tuple(output_size(*sizes) for sizes in zip(padded, kernel_size, stride, dilation, strict=True))
    if min(out) < 1:
        raise ShapeError(
            f"{name}: expected an image that holds the window, got size {tuple(spatial)} for kernel_size "
            f"{tuple(kernel_size)}, dilation {tuple(dilation)} and padding {tuple(padding)}"
        )
    return out


def _columns(
    xp: Any, x: _Array, out: _Sizes, kernel_size: _Sizes, dilation: _Sizes, padding: _Sizes, stride: _Sizes
) -> Any:
    n = len(out)
    image = xp.pad(xp.moveaxis(x, 1, -1), ((0, 0), *((p, p) for p in padding), (0, 0)))
    view = windows(xp, image, kernel_size, stride, dilation)  # (N, *out, *kernel_size, C)
    order = (0, 2 * n + 1, *range(n + 1, 2 * n + 1), *range(1, n + 1))
    return view.transpose(order).reshape(x.shape[0], x.shape[1] * math.prod(kernel_size), math.prod(out))


def _image(
    xp: Any,
    columns: _Array,
    shape: _Sizes,
    out: _Sizes,
    kernel_size: _Sizes,
    dilation: _Sizes,
    padding: _Sizes,
    stride: _Sizes,
) -> Any:
    n = len(out)
    batch, channels, *spatial = shape
    apart = columns.reshape(batch, channels, *kernel_size, *out)
    order = (0, *range(n + 2, 2 * n + 2), *range(2, n + 2), 1)
    view = apart.transpose(order).astype(compute_dtype("Fold", columns.dtype), copy=False)
    padded = tuple(size + 2 * p for size, p in zip(spatial, padding, strict=True))
    image = add_windows(xp, view, (batch, *padded, channels), stride, dilation)
    inside = tuple(slice(p, p + size) for p, size in zip(padding, spatial, strict=True))
    return xp.moveaxis(image[(slice(None), *inside)], -1, 1).astype(columns.dtype, copy=False)
