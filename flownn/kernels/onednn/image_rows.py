"""Channels-last images as rows of many pixels: how they are cut, and the primitives that work on such rows.

The memory of an image is taken as rows of many pixels, with the vectors per channel repeated: so rows are as long as
the library's loops like them, also with few channels or an odd number of them, and every column adds few numbers, after
which float64 takes over. Blocks of rows go through all steps while they are in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.onednn.library import Library
from flownn.kernels.onednn.memory import descriptor, is_channels_last, workspace
from flownn.kernels.onednn.primitives import (
    BACKWARD,
    DIFF_DST,
    DIFF_SCALE,
    DIFF_SHIFT,
    DIFF_SRC,
    DST,
    FORWARD_TRAINING,
    MEAN,
    POST_OP,
    SCALE,
    SHIFT,
    SRC,
    SRC_1,
    VARIANCE,
    WORKSPACE,
    Primitive,
    append_sum,
)

__all__ = [
    "ADD",
    "ELU",
    "LESS_EQUAL",
    "LINEAR",
    "MUL",
    "SUB",
    "SUM",
    "Blocks",
    "Rows",
    "affine",
    "backward_of",
    "chain",
    "moments",
    "rows_of",
]

_GIVEN_MOMENTS, _SCALE, _SHIFT, _RELU = 1, 2, 4, 8  # dnnl_normalization_flags_t
ADD, MUL, SUB, LESS_EQUAL = 0x1FFF0, 0x1FFF1, 0x1FFF5, 0x1FFF8  # dnnl_binary_*
ELU, LINEAR = 0x22, 0x26  # dnnl_eltwise_elu, dnnl_eltwise_linear
SUM = -1  # not one of the library's numbers
_OF_ONE = (ELU, LINEAR)  # functions of a number and two parameters

_VECTOR = 16  # numbers in the widest register; the fast implementations take multiples of it
_WIDTH = 1024  # of a row
_BLOCK_BYTES = 1 << 20  # with the result it fits the second-level caches of two cores; and wide rows have short columns
_NARROW = 256  # the least width: with less, columns are long
_RUN = 256  # rows of a block at most: that many numbers are added in float32


class Rows(NamedTuple):
    """An image's memory as ``rows`` of ``width`` numbers, each ``tile`` times the channels, in blocks of ``block``."""

    rows: int
    width: int
    tile: int
    block: int


