"""Normalisation of channels by oneDNN: float32, channels-last, in blocks of rows (`image_rows`).

The library's ReLU makes 0 of NaN. So it serves only where x is known to be finite, because the moments computed from it
are; elsewhere its ELU serves, which with alpha 0 is a ReLU that keeps NaN.
"""

from __future__ import annotations

from functools import partial
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.holders import ONE_CELL, shows_alone
from flownn.kernels import kernel
from flownn.kernels.batch_norm import Gradients
from flownn.kernels.onednn.flat import are_finite
from flownn.kernels.onednn.image_rows import (
    ADD,
    ELU,
    LESS_EQUAL,
    LINEAR,
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
from flownn.kernels.onednn.library import OneDNNError
from flownn.kernels.onednn.memory import empty_channels_last
from flownn.kernels.onednn.primitives import WORKSPACE, as_channels_last, cached

_RECTIFY = ((ELU, 0.0, 0.0), (LINEAR, 1.0, 0.0))  # what is negative times 0, which is -0, plus 0, which is 0
_MASK = (LESS_EQUAL, "number", ((LINEAR, -1.0, 1.0), (MUL, "image")))  # times 1 where not x <= 0
_TANGENT = ((MUL, "vector"), (ADD, "vector"))
_BYTES_PER_BYTE_OF_BITS = 32  # eight float32
_SLOPE = (SUB, "vector", (*_TANGENT, (ADD, "image"), (MUL, "vector")))
_SLOPE_IN_PLACE = (SUB, "vector", (*_TANGENT, (SUM,), (MUL, "vector")))


class _Plan(Blocks):
    """Everything that is compiled to normalise an image that is taken as these rows.

    Args:
        rows: The image.
        kept: What says in the backward where the result was positive: ``"all"`` of it counts, ``"bits"`` of the
            library, or the ``"result"``, which keeps NaN.
        addend: Whether one is added.

    Raises:
        OneDNNError: the library has no fast implementation.
    """

    def __init__(self, rows: Rows, kept: str, addend: bool) -> None:
        super().__init__(rows)
        self._constants = np.zeros((2, rows.width), np.float32)
        self._constants[1] = 1
        self.zeros, self.ones = _addresses(self._constants)
        bits = kept == "bits"
        # Nothing is summed in the forward, so it takes the image as a whole.
        if bits:
            self.forward = affine(rows.rows, rows.width, True)
            self.bytes_of_bits = self.forward.nbytes(WORKSPACE)
            if 8 * self.bytes_of_bits != rows.rows * rows.width:
                raise OneDNNError("onednn: not a bit per number, so that blocks do not know which bits are theirs")
        else:
            after = (*_TANGENT, *([(ADD, "image")] if addend else []), *(_RECTIFY if kept == "result" else []))
            self.forward = chain(rows.rows, rows.width, SUB, "vector", after)
        again = kept == "result" and not addend
        self.affine = self.each(chain, SUB, "vector", _TANGENT) if again else []
        self.mask = self.each(chain, *_MASK) if kept == "result" else []
        self.sums = self.each(backward_of, bits)
        self.scale = chain(rows.rows, rows.width, MUL, "vector")
        self.slope = chain(rows.rows, rows.width, *_SLOPE)
        self.slope_in_place = chain(rows.rows, rows.width, *_SLOPE_IN_PLACE)


class _Moments(Blocks):
    """What is compiled to compute the moments of an image that is taken as these rows."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.run = self.each(moments)
        self.weights = np.array(self.counts, np.float64)[:, None]
        self.count = rows.rows * rows.tile


@kernel("channel_moments", device="cpu", provider="onednn")
def _channel_moments(xp: Any, x: NDArray[Any]) -> Any:
    rows = rows_of(x, x.size // x.shape[1])
    plan = rows and cached(("channel_moments", rows), partial(_Moments, rows))
    if rows is None or plan is None:
        return NotImplemented
    found = np.empty((2, len(plan.counts), rows.width), np.float32)
    source, scratch = x.ctypes.data, plan.scratch()
    into_means, into_variances, step = found.ctypes.data, found.ctypes.data + found.strides[0], found.strides[1]
    for i, run in enumerate(plan.run):
        row = i * step
        run(source + plan.starts[i], scratch, into_means + row, into_variances + row)
    # Sums, and sums of squares about each column's own mean, then about 0 and about the mean of all: float64 does not
    # mind how far that is from 0, unlike the columns.
    wide = found.astype(np.float64)
    wide[1] += wide[0] * wide[0]
    wide *= plan.weights
    sums, squares = plan.fold(wide)
    mean = sums / plan.count
    squares -= sums * mean
    np.maximum(squares, 0, out=squares)
    if plan.is_far(mean, squares):
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
    rows = rows_of(x, x.size // x.shape[1])
    if rows is None or (addend is not None and addend.dtype != np.float32):
        return NotImplemented
    kept = "all" if not relu else "bits" if from_x and addend is None else "result"
    if kept == "bits" and not (are_finite(mean, scale) and (shift is None or are_finite(shift, scale))):
        return NotImplemented
    has_addend = addend is not None
    plan = cached(("normalize_channels", rows, kept, has_addend), partial(_Plan, rows, kept, has_addend))
    if plan is None:
        return NotImplemented
    vectors = plan.spread(mean, scale) if shift is None else plan.spread(mean, scale, shift)
    bits = np.empty(plan.bytes_of_bits, np.uint8) if kept == "bits" else None
    y = empty_channels_last(x.shape)
    _forward(plan, x, y, vectors, addend, bits)
    result = y if kept == "result" and has_addend else None

    def backward(g: NDArray[Any], mine: bool = False, last: bool = False, /) -> Gradients:
        x_is_free = last and getrefcount(x) == ONE_CELL and shows_alone(x)
        given = g
        g = as_channels_last(given)
        mine = mine or g is not given
        behind = empty_channels_last(x.shape) if relu and not mine else g
        sums, dots = _sums(plan, x, g, behind, vectors, bits, result)

        def grad_x(along_one: NDArray[Any] | None, along_x: NDArray[Any] | None) -> NDArray[Any]:
            if (relu or mine) and not has_addend:
                target = behind
            else:
                target = x if x_is_free else empty_channels_last(x.shape)
            _grad_x(plan, x, behind, target, vectors, along_one, along_x)
            return target

        return Gradients(sums, dots, behind if has_addend else None, grad_x)

    return y, backward


def _addresses(rows: NDArray[Any]) -> list[int]:
    """Where each row begins."""
    return list(range(rows.ctypes.data, rows.ctypes.data + rows.nbytes, rows.strides[0]))


def _forward(
    plan: _Plan,
    x: NDArray[Any],
    y: NDArray[Any],
    vectors: NDArray[Any],
    addend: NDArray[Any] | None,
    bits: NDArray[Any] | None,
) -> None:
    mean, scale, *others = _addresses(vectors)
    shift = others[0] if others else plan.zeros
    if bits is not None:
        plan.forward(x, y, mean, scale, shift, plan.ones, bits)
    elif addend is not None:
        plan.forward(x, mean, y, scale, shift, as_channels_last(addend))
    else:
        plan.forward(x, mean, y, scale, shift)


def _sums(
    plan: _Plan,
    x: NDArray[Any],
    g: NDArray[Any],
    behind: NDArray[Any],
    vectors: NDArray[Any],
    bits: NDArray[Any] | None,
    result: NDArray[Any] | None,
) -> NDArray[Any]:
    """Sums per channel of the gradient behind the ReLU, alone and times x - mean; that gradient goes to ``behind``."""
    mean, scale, *others = _addresses(vectors)
    shift, ones, zeros = others[0] if others else plan.zeros, plan.ones, plan.zeros
    found = np.empty((2, len(plan.starts), vectors.shape[1]), np.float32)
    into_sums, step = found.ctypes.data, found.strides[1]
    into_dots = into_sums + found.strides[0]
    source, gradient, after, scratch = x.ctypes.data, g.ctypes.data, behind.ctypes.data, plan.scratch()
    positive = 0 if result is None else result.ctypes.data
    first_bits = 0 if bits is None else bits.ctypes.data
    for i, start in enumerate(plan.starts):
        of_x, row = source + start, i * step
        into = into_dots + row, into_sums + row
        if bits is not None:
            of_bits = first_bits + start // _BYTES_PER_BYTE_OF_BITS
            plan.sums[i](of_x, gradient + start, after + start, mean, ones, ones, *into, of_bits)
            continue
        if plan.mask:
            if result is None:
                plan.affine[i](of_x, mean, scratch, scale, shift)
            plan.mask[i](scratch if result is None else positive + start, zeros, after + start, gradient + start)
        plan.sums[i](of_x, after + start, scratch, mean, ones, ones, *into)
    return plan.fold(found)


def _grad_x(
    plan: _Plan,
    x: NDArray[Any],
    behind: NDArray[Any],
    target: NDArray[Any],
    vectors: NDArray[Any],
    along_one: NDArray[Any] | None,
    along_x: NDArray[Any] | None,
) -> None:
    mean, scale, *_ = _addresses(vectors)
    if along_one is None or along_x is None:
        plan.scale(behind, scale, target)
        return
    tangent = plan.spread(along_x, along_one)
    np.negative(tangent, out=tangent)
    if target is behind:
        plan.slope_in_place(x, mean, target, *_addresses(tangent), scale)
    else:
        plan.slope(x, mean, target, *_addresses(tangent), behind, scale)
