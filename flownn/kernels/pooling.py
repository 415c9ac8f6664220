"""Pooling of images: the largest element and the mean of every window, and their adjoints.

All arrays here are (N, C, *spatial) with any strides; results have the channels-last memory layout. What lies beside
the input is never read: for each position in the window there is a range of windows in which it lies inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.kernels import kernel
from flownn.kernels.select import masked

__all__ = [
    "PoolWindow",
    "avg_pool_backward",
    "avg_pool_forward",
    "max_pool_backward",
    "max_pool_forward",
    "winner_positions",
]

# So many bytes of the input are worked on together: with the results they fit the second-level cache.
_BLOCK_BYTES = 512 << 10

_PROVIDED = {"onednn": "flownn.kernels.onednn.pooling"}
_SMALLEST = 1 << 13  # numbers, from which on a library's call is worth its price


class PoolWindow(NamedTuple):
    """How windows lie on an input: for each spatial dim size, stride, padding in front, and distance of elements."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


class _Tap(NamedTuple):
    """One position in the window: its row-major number, the windows in which it is inside, and where it is there."""

    number: int
    windows: tuple[slice, ...]
    elements: tuple[slice, ...]


def _taps(window: PoolWindow, out: Sequence[int], spatial: Sequence[int], rows: slice) -> Iterator[_Tap]:
    """The positions inside the input, for windows whose first coordinate is in ``rows``, from which they count."""
    dims: list[list[tuple[slice, slice] | None]] = []
    for axis, (k, s, p, d) in enumerate(zip(*window, strict=True)):
        first, last = (rows.start, rows.stop) if axis == 0 else (0, out[axis])
        ranges: list[tuple[slice, slice] | None] = []
        for offset in range(k):
            shift = offset * d - p
            start = max(first, -(shift // s))  # the first window with start * s + shift >= 0
            stop = min(last, (spatial[axis] - 1 - shift) // s + 1)
            if start >= stop:
                ranges.append(None)
                continue
            begin = start * s + shift
            ranges.append((slice(start - first, stop - first), slice(begin, begin + (stop - start - 1) * s + 1, s)))
        dims.append(ranges)
    for number, offsets in enumerate(np.ndindex(*window.kernel_size)):
        chosen = [ranges[offset] for ranges, offset in zip(dims, offsets, strict=True)]
        if all(each is not None for each in chosen):
            pairs = [each for each in chosen if each is not None]
            yield _Tap(number, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def _blocks(xp: Any, image: NDArray[Any], window: PoolWindow, out: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Which samples and which windows along the first spatial dim to work on together; on a GPU all."""
    everything = (slice(0, image.shape[0]), slice(0, out[0]))
    if xp is not np or image.nbytes <= _BLOCK_BYTES:
        yield everything
        return
    row_bytes = image.itemsize * math.prod(image.shape[2:]) * window.stride[0]
    rows = max(1, _BLOCK_BYTES // max(1, row_bytes))
    if rows >= out[0]:
        samples = max(1, rows // out[0])
        for n in range(0, image.shape[0], samples):
            yield slice(n, min(n + samples, image.shape[0])), everything[1]
        return
    for n in range(image.shape[0]):
        for row in range(0, out[0], rows):
            yield slice(n, n + 1), slice(row, min(row + rows, out[0]))


def _winner_dtype(window: PoolWindow) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if math.prod(window.kernel_size) <= 256 else np.uint32


@kernel("max_pool_forward", provided=_PROVIDED, smallest=_SMALLEST)
def max_pool_forward(
    xp: Any, x: NDArray[Any], window: PoolWindow, out: tuple[int, ...], keep_winners: bool
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Largest element of the ``out`` windows per dim, NaN where a window holds one, and which one it was.

    The second result numbers the positions in the window in row-major order: of equal elements the first, of several
    NaN the last, as in PyTorch. It is unsigned, a byte if that is enough, and None unless ``keep_winners``.
    """
    image = xp.moveaxis(x, 1, -1)
    shape = (image.shape[0], *out, image.shape[-1])
    integer = x.dtype.kind in "iu"
    y = xp.full(shape, np.iinfo(x.dtype).min if integer else -np.inf, x.dtype)
    if not keep_winners:
        for samples, rows in _blocks(xp, image, window, out):
            for tap in _taps(window, out, x.shape[2:], rows):
                best = y[samples, rows][:, *tap.windows]
                xp.maximum(best, image[samples, *tap.elements], out=best)
        return xp.moveaxis(y, -1, 1), None
    winners = xp.empty(shape, _winner_dtype(window))
    winners[...] = xp.asarray(_first_inside(window, out))[..., None].astype(winners.dtype)
    for samples, rows in _blocks(xp, image, window, out):
        part, numbers = y[samples, rows], winners[samples, rows]
        for tap in _taps(window, out, x.shape[2:], rows):
            best, number = part[:, *tap.windows], numbers[:, *tap.windows]
            element = image[samples, *tap.elements]
            better = element > best
            xp.maximum(best, element, out=best)
            # Numbers only grow: later positions win only where they are better.
            xp.maximum(number, better.view(np.uint8) * number.dtype.type(tap.number), out=number)
        if not integer and xp.isnan(part).any():
            for tap in _taps(window, out, x.shape[2:], rows):
                xp.copyto(numbers[:, *tap.windows], tap.number, where=xp.isnan(image[samples, *tap.elements]))
    return xp.moveaxis(y, -1, 1), xp.moveaxis(winners, -1, 1)


def _first_inside(window: PoolWindow, out: Sequence[int]) -> NDArray[Any]:
    """For each window the number of the first of its positions that is not in the padding in front of the input."""
    number: NDArray[Any] = np.zeros((), np.int64)
    for n, k, s, p, d in zip(out, *window, strict=True):
        number = number[..., None] * k + np.maximum(0, -((np.arange(n) * s - p) // d))
    return number


@kernel("max_pool_backward", provided=_PROVIDED, smallest=_SMALLEST)
def max_pool_backward(
    xp: Any, g: NDArray[Any], winners: NDArray[Any], window: PoolWindow, shape: tuple[int, ...]
) -> NDArray[Any]:
    """The gradient of an input of this shape: that of every window, added where its largest element was."""
    out = g.shape[2:]
    grad, numbers = xp.moveaxis(g, 1, -1), xp.moveaxis(winners, 1, -1)
    total = xp.zeros((shape[0], *shape[2:], shape[1]), g.dtype)
    for samples, rows in _blocks(xp, total, window, out):
        part, chosen = grad[samples, rows], numbers[samples, rows]
        for tap in _taps(window, out, shape[2:], rows):
            target = total[samples, *tap.elements]
            target += masked(xp, chosen[:, *tap.windows] == tap.number, part[:, *tap.windows])
    return xp.moveaxis(total, -1, 1)  # type: ignore[no-any-return]


def winner_positions(xp: Any, winners: NDArray[Any], window: PoolWindow, spatial: Sequence[int]) -> NDArray[Any]:
    """Where the winners are: int64 positions in the flattened spatial dims of the input."""
    rest, position = winners.astype(np.int64), 0
    steps = np.cumprod([1, *spatial[:0:-1]])[::-1]
    n = len(spatial)
    for axis in reversed(range(n)):
        rest, offset = xp.divmod(rest, window.kernel_size[axis])
        line = xp.arange(winners.shape[2 + axis]) * window.stride[axis] - window.padding[axis]
        line = line.reshape((-1,) + (1,) * (n - 1 - axis))
        position = position + (offset * window.dilation[axis] + line) * int(steps[axis])
    return position  # type: ignore[return-value]


@kernel("avg_pool_forward", provided=_PROVIDED, smallest=_SMALLEST)
def avg_pool_forward(
    xp: Any, x: NDArray[Any], window: PoolWindow, out: tuple[int, ...], count_include_pad: bool, divisor_override: int
) -> NDArray[Any]:
    """Mean of the ``out`` windows per dim: their sum over ``divisor_override``, or where that is 0 over their size.

    Counted are the elements in the input and, with ``count_include_pad``, those in its padding. 16-bit floats are
    summed in float32.
    """
    dtype = accumulator(x.dtype) or x.dtype
    image = xp.moveaxis(x, 1, -1)
    y = xp.zeros((image.shape[0], *out, image.shape[-1]), dtype)
    divisor = _divisor(xp, x.shape[2:], out, window, count_include_pad, divisor_override, dtype)
    for samples, rows in _blocks(xp, image, window, out):
        part = y[samples, rows]
        for tap in _taps(window, out, x.shape[2:], rows):
            total = part[:, *tap.windows]
            total += image[samples, *tap.elements]
        part /= divisor if divisor.shape[0] == 1 else divisor[rows]
    return xp.moveaxis(y, -1, 1).astype(x.dtype, copy=False)  # type: ignore[no-any-return]


@kernel("avg_pool_backward", provided=_PROVIDED, smallest=_SMALLEST)
def avg_pool_backward(
    xp: Any,
    g: NDArray[Any],
    window: PoolWindow,
    shape: tuple[int, ...],
    count_include_pad: bool,
    divisor_override: int,
) -> NDArray[Any]:
    """The gradient of an input of this shape: that of every window, shared by its elements."""
    out, dtype = g.shape[2:], accumulator(g.dtype) or g.dtype
    divisor = _divisor(xp, shape[2:], out, window, count_include_pad, divisor_override, dtype)
    grad = xp.moveaxis(g, 1, -1)
    total = xp.zeros((shape[0], *shape[2:], shape[1]), dtype)
    for samples, rows in _blocks(xp, total, window, out):
        part = grad[samples, rows] / (divisor if divisor.shape[0] == 1 else divisor[rows])
        for tap in _taps(window, out, shape[2:], rows):
            target = total[samples, *tap.elements]
            target += part[:, *tap.windows]
    return xp.moveaxis(total, -1, 1).astype(g.dtype, copy=False)  # type: ignore[no-any-return]


def _divisor(
    xp: Any,
    spatial: Sequence[int],
    out: Sequence[int],
    window: PoolWindow,
    count_include_pad: bool,
    divisor_override: int,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """What the sum of each window is divided by, as (*out, 1), or one number for all as (1, ..., 1)."""
    counts: NDArray[Any] = np.full((1,) * len(out), divisor_override)
    if not divisor_override:
        counts = np.ones((), np.int64)
        for size, o, k, s, p in zip(spatial, out, *window[:3], strict=True):
            start = np.arange(o) * s - p
            end = np.minimum(start + k, size + p)
            if not count_include_pad:
                start, end = np.maximum(start, 0), np.minimum(end, size)
            counts = counts[..., None] * (end - start)
        if (counts == counts.flat[0]).all():
            counts = counts[(slice(0, 1),) * len(out)]
    result: NDArray[Any] = xp.asarray(counts[..., None], dtype=dtype)
    return result
