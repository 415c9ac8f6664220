"""Normalisation of channels: their moments, and scale, shift, addition and ReLU in one pass, with the gradients."""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from flownn.dtypes import accumulator
from flownn.holders import ONE_CELL, shows_alone
from flownn.kernels import kernel
from flownn.kernels.channel_blocks import ChannelBlocks, empty_like

__all__ = ["Backward", "Gradients", "channel_moments", "normalize_channels"]

# Fewer numbers than this go through NumPy in less time than the library's calls take.
_SMALLEST = 4096
_PROVIDED = {"onednn": "flownn.kernels.onednn.batch_norm"}

GradX = Callable[[NDArray[Any] | None, NDArray[Any] | None], NDArray[Any]]


class Gradients(NamedTuple):
    """What the backward of `normalize_channels` gives, from the gradient behind the ReLU."""

    sum: NDArray[Any]  # of the gradient, per channel in float64
    dot: NDArray[Any]  # of the gradient times x - mean
    addend: NDArray[Any] | None  # the gradient of the addend, where there is one
    x: GradX  # called at most once: takes what to subtract, a number per channel and one that x - mean is times


class Backward(Protocol):
    """The backward of `normalize_channels`."""

    def __call__(self, g: NDArray[Any], mine: bool = False, last: bool = False, /) -> Gradients:
        """The gradients for that of the result.

        They may take its memory where that is ``mine``, and that of x where this is the ``last`` call and nobody else
        holds x.
        """


