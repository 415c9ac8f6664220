"""Sliding windows over n spatial dims, and their adjoint.

All arrays here are channels-last, (N, *spatial, C), with any strides: a window row then holds runs of
``kernel_size[-1] * C`` adjacent numbers, which is what makes copying windows into a matrix fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.kernels import kernel

__all__ = ["add_windows", "kernel_offsets", "output_size", "shifted", "windows"]


def output_size(size: int, kernel_size: int, stride: int, dilation: int) -> int:
    """How many windows fit into ``size`` elements; zero or less where not even one does."""
    return (size - dilation * (kernel_size - 1) - 1) // stride + 1


def kernel_offsets(kernel_size: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Positions inside a window in row-major order."""
    return itertools.product(*(range(k) for k in kernel_size))


def shifted(
    x: NDArray[Any], offset: Sequence[int], out: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> NDArray[Any]:
    """View (N, *out, C) of the element at ``offset`` of every window of ``x`` (N, *spatial, C)."""
    spatial = tuple(
        slice(o * d, o * d + (n - 1) * s + 1 if n else o * d, s)
        for o, n, s, d in zip(offset, out, stride, dilation, strict=True)
    )
    return x[(slice(None), *spatial)]


def windows(
    xp: Any, x: NDArray[Any], kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> NDArray[Any]:
    """View (N, *out, *kernel_size, C) of every window of ``x`` (N, *spatial, C); read it only."""
    out = tuple(
        output_size(size, k, s, d) for size, k, s, d in zip(x.shape[1:-1], kernel_size, stride, dilation, strict=True)
    )
    steps = x.strides[1:-1]
    view: NDArray[Any] = xp.lib.stride_tricks.as_strided(
        x,
        shape=(x.shape[0], *out, *kernel_size, x.shape[-1]),
        strides=(
            x.strides[0],
            *(step * s for step, s in zip(steps, stride, strict=True)),
            *(step * d for step, d in zip(steps, dilation, strict=True)),
            x.strides[-1],
        ),
    )
    return view


@kernel("add_windows")
def add_windows(
    xp: Any, windows: NDArray[Any], shape: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> NDArray[Any]:
    """Sum windows (N, *out, *kernel_size, C) back to where they were read: an array of ``shape`` (N, *spatial, C).

    The adjoint of :func:`windows`: ``(windows(x) * w).sum() == (x * add_windows(w)).sum()``.
    """
    n = len(shape) - 2
    out, kernel_size = windows.shape[1 : 1 + n], windows.shape[1 + n : -1]
    total: NDArray[Any] = xp.zeros(tuple(shape), dtype=windows.dtype)
    everywhere = (slice(None),) * (n + 1)
    for offset in kernel_offsets(kernel_size):
        index: tuple[slice | int, ...] = (*everywhere, *offset)
        target = shifted(total, offset, out, stride, dilation)
        target += windows[index]
    return total
