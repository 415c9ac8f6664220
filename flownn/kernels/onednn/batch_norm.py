"""Normalisation of channels by oneDNN: float32, channels-last, in blocks of rows (`image_rows`).

The library's ReLU makes 0 of NaN. So it serves only where x is known to be finite, because the moments computed from it
are; elsewhere its ELU serves, which with alpha 0 is a ReLU that keeps NaN.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.batch_norm import Gradients
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


@kernel("channel_moments", device="cpu", provider="onednn")
def _channel_moments(xp: Any, x: NDArray[Any]) -> Any:
    rows = rows_of(x, x.size // x.shape[1])
    plan = rows and cached(("channel_moments", rows), partial(_Moments, rows))
    if rows is None or plan is None:
        return NotImplemented
    means, variances = np.empty((2, len(plan.counts), rows.width), np.float32)
    source, scratch = x.ctypes.data, plan.scratch()
    into_means, into_variances = means.ctypes.data, variances.ctypes.data
    for i, run in enumerate(plan.run):
        row = i * means.strides[0]
        run(source + plan.starts[i], scratch, into_means + row, into_variances + row)
    weights = np.array(plan.counts, np.float64)[:, None]
    mean = plan.fold(means * weights) / (rows.rows * rows.tile)
    off = (means.reshape(-1, mean.size) - mean).reshape(means.shape)
    squares = plan.fold(weights * (variances + off * off))
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
    if kept == "bits" and not np.isfinite(mean + scale + (0 if shift is None else shift)).all():
        return NotImplemented
    plan = cached(
        ("normalize_channels", rows, kept, addend is not None), partial(_Plan, rows, kept, addend is not None)
    )
    if plan is None:
        return NotImplemented
    shift = np.zeros_like(mean) if shift is None else shift
    bits = np.empty(plan.bytes_of_bits, np.uint8) if kept == "bits" else None
    y = empty_channels_last(x.shape)
    _forward(plan, x, y, (mean, scale, shift), addend, bits)
    result = y if kept == "result" and addend is not None else None
    has_addend = addend is not None

    def backward(g: NDArray[Any], mine: bool = False, /) -> Gradients:
        given = g
        g = as_channels_last(given)
        mine = mine or g is not given
        behind = empty_channels_last(x.shape) if relu and not mine else g
        sums = _sums(plan, x, g, behind, (mean, scale, shift), bits, result)

        def grad_x(along_one: NDArray[Any] | None, along_x: NDArray[Any] | None) -> NDArray[Any]:
            target = behind if (relu or mine) and not has_addend else empty_channels_last(x.shape)
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
    bits: NDArray[Any] | None,
) -> None:
    mean, scale, shift = map(plan.spread, vectors)
    if bits is not None:
        plan.forward(x, y, mean, scale, shift, np.ones_like(mean), bits)
    elif addend is not None:
        plan.forward(x, mean, y, scale, shift, as_channels_last(addend))
    else:
        plan.forward(x, mean, y, scale, shift)


def _sums(
    plan: _Plan,
    x: NDArray[Any],
    g: NDArray[Any],
    behind: NDArray[Any],
    vectors: Vectors,
    bits: NDArray[Any] | None,
    result: NDArray[Any] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sums per channel of the gradient behind the ReLU, alone and times x - mean; that gradient goes to ``behind``."""
    spread = [plan.spread(each) for each in vectors]
    spread += np.ones_like(spread[0]), np.zeros(1, np.float32)
    mean, scale, shift, ones, zero = (each.ctypes.data for each in spread)
    dots, sums = np.empty((2, len(plan.starts), spread[0].size), np.float32)
    into_dots, into_sums = dots.ctypes.data, sums.ctypes.data
    source, gradient, after, scratch = x.ctypes.data, g.ctypes.data, behind.ctypes.data, plan.scratch()
    positive = 0 if result is None else result.ctypes.data
    first_bits = 0 if bits is None else bits.ctypes.data
    for i, start in enumerate(plan.starts):
        of_x = source + start
        if plan.mask:
            if result is None:
                plan.affine[i](of_x, mean, scratch, scale, shift)
            plan.mask[i](scratch if result is None else positive + start, zero, after + start, gradient + start)
        kept = () if bits is None else (first_bits + start // _BYTES_PER_BYTE_OF_BITS,)
        into = scratch if bits is None else after + start
        from_here = gradient if bits is not None else after
        row = i * dots.strides[0]
        plan.sums[i](of_x, from_here + start, into, mean, ones, ones, into_dots + row, into_sums + row, *kept)
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
    if target is behind:
        plan.slope_in_place(x, mean, target, *tangent, scale)
    else:
        plan.slope(x, mean, target, *tangent, behind, scale)