@lru_cache(maxsize=1024)
def rows_for(count: int, channels: int) -> Rows | None:
    """How to take ``count`` numbers per channel; None where there are no rows of a good width."""
    unit = _VECTOR // math.gcd(channels, _VECTOR)
    if count % unit:
        return None
    tile = unit * max(1, _WIDTH // (channels * unit))
    while count % tile:
        tile -= unit
    width, rows = tile * channels, count // tile
    if width < _NARROW:
        return None
    return Rows(rows, width, tile, max(1, min(_RUN, _BLOCK_BYTES // (4 * width))))


def rows_of(x: NDArray[Any], count: int) -> Rows | None:
    """How to take ``count`` numbers per channel of x; None unless it is float32, dense and channels-last."""
    if x.dtype != np.float32 or not is_channels_last(x):
        return None
    if x.shape[1] == 1 and x.flags.c_contiguous:  # as good as plain, where the portable body's rows are planes
        return None
    return rows_for(count, x.shape[1])


def _image(rows: int, width: int) -> int:
    return descriptor(((1, width, rows, 1), (rows * width, 1, width, width))).handle


def moments(rows: int, width: int) -> Primitive:
    """Mean and biased variance of every column; the normalised image goes nowhere."""
    image = _image(rows, width)
    return Primitive(
        "dnnl_batch_normalization_forward_primitive_desc_create",
        (FORWARD_TRAINING, image, image, 0.0, 0),
        (SRC, DST, MEAN, VARIANCE),
    )


def affine(rows: int, width: int, relu: bool) -> Primitive:
    """(x - mean) * scale + shift, for a variance of 1; the workspace has a bit for every positive result."""
    image = _image(rows, width)
    flags = _GIVEN_MOMENTS | _SCALE | _SHIFT | (_RELU if relu else 0)
    numbers = (SRC, DST, MEAN, SCALE, SHIFT, VARIANCE)
    return Primitive(
        "dnnl_batch_normalization_forward_primitive_desc_create",
        (FORWARD_TRAINING, image, image, 0.0, flags),
        (*numbers, WORKSPACE) if relu else numbers,
    )


def backward_of(rows: int, width: int, relu: bool) -> Primitive:
    """The gradient behind the ReLU times the scale, and its sums per column."""
    forward = affine(rows, width, relu)
    image = _image(rows, width)
    flags = _GIVEN_MOMENTS | _SCALE | _SHIFT | (_RELU if relu else 0)
    numbers = (SRC, DIFF_DST, DIFF_SRC, MEAN, SCALE, VARIANCE, DIFF_SCALE, DIFF_SHIFT)
    return Primitive(
        "dnnl_batch_normalization_backward_primitive_desc_create",
        (BACKWARD, image, image, image, 0.0, flags, forward.hint),
        (*numbers, WORKSPACE) if relu else numbers,
    )


def chain(rows: int, width: int, operation: int, other: str, after: tuple[tuple[Any, ...], ...] = ()) -> Primitive:
    """``operation`` of an image and another array, and what comes after; arrays are given in that order.

    Args:
        rows: Of the image.
        width: Of the image.
        operation: A binary operation of the library.
        other: What its second operand is: ``"image"``, ``"vector"`` or ``"number"``.
        after: (operation, kind of operand), (LINEAR, alpha, beta) for ``alpha * result + beta``, (ELU, alpha, 0), or
            (SUM,), which adds what the target held before.
    """
    kinds = {
        "image": _image(rows, width),
        "vector": descriptor(((1, width, 1, 1), (width, 1, width, width))).handle,
        "number": descriptor(((1, 1, 1, 1), (1, 1, 1, 1))).handle,
    }

    def append(library: Library, operations: int) -> None:
        for which, *operands in after:
            if which == SUM:
                append_sum(library, operations)
                continue
            if which in _OF_ONE:
                status = library.dnnl_post_ops_append_eltwise(operations, which, *operands)
            else:
                status = library.dnnl_post_ops_append_binary(operations, which, kinds[operands[0]])
            library.check("append a post-op", status)

    with_operand = [number for number, (which, *_) in enumerate(after, start=1) if which not in (SUM, *_OF_ONE)]
    return Primitive(
        "dnnl_binary_primitive_desc_create",
        (operation, kinds["image"], kinds[other], kinds["image"]),
        (SRC, SRC_1, DST, *(POST_OP * number | SRC_1 for number in with_operand)),
        post_ops=append,
    )


class Blocks:
    """An image's rows in blocks, and what is the same for all that is done to them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.channels = rows.width // rows.tile
        starts = range(0, rows.rows, rows.block)
        self.starts = [4 * rows.width * start for start in starts]  # in bytes
        self.counts = [min(rows.block, rows.rows - start) for start in starts]

    def each(self, make: Callable[..., Primitive], *args: Any) -> list[Primitive]:
        """The primitive for each block; those of equal size share it."""
        found = {count: make(count, self.rows.width, *args) for count in set(self.counts)}
        return [found[count] for count in self.counts]

    def scratch(self) -> int:
        """Address of a buffer for one block, which stays in the cache."""
        return workspace("normalize", 4 * self.rows.width * self.rows.block)

    def is_far(self, mean: NDArray[Any], squares: NDArray[Any]) -> bool:
        """Whether a mean is so far from 0, in deviations, that the library's moments have too few digits.

        It takes the variance of a column about a mean in float32, whose error grows with the distance; over many
        columns such errors cancel out. ``squares`` are sums of squared differences from the mean.
        """
        return bool((mean * mean * self.counts[0] > 4 * squares).any())

    def spread(self, *vectors: NDArray[Any]) -> NDArray[Any]:
        """Vectors of one number per channel as rows."""
        rows = np.empty((len(vectors), self.rows.tile, self.channels), np.float32)
        for i, vector in enumerate(vectors):
            rows[i] = vector
        return rows.reshape(len(vectors), -1)

    def fold(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Numbers per block and column, of several kinds, as their float64 sums per channel (kinds, C)."""
        rows: NDArray[Any] = np.add.reduce(columns, axis=1, dtype=np.float64)  # long rows first, for speed
        return rows if self.rows.tile == 1 else np.add.reduce(rows.reshape(len(rows), -1, self.channels), axis=1)
