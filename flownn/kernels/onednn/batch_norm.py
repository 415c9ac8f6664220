"""Normalisation of channels by oneDNN: float32, channels-last.

The memory of an image is taken as rows of many pixels, with the vectors per channel repeated: so rows are as long as
the library's loops like them, also with few channels or an odd number of them, and every column adds few numbers, after
which float64 takes over. Blocks of rows go through all steps while they are in the cache.

The library's ReLU makes 0 of NaN. So it serves only where x is known to be finite, because the moments computed from it
are; elsewhere comparisons do the same, which keep NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.batch_norm import Gradients
from flownn.kernels.channel_blocks import is_channels_last
from flownn.kernels.onednn.library import Library
from flownn.kernels.onednn.memory import descriptor, empty_channels_last, workspace
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
    as_channels_last,
    cached,
)

_GIVEN_MOMENTS, _SCALE, _SHIFT, _RELU = 1, 2, 4, 8  # dnnl_normalization_flags_t
_ADD, _MUL, _MAX, _SUB, _LESS_EQUAL, _NOT_EQUAL = 0x1FFF0, 0x1FFF1, 0x1FFF2, 0x1FFF5, 0x1FFF8, 0x1FFFB
_LINEAR = 0x26  # dnnl_eltwise_linear
_SUM = -1  # not one of the library's numbers

_VECTOR = 16  # numbers in the widest register; the fast implementations take multiples of it
_WIDTH = 1024  # of a row
_BLOCK_BYTES = 2 << 20  # with the result it fits the second-level caches of a few cores
_NARROW = 256  # the least width: with less, columns are long
_RUN = 256  # rows of a block at most: that many numbers are added in float32


class _Rows(NamedTuple):
    """An image's memory as ``rows`` of ``width`` numbers, each ``tile`` times the channels, in blocks of ``block``."""

    rows: int
    width: int
    tile: int
    block: int