@kernel("channel_moments", provided=_PROVIDED, smallest=_SMALLEST)
def channel_moments(xp: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Per channel of x (N, C, *spatial), not empty: the mean, and the sum of squared differences from it.

    In float64. Every row or column of a block is taken about its own mean, so one pass over memory is as exact as two,
    also far from 0.
    """
    blocks = ChannelBlocks(xp, x, accumulator(x.dtype) or x.dtype)
    sums, squares, counts = [], [], []
    scratch = None
    for block in blocks.cut(x):
        part = block.astype(blocks.dtype, copy=False)
        total, count = blocks.sum(part), blocks.terms(part)
        mean = (total * (1 / count)).astype(blocks.dtype)
        if scratch is None or scratch.shape != part.shape:
            scratch = xp.empty_like(part)
        xp.subtract(part, mean[:, None] if blocks.by_plane else mean, out=scratch)
        sums.append(total)
        squares.append(blocks.dot(scratch, scratch))
        counts.append(count)
    mean = blocks.total(sums) / blocks.count
    for i, centre in enumerate(blocks.spread(mean, "float64")):
        off = sums[i] / counts[i]
        off -= centre.reshape(-1)
        squares[i] += counts[i] * off * off
    return mean, blocks.total(squares)


@kernel("normalize_channels", provided=_PROVIDED, smallest=_SMALLEST)
def normalize_channels(
    xp: Any,
    x: NDArray[Any],
    mean: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any] | None = None,
    addend: NDArray[Any] | None = None,
    relu: bool = False,
    from_x: bool = False,
) -> tuple[NDArray[Any], Backward]:
    """``(x - mean) * scale + shift + addend`` and its backward; without what is negative if ``relu``.

    For x (N, C, *spatial), not empty, an addend of its shape and dtype, and vectors of one float64 per channel.
    ``from_x`` says that mean and scale come from x, so that they are not finite where x is not. The result has the
    memory layout of x. The backward keeps x, and with an addend and ReLU the result; without an addend it computes
    again where the result was positive.
    """
    blocks = ChannelBlocks(xp, x, accumulator(x.dtype) or x.dtype)
    direct = blocks.dtype == x.dtype
    y = empty_like(xp, x, x.dtype)
    step = _Affine(blocks, mean, scale, shift)
    into = blocks.cut(y)
    zeros = xp.zeros(blocks.row if relu else 0, blocks.dtype)  # NumPy's maximum is slower beside a scalar
    others = None if addend is None else blocks.cut(addend)
    for i, part in enumerate(blocks.cut(x)):
        result = step.affine(step.centered(part, i, into[i] if direct else None), i)
        if others is not None:
            result += others[i].astype(blocks.dtype, copy=False)
        if relu:
            xp.maximum(result, zeros[: result.shape[1]], out=result)
        if not direct:
            into[i][...] = result
    has_addend = addend is not None
    kept = y if relu and has_addend else None  # x alone does not say where the sum was positive

    def backward(g: NDArray[Any], mine: bool = False, last: bool = False, /) -> Gradients:
        x_is_free = last and getrefcount(x) == ONE_CELL and shows_alone(x)
        mine = mine and g.dtype == x.dtype and g.strides == x.strides
        step = _Affine(blocks, mean, scale, shift)
        parts, grads = blocks.cut(x), blocks.cut(g)
        behind, sums, dots = grads, [], []
        if relu:
            g = g if mine else empty_like(xp, x, x.dtype)
            behind = blocks.cut(g)
        results = None if kept is None else blocks.cut(kept)
        scratch = xp.empty((2, *parts[0].shape), blocks.dtype)
        for i, part in enumerate(parts):
            grad = grads[i].astype(blocks.dtype, copy=False)
            space, more = scratch[:, : len(part), : part.shape[1]]
            middle = step.centered(part, i, space)
            if relu:
                result = step.affine(middle, i, more) if results is None else results[i]
                positive = xp.logical_not(result <= 0)  # or NaN: there the gradient goes on, as in PyTorch
                grad = xp.multiply(grad, positive, out=behind[i] if direct else more)
                if not direct:
                    behind[i][...] = grad
            sums.append(blocks.sum(grad))
            dots.append(blocks.dot(grad, middle))

        def grad_x(along_one: NDArray[Any] | None, along_x: NDArray[Any] | None) -> NDArray[Any]:
            if (relu or mine) and not has_addend:
                target = g
            else:
                target = x if x_is_free else empty_like(xp, x, x.dtype)
            targets = blocks.cut(target)
            ones = None if along_one is None else blocks.spread(along_one)
            slopes = None if along_x is None else blocks.spread(-along_x)
            scratch = xp.empty(parts[0].shape, blocks.dtype)
            for i, part in enumerate(parts):
                result = behind[i].astype(blocks.dtype, copy=False)
                if ones is not None and slopes is not None:
                    # d/dx of the mean and the variance: what is left is orthogonal to 1 and to x.
                    change = step.centered(part, i, scratch[: len(part), : part.shape[1]])
                    change *= slopes[i]
                    change += result
                    result = xp.subtract(change, ones[i], out=change)
                if direct:
                    xp.multiply(result, step.scales[i], out=targets[i])
                else:
                    targets[i][...] = result * step.scales[i]
            return target

        return Gradients(blocks.total(sums), blocks.total(dots), g if has_addend else None, grad_x)

    return y, backward


class _Affine:
    """The vectors beside every block, and what is done with them."""

    def __init__(
        self, blocks: ChannelBlocks, mean: NDArray[Any], scale: NDArray[Any], shift: NDArray[Any] | None
    ) -> None:
        self.xp, self.dtype = blocks.xp, blocks.dtype
        self.means, self.scales = blocks.spread(mean), blocks.spread(scale)
        self.shifts = None if shift is None else blocks.spread(shift)

    def centered(self, part: NDArray[Any], i: int, out: NDArray[Any] | None = None) -> Any:
        """Block ``i`` of x, minus the mean."""
        return self.xp.subtract(part.astype(self.dtype, copy=False), self.means[i], out=out)

    def affine(self, part: NDArray[Any], i: int, out: NDArray[Any] | None = None) -> Any:
        """That times the scale, plus the shift; in place, or into ``out``."""
        out = self.xp.multiply(part, self.scales[i], out=part if out is None else out)
        return out if self.shifts is None else self.xp.add(out, self.shifts[i], out=out)
