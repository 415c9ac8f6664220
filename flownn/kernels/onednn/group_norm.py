"""Normalisation of groups of channels by oneDNN: float32, channels-last; its batch normalisation, sample by sample."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.image_rows import (
    ADD,
    MUL,
    SUB,
    SUM,
    Blocks,
    Rows,
    affine,
    backward_of,
    chain,
    moments,
    rows_of,
)
from flownn.kernels.onednn.memory import empty_channels_last
from flownn.kernels.onednn.primitives import as_channels_last, cached

# Rows of a block at most: so many numbers of a column are added in float32. The definition adds up rows of pixels
# before float64 takes over: of short rows a block has fewer, very short ones are left to it. Half of both where a row
# is one pixel: then there are not several columns per channel, whose errors cancel out.
_RUN, _PER_PIXEL, _SHORTEST_ROW = 128, 4, 4
_AFFINE_IN_PLACE = (SUB, "vector", ((MUL, "vector"), (ADD, "vector"), (SUM,)))


class _Plan(Blocks):
    """What is compiled for a sample that is taken as these rows.

    Raises:
        OneDNNError: the library has no fast implementation.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.moments = self.each(moments)
        self.affine = self.each(affine, False)
        self.sums = self.each(backward_of, False)
        self.slope = chain(rows.rows, rows.width, *_AFFINE_IN_PLACE)
        self.nbytes = 4 * rows.rows * rows.width

    def spread_all(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """One number per sample and channel, as a row per sample."""
        return np.tile(vectors.astype(np.float32), (1, self.rows.tile))

    def per_channel(self, columns: NDArray[Any], channels: int) -> NDArray[Any]:
        """Sums (N, C) in float64 of numbers per sample, block and column."""
        total: NDArray[Any] = columns.reshape(len(columns), -1, channels).sum(axis=1, dtype=np.float64)
        return total


@kernel("normalize_groups", device="cpu", provider="onednn")
def _normalize_groups(
    xp: Any, x: NDArray[Any], scale: NDArray[Any] | None, shift: NDArray[Any] | None, groups: int, eps: float
) -> Any:
    if not x.size or x.shape[-1] < _SHORTEST_ROW:
        return NotImplemented
    samples, channels = x.shape[:2]
    count = x.size // (samples * groups)
    rows = rows_of(x, x.size // (samples * channels))
    if rows is None:
        return NotImplemented
    rows = rows._replace(block=min(rows.block, min(_RUN, _PER_PIXEL * x.shape[-1]) // (2 if rows.tile == 1 else 1)))
    plan = cached(("normalize_groups", rows), partial(_Plan, rows))
    if plan is None:
        return NotImplemented
    mean, squares = _moments(plan, x, groups)
    if plan.is_far(mean, squares):
        return NotImplemented
    variance = squares / count
    inverse = 1 / np.sqrt(variance + eps)

    def beside(array: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(array, channels // groups, axis=1)

    def factors() -> NDArray[Any]:
        wide = beside(inverse)
        spread: NDArray[Any] = plan.spread_all(wide if scale is None else wide * scale)
        return spread

    y = empty_channels_last(x.shape)
    means, scales = plan.spread_all(beside(mean)), factors()
    ones = np.ones(plan.rows.width, np.float32)
    (shifts,) = plan.spread(np.zeros(channels) if shift is None else shift)
    for sample in range(samples):
        source, target = (array.ctypes.data + sample * plan.nbytes for array in (x, y))
        for i, start in enumerate(plan.starts):
            plan.affine[i](source + start, target + start, means[sample], scales[sample], shifts, ones)

    def backward(g: NDArray[Any]) -> Any:
        g, back = as_channels_last(g), empty_channels_last(x.shape)
        means, scales = plan.spread_all(beside(mean)), factors()
        ones = np.ones(plan.rows.width, np.float32)
        sums, dots = np.empty((2, samples, len(plan.starts), plan.rows.width), np.float32)
        for sample in range(samples):
            source, gradient, target = (array.ctypes.data + sample * plan.nbytes for array in (x, g, back))
            for i, start in enumerate(plan.starts):
                vectors = means[sample], scales[sample], ones, dots[sample, i], sums[sample, i]
                plan.sums[i](source + start, gradient + start, target + start, *vectors)
        sum_of, dot_of = (plan.per_channel(each, channels) for each in (sums, dots))
        dot_of *= beside(inverse)

        def over_group(array: NDArray[Any]) -> Any:
            weighted = array if scale is None else array * scale
            return weighted.reshape(samples, groups, -1).sum(axis=2) / count

        # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
        slopes = plan.spread_all(beside(-over_group(dot_of) * inverse**2))
        offsets = plan.spread_all(beside(-over_group(sum_of) * inverse))
        for sample in range(samples):
            source, target = (array.ctypes.data + sample * plan.nbytes for array in (x, back))
            plan.slope(source, means[sample], target, slopes[sample], offsets[sample])
        return back, dot_of.sum(axis=0), sum_of.sum(axis=0)

    return y, backward, (mean, variance)


def _moments(plan: _Plan, x: NDArray[Any], groups: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean, and sum of squared differences from it, (N, groups)."""
    samples, channels = x.shape[:2]
    means, variances = np.empty((2, samples, len(plan.starts), plan.rows.width), np.float32)
    scratch = plan.scratch()
    for sample in range(samples):
        source = x.ctypes.data + sample * plan.nbytes
        for i, start in enumerate(plan.starts):
            plan.moments[i](source + start, scratch, means[sample, i], variances[sample, i])
    shape = samples, len(plan.starts), plan.rows.tile, groups, channels // groups
    means, variances = means.reshape(shape), variances.reshape(shape)
    weights = np.array(plan.counts, np.float64).reshape(-1, 1, 1, 1)
    count = plan.rows.rows * plan.rows.tile * channels // groups
    mean = (means * weights).sum(axis=(1, 2, 4)) / count
    off = means - mean[:, None, None, :, None]
    return mean, (weights * (variances + off * off)).sum(axis=(1, 2, 4))
