"""Putting maxima back where max pooling found them, and adaptive max pooling, which says where they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import compute_dtype

__all__ = ["adaptive_max_pool", "adaptive_max_pool_with_indices", "max_unpool"]


@op
def max_unpool(xp: Any, x: NDArray[Any], indices: NDArray[Any], *, output_size: Sequence[int]) -> Any:
    """Zeros of (..., *output_size) with each element of x (..., *spatial) at its position in the flattened sizes.

    Of elements with the same position one is kept, in host memory the last; all get that place's gradient (as PyTorch).

    Raises:
        ShapeError: x and indices differ in shape.
        DtypeError: the indices are not int64.
        IndexError: a position lies outside of the output.
    """
    n = len(output_size)
    if indices.shape != x.shape:
        raise ShapeError(f"MaxUnpool{n}d: expected indices of shape {tuple(x.shape)}, got {tuple(indices.shape)}")
    if indices.dtype != np.int64:
        raise DtypeError(f"MaxUnpool{n}d: expected int64 indices, got {indices.dtype}")
    length = math.prod(output_size)
    if indices.size and not (0 <= int(indices.min()) and int(indices.max()) < length):
        raise IndexError(
            f"MaxUnpool{n}d: expected indices from 0 to {length - 1} for an output of size {tuple(output_size)}, "
            f"got {int(indices.min())} to {int(indices.max())}"
        )
    leading = x.shape[:-n]
    rows = xp.arange(math.prod(leading))[:, None]
    per_row = (len(rows), math.prod(x.shape[-n:]))
    places = (rows, indices.reshape(per_row))
    flat = xp.zeros((len(rows), length), dtype=x.dtype)
    flat[places] = x.reshape(per_row)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        return g.reshape(len(rows), length)[places].reshape(x.shape), None

    return flat.reshape(*leading, *output_size), vjp


@op
def adaptive_max_pool(xp: Any, x: NDArray[Any], *, output_size: Sequence[int | None]) -> Any:
    """Largest element of each of ``output_size`` windows per spatial dim that cover x (N, C, *spatial).

    Window i of a dim reaches from ``floor(i * size / out)`` to ``ceil((i + 1) * size / out)``; None keeps a dim's size.
    NaN where the window holds one. The gradient goes to the first of equal elements, in row-major order.
    """
    y, _, vjp = _adaptive_max_pool(xp, x, output_size)
    return y, vjp


@op(tuple_output=True)
def adaptive_max_pool_with_indices(xp: Any, x: NDArray[Any], *, output_size: Sequence[int | None]) -> Any:
    """:func:`adaptive_max_pool`, and where each element was found: int64 positions in the flattened spatial dims."""
    y, indices, vjp = _adaptive_max_pool(xp, x, output_size)
    return (y, indices), lambda gradients: vjp(gradients[0])


def _adaptive_max_pool(xp: Any, x: NDArray[Any], output_size: Sequence[int | None]) -> tuple[Any, Any, Any]:
    n = len(output_size)
    name = f"AdaptiveMaxPool{n}d"
    compute_dtype(name, x.dtype)
    if x.ndim not in (n + 1, n + 2) or 0 in x.shape[x.ndim - n - 1 :]:
        form = ", ".join("DHW"[-n:])
        raise ShapeError(
            f"{name}: expected input (N, C, {form}) or (C, {form}) with channels and no empty spatial dim, "
            f"got shape {tuple(x.shape)}"
        )
    leading, spatial = x.shape[:-n], x.shape[-n:]
    out = tuple(size if want is None else want for size, want in zip(spatial, output_size, strict=True))
    window_positions = xp.asarray(_window_positions(spatial, out))  # (windows, elements of one)
    rows = xp.arange(math.prod(leading))[:, None]
    flat = x.reshape(len(rows), math.prod(spatial))
    chosen = flat[:, window_positions].argmax(axis=-1)  # of equal ones the first; the first NaN
    indices = window_positions[xp.arange(len(window_positions)), chosen]
    y = flat[rows, indices]
    shape, dtype = x.shape, x.dtype

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        gradient = xp.zeros((len(rows), math.prod(spatial)), dtype=dtype)
        xp.add.at(gradient, (rows, indices), g.reshape(indices.shape))  # windows may overlap
        return (gradient.reshape(shape),)

    return y.reshape(*leading, *out), indices.reshape(*leading, *out), vjp


def _window_positions(spatial: Sequence[int], out: Sequence[int]) -> NDArray[Any]:
    """Flattened positions of each window's elements; a shorter window repeats its last row, column, ..."""
    positions: NDArray[Any] = np.zeros((1, 1), dtype=np.int64)
    for size, want in zip(spatial, out, strict=True):
        window = np.arange(want)[:, None]
        start, end = window * size // want, -(-(window + 1) * size // want)
        line = np.minimum(start + np.arange((end - start).max()), end - 1)
        grid = positions[:, None, :, None] * size + line[None, :, None, :]
        positions = grid.reshape(len(positions) * want, -1)
    return positions