@lru_cache(maxsize=1024)
def _rows(count: int, channels: int) -> _Rows | None:
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
    return _Rows(rows, width, tile, max(1, min(_RUN, _BLOCK_BYTES // (4 * width))))


def _rows_of(*arrays: NDArray[Any] | None) -> _Rows | None:
    """The rows of these float32 arrays, or None unless all are dense and channels-last."""
    for array in arrays:
        if array is None:
            continue
        if array.dtype != np.float32 or not is_channels_last(array):
            return None
        if not array.transpose(0, *range(2, array.ndim), 1).flags.c_contiguous:
            return None
    x = arrays[0]
    assert x is not None
    return _rows(x.size // x.shape[1], x.shape[1])


def _image(rows: int, width: int) -> int:
    return descriptor(((1, width, rows, 1), (rows * width, 1, width, width))).handle


def _moments(rows: int, width: int) -> Primitive:
    """Mean and biased variance of every column; the normalised image goes nowhere."""
    image = _image(rows, width)
    return Primitive(
        "dnnl_batch_normalization_forward_primitive_desc_create",
        (FORWARD_TRAINING, image, image, 0.0, 0),
        (SRC, DST, MEAN, VARIANCE),
    )


def _affine(rows: int, width: int, relu: bool) -> Primitive:
    """(x - mean) * scale + shift, for a variance of 1; the workspace has a bit for every positive result."""
    image = _image(rows, width)
    flags = _GIVEN_MOMENTS | _SCALE | _SHIFT | (_RELU if relu else 0)
    numbers = (SRC, DST, MEAN, SCALE, SHIFT, VARIANCE)
    return Primitive(
        "dnnl_batch_normalization_forward_primitive_desc_create",
        (FORWARD_TRAINING, image, image, 0.0, flags),
        (*numbers, WORKSPACE) if relu else numbers,
    )


def _backward(rows: int, width: int, relu: bool) -> Primitive:
    """The gradient behind the ReLU times the scale, and its sums per column."""
    forward = _affine(rows, width, relu)
    image = _image(rows, width)
    flags = _GIVEN_MOMENTS | _SCALE | _SHIFT | (_RELU if relu else 0)
    numbers = (SRC, DIFF_DST, DIFF_SRC, MEAN, SCALE, VARIANCE, DIFF_SCALE, DIFF_SHIFT)
    return Primitive(
        "dnnl_batch_normalization_backward_primitive_desc_create",
        (BACKWARD, image, image, image, 0.0, flags, forward.hint),
        (*numbers, WORKSPACE) if relu else numbers,
    )


def _chain(rows: int, width: int, operation: int, other: str, after: tuple[tuple[Any, ...], ...] = ()) -> Primitive:
    """``operation`` of an image and another array, and what comes after; arrays are given in that order.

    Args:
        rows: Of the image.
        width: Of the image.
        operation: A binary operation of the library.
        other: What its second operand is: ``"image"``, ``"vector"`` or ``"number"``.
        after: (operation, kind of operand), (_LINEAR, alpha, beta) for ``alpha * result + beta``, or (_SUM,), which
            adds what the target held before.
    """
    kinds = {
        "image": _image(rows, width),
        "vector": descriptor(((1, width, 1, 1), (width, 1, width, width))).handle,
        "number": descriptor(((1, 1, 1, 1), (1, 1, 1, 1))).handle,
    }

    def append(library: Library, operations: int) -> None:
        for which, *operands in after:
            if which == _SUM:
                status = library.dnnl_post_ops_append_sum(operations, 1.0, 0, 0)
            elif which == _LINEAR:
                status = library.dnnl_post_ops_append_eltwise(operations, which, *operands)
            else:
                status = library.dnnl_post_ops_append_binary(operations, which, kinds[operands[0]])
            library.check("append a post-op", status)

    with_operand = [number for number, (which, *_) in enumerate(after, start=1) if which not in (_SUM, _LINEAR)]
    return Primitive(
        "dnnl_binary_primitive_desc_create",
        (operation, kinds["image"], kinds[other], kinds["image"]),
        (SRC, SRC_1, DST, *(POST_OP * number | SRC_1 for number in with_operand)),
        post_ops=append,
    )


_RECTIFY = (_NOT_EQUAL, "image", ((_MAX, "image"),))  # 0, or 1 for NaN; the larger one of that and x, which NaN is
_MASK = (_LESS_EQUAL, "number", ((_LINEAR, -1.0, 1.0), (_MUL, "image")))  # times 1 where not x <= 0
_TANGENT = ((_MUL, "vector"), (_ADD, "vector"))
_SLOPE = (_SUB, "vector", (*_TANGENT, (_ADD, "image"), (_MUL, "vector")))
_SLOPE_IN_PLACE = (_SUB, "vector", (*_TANGENT, (_SUM,), (_MUL, "vector")))


class _Blocks:
    """An image's rows in blocks, and what is the same for all that is done to them."""

    def __init__(self, rows: _Rows) -> None:
        self.rows = rows
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

    def spread(self, vector: NDArray[Any]) -> NDArray[Any]:
        """One number per channel, as a row."""
        row = np.empty((self.rows.tile, len(vector)), np.float32)
        row[...] = vector
        return row.reshape(-1)

    def fold(self, columns: NDArray[Any]) -> NDArray[Any]:
        """The float64 sums per channel of numbers per column, of many blocks."""
        total: NDArray[Any] = columns.reshape(-1, self.rows.width // self.rows.tile).sum(axis=0, dtype=np.float64)
        return total


class _Plan(_Blocks):
    """Everything that is compiled to normalise an image that is taken as these rows.

    Args:
        rows: The image.
        kept: What says in the backward where the result was positive: ``"all"`` of it counts, ``"bits"`` of the
            library, or the ``"result"``, which keeps NaN.
        addend: Whether one is added.

    Raises:
        OneDNNError: the library has no fast implementation.
    """

    def __init__(self, rows: _Rows, kept: str, addend: bool) -> None:
        super().__init__(rows)
        bits = kept == "bits"
        self.affine = self.each(_affine, bits)
        self.add = self.each(_chain, _ADD, "image") if addend else []
        self.rectify = self.each(_chain, *_RECTIFY) if kept == "result" else []
        self.mask = self.each(_chain, *_MASK) if kept == "result" else []
        self.sums = self.each(_backward, bits)
        self.scale = _chain(rows.rows, rows.width, _MUL, "vector")
        in_place = kept != "all" and not addend
        self.slope = _chain(rows.rows, rows.width, *(_SLOPE_IN_PLACE if in_place else _SLOPE))


class _Moments(_Blocks):
    """What is compiled to compute the moments of an image that is taken as these rows."""

    def __init__(self, rows: _Rows) -> None:
        super().__init__(rows)
        self.run = self.each(_moments)


@kernel("channel_moments", device="cpu", provider="onednn")
def _channel_moments(xp: Any, x: NDArray[Any]) -> Any:
    rows = _rows_of(x)
    plan = rows and cached(("channel_moments", rows), partial(_Moments, rows))
    if rows is None or plan is None:
        return NotImplemented
    means, variances = np.empty((2, len(plan.counts), rows.width), np.float32)
    source, scratch = x.ctypes.data, plan.scratch()
    for i, run in enumerate(plan.run):
        run(source + plan.starts[i], scratch, means[i], variances[i])
    weights = np.array(plan.counts, np.float64)[:, None]
    mean = plan.fold(means * weights) / (rows.rows * rows.tile)
    off = (means.reshape(-1, mean.size) - mean).reshape(means.shape)
    squares = plan.fold(weights * (variances + off * off))
    # The library rounds a column's mean to float32 and takes the variance about that. Far from 0, beside few numbers,
    # this costs digits that the portable body keeps.
    if (mean * mean > squares).any():
        return NotImplemented
    return mean, squares


@kernel("normalize_channels", device="cpu", provider="onednn")
def _normalize_channels(
    xp: Any,
    x: NDArray[Any],
    mean: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any] | None = None,
    addend: NDArray[Any] | None = None,
    relu: bool = False,
    from_x: bool = False,
) -> Any:
    rows = _rows_of(x)
    if rows is None or (addend is not None and addend.dtype != np.float32):
        return NotImplemented
    kept = "all" if not relu else "bits" if from_x and addend is None else "result"
    if kept == "bits" and not np.isfinite(mean + scale + (0 if shift is None else shift)).all():
        return NotImplemented
    plan = cached(
        ("normalize_channels", rows, kept, addend is not None), partial(_Plan, rows, kept, addend is not None)
    )
    if plan is None:
        return NotImplemented
    shift = np.zeros_like(mean) if shift is None else shift
    bits = [np.empty(run.nbytes(WORKSPACE), np.uint8) for run in plan.affine] if kept == "bits" else None
    y = empty_channels_last(x.shape)
    _forward(plan, x, y, (mean, scale, shift), addend, bits)
    result = y if kept == "result" and addend is not None else None
    has_addend = addend is not None

    def backward(g: NDArray[Any]) -> Gradients:
        g = as_channels_last(g)
        behind = empty_channels_last(x.shape) if relu else g
        sums = _sums(plan, x, g, behind, (mean, scale, shift), bits, result)

        def grad_x(along_one: NDArray[Any] | None, along_x: NDArray[Any] | None) -> NDArray[Any]:
            target = behind if relu and not has_addend else empty_channels_last(x.shape)
            _grad_x(plan, x, behind, target, (mean, scale), along_one, along_x)
            return target

        return Gradients(*sums, behind if has_addend else None, grad_x)

    return y, backward


Vectors = tuple[NDArray[Any], ...]


def _forward(
    plan: _Plan,
    x: NDArray[Any],
    y: NDArray[Any],
    vectors: Vectors,
    addend: NDArray[Any] | None,
    bits: list[NDArray[Any]] | None,
) -> None:
    mean, scale, shift = map(plan.spread, vectors)
    ones = np.ones_like(mean)
    other = None if addend is None else as_channels_last(addend)
    source, target = x.ctypes.data, y.ctypes.data
    more = 0 if other is None else other.ctypes.data
    for i, start in enumerate(plan.starts):
        into = target + start
        plan.affine[i](source + start, into, mean, scale, shift, ones, *(() if bits is None else (bits[i],)))
        if plan.add:
            plan.add[i](into, more + start, into)
        if plan.rectify:
            plan.rectify[i](into, into, into, into)


def _sums(
    plan: _Plan,
    x: NDArray[Any],
    g: NDArray[Any],
    behind: NDArray[Any],
    vectors: Vectors,
    bits: list[NDArray[Any]] | None,
    result: NDArray[Any] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sums per channel of the gradient behind the ReLU, alone and times x - mean; that gradient goes to ``behind``."""
    mean, scale, shift = map(plan.spread, vectors)
    ones, zero = np.ones_like(mean), np.zeros(1, np.float32)
    dots, sums = np.empty((2, len(plan.starts), mean.size), np.float32)
    source, gradient, after, scratch = x.ctypes.data, g.ctypes.data, behind.ctypes.data, plan.scratch()
    positive = 0 if result is None else result.ctypes.data
    for i, start in enumerate(plan.starts):
        of_x = source + start
        if plan.mask:
            if result is None:
                plan.affine[i](of_x, scratch, mean, scale, shift, ones)
            plan.mask[i](scratch if result is None else positive + start, zero, after + start, gradient + start)
        kept = () if bits is None else (bits[i],)
        into = scratch if bits is None else after + start
        from_here = gradient if bits is not None else after
        plan.sums[i](of_x, from_here + start, into, mean, ones, ones, dots[i], sums[i], *kept)
    return plan.fold(sums), plan.fold(dots)


def _grad_x(
    plan: _Plan,
    x: NDArray[Any],
    behind: NDArray[Any],
    target: NDArray[Any],
    vectors: Vectors,
    along_one: NDArray[Any] | None,
    along_x: NDArray[Any] | None,
) -> None:
    mean, scale = map(plan.spread, vectors)
    if along_one is None or along_x is None:
        plan.scale(behind, scale, target)
        return
    tangent = plan.spread(-along_x), plan.spread(-along_one)
    operands = () if target is behind else (behind,)
    plan.slope(x, mean, target, *tangent, *operands, scale)
