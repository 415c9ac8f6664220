"""Arrays (N, C, *spatial) as rows of memory in which every channel has its known place, cut to fit a core's cache.

Whatever is done per channel (sums, scale and shift) is then done by long inner loops over contiguous memory, and by
all steps of a computation while a block is in the cache. Nothing is converted: an array whose memory is channels-last
is cut that way, another in its own order.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from flownn.kernels.blocks import cache_blocks

__all__ = ["ChannelBlocks", "empty_like", "is_channels_last"]

# Numbers in a row: long enough for an inner loop, short enough for the vectors beside it to stay in the first cache.
_ROW = 512
# A plane of so many numbers is a row by itself, with one number per row beside it.
_PLANE = 64
# So many numbers are added in their own width before float64 takes over.
_RUN = 256


def is_channels_last(x: NDArray[Any]) -> bool:
    """Whether x (N, C, *spatial) is to be taken in the order (N, *spatial, C).

    It is where its memory has that order, or is contiguous in neither but changes fastest along the channels. An array
    that has both orders (one channel, or one number per plane) counts as the one with the longer inner dim.
    """
    if x.flags.c_contiguous:
        return math.prod(x.shape[2:]) == 1
    inner = [step for step, size in zip(x.strides[2:], x.shape[2:], strict=True) if size > 1]
    return x.shape[1] > 1 and all(0 < abs(x.strides[1]) <= abs(step) for step in inner)


def empty_like(xp: Any, x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A dense array of the shape and order of x."""
    if not is_channels_last(x):
        return xp.empty(x.shape, dtype)  # type: ignore[no-any-return]
    return xp.moveaxis(xp.empty((x.shape[0], *x.shape[2:], x.shape[1]), dtype), -1, 1)  # type: ignore[no-any-return]


class ChannelBlocks:
    """How arrays of one shape and order are cut.

    In the first form a row holds whole periods, of the channels of one pixel (channels-last) or of the planes of one
    sample, and the last row what is left. In the second, for large planes, each plane is a row.

    Args:
        xp: The array module.
        x: An array (N, C, *spatial), not empty; others are cut as this one is.
        dtype: What is computed in.
    """

    def __init__(self, xp: Any, x: NDArray[Any], dtype: Any) -> None:
        self.xp, self.dtype = xp, dtype
        self.samples, self.channels = x.shape[:2]
        self.last = is_channels_last(x)
        plane = math.prod(x.shape[2:])
        self.count = self.samples * plane  # of numbers per channel
        self.by_plane = not self.last and plane >= _PLANE
        self._repeat = 1 if self.last else plane
        period = self.channels * self._repeat
        self._tile = 1 if self.by_plane else min(x.size // period, max(1, _ROW // period))
        self.row = plane if self.by_plane else period * self._tile
        self._rows = x.size // self.row
        # Twice the usual size: there are few arrays at a time, and many calls for each block.
        self._blocks = cache_blocks(xp, self._rows, self.row * dtype.itemsize // 2)

    def cut(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """The blocks of an array, each (rows, numbers): views where the array is dense in this order."""
        xp = self.xp
        flat = xp.ascontiguousarray(xp.moveaxis(array, 1, -1) if self.last else array).reshape(-1)
        whole = self._rows * self.row
        rows = flat[:whole].reshape(self._rows, self.row)
        blocks = [rows[block] for block in self._blocks]
        return blocks if whole == flat.size else [*blocks, flat[None, whole:]]

    def spread(self, vector: NDArray[Any], dtype: Any = None) -> list[NDArray[Any]]:
        """One number per channel, (C,), as an array beside each block that broadcasts to it."""
        xp = self.xp
        vector = vector.astype(dtype or self.dtype)
        if self.by_plane:
            column = xp.tile(vector, self.samples)[:, None]
            return [column[block] for block in self._blocks]
        row: NDArray[Any] = vector if self._repeat == 1 else xp.repeat(vector, self._repeat)
        row = row if self._tile == 1 else xp.tile(row, self._tile)
        left = self.count * self.channels - self._rows * self.row
        return [row] * len(self._blocks) + ([row[:left]] if left else [])

    def sum(self, block: NDArray[Any]) -> NDArray[Any]:
        """The float64 sums of a block's rows (of a plane each) or of its columns, of short partial sums."""
        if self.by_plane:
            return block.sum(axis=1).astype("float64")  # type: ignore[no-any-return]  # pairwise, as good as runs
        if len(block) <= _RUN:
            return block.sum(axis=0).astype("float64")  # type: ignore[no-any-return]
        return self._over_runs(lambda run: run.sum(axis=-2), block)

    def terms(self, block: NDArray[Any]) -> int:
        """How many numbers each of these sums has."""
        return self.row if self.by_plane else len(block)

    def dot(self, block: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """``sum(block * other)`` without the product in memory."""
        einsum = self.xp.einsum
        if self.by_plane:
            whole = self.row // _RUN * _RUN
            total = einsum("rk,rk->r", block[:, whole:], other[:, whole:]).astype("float64")
            if whole:
                shape = (len(block), whole // _RUN, _RUN)
                runs = einsum("rqk,rqk->rq", block[:, :whole].reshape(shape), other[:, :whole].reshape(shape))
                total += runs.sum(axis=1, dtype="float64")
            return total  # type: ignore[no-any-return]
        if len(block) <= _RUN:
            return einsum("rk,rk->k", block, other).astype("float64")  # type: ignore[no-any-return]
        return self._over_runs(lambda run, other: einsum("...rk,...rk->...k", run, other), block, other)

    def _over_runs(self, reduce: Any, *blocks: NDArray[Any]) -> NDArray[Any]:
        whole = len(blocks[0]) // _RUN * _RUN
        runs = [block[:whole].reshape(-1, _RUN, block.shape[1]) for block in blocks]
        total = reduce(*runs).sum(axis=0, dtype="float64")
        return total + reduce(*(block[whole:] for block in blocks))  # type: ignore[no-any-return]

    def fold(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Sums of the columns of one block, or of the planes of all of them, as one number per channel."""
        if self.by_plane:
            return sums.reshape(self.samples, self.channels).sum(axis=0)  # type: ignore[no-any-return]
        folded = sums.reshape(-1, self.channels * self._repeat).sum(axis=0)
        return folded.reshape(self.channels, self._repeat).sum(axis=1)  # type: ignore[no-any-return]

    def total(self, sums: list[NDArray[Any]]) -> NDArray[Any]:
        """One number per channel of what `sum` or `dot` gave for each block."""
        if self.by_plane:
            return self.fold(self.xp.concatenate(sums))
        whole = [each for each in sums if each.size == self.row]
        total = self.fold(sum(whole[1:], start=whole[0]))
        return total if len(whole) == len(sums) else total + self.fold(sums[-1])
