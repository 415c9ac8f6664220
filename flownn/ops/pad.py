"""Padding of the last n dims: with a constant, or with what the mode reads from the input itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.errors import ShapeError

__all__ = ["pad"]

MODES = ("constant", "reflect", "replicate", "circular")


@op
def pad(xp: Any, x: NDArray[Any], *, padding: Sequence[tuple[int, int]], mode: str, value: float = 0) -> Any:
    """Extend the last ``len(padding)`` dims of x by (before, after) elements each; ``value`` fills mode "constant".

    Mode "reflect" mirrors without repeating the edge, "replicate" repeats the edge, "circular" wraps around.
    Negative numbers crop, once the other sides are extended.

    Raises:
        ShapeError: more dims than x has, a crop beyond the input, or more elements than the mode can read.
    """
    if mode not in MODES:
        raise ValueError(f"pad: expected a mode of {', '.join(MODES)}, got {mode!r}")
    first = x.ndim - len(padding)
    if first < 0:
        raise ShapeError(f"pad: expected input with at least {len(padding)} dims, got shape {tuple(x.shape)}")
    if mode == "constant":
        return _constant(xp, x, [(0, 0)] * first + [(before, after) for before, after in padding], value)
    work = [(axis, max(b, 0), max(a, 0)) for axis, (b, a) in enumerate(padding, start=first) if b > 0 or a > 0]
    limit = {"reflect": -1, "replicate": None, "circular": 0}[mode]
    for axis, before, after in work:
        size = x.shape[axis]
        most = size + limit if limit is not None else (max(before, after) if size else 0)
        if max(before, after) > most:
            raise ShapeError(
                f"pad: expected padding of at most {most} elements on each side of dim {axis} (size {size}) in mode "
                f"{mode!r}, got ({before}, {after})"
            )
    if any(x.shape[axis] + sum(pair) < 1 for axis, pair in enumerate(padding, start=first)):
        raise ShapeError(f"pad: expected something to be left of shape {tuple(x.shape)}, got padding {tuple(padding)}")
    y = x
    for axis, before, after in work:
        y = _extend(xp, y, axis, before, after, mode)
    crops = [(0, 0)] * first + [(min(before, 0), min(after, 0)) for before, after in padding]
    uncropped = None
    if any(map(any, crops)):
        y, uncropped = _constant(xp, y, crops, 0)
    elif not work:
        y = x.copy()

    def vjp(g: NDArray[Any]) -> tuple[NDArray[Any]]:
        if uncropped is not None:
            (g,) = uncropped(g)
        for axis, before, after in reversed(work):
            g = _fold(xp, g, axis, before, after, mode)
        return (g,)

    return y, vjp


def _constant(xp: Any, x: NDArray[Any], padding: Sequence[tuple[int, int]], value: float) -> Any:
    shape = tuple(size + before + after for size, (before, after) in zip(x.shape, padding, strict=True))
    if any(
        size + min(before, 0) + min(after, 0) < 0 or n < 0
        for size, n, (before, after) in zip(x.shape, shape, padding, strict=True)
    ):
        raise ShapeError(f"pad: expected a crop within the input's shape {tuple(x.shape)}, got padding {padding}")
    # What both share: where it lies in the output, and where in the input.
    inner = tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(shape, padding, strict=True))
    outer = tuple(slice(max(-b, 0), size - max(-a, 0)) for size, (b, a) in zip(x.shape, padding, strict=True))
    y = xp.full_like(x, value, shape=shape)
    y[inner] = x[outer]

    def vjp(g: NDArray[Any]) -> tuple[NDArray[Any]]:
        if all(pair >= (0, 0) and min(pair) >= 0 for pair in padding):
            return (g[inner],)
        grad = xp.zeros(x.shape, dtype=g.dtype)
        grad[outer] = g[inner]
        return (grad,)

    return y, vjp


def _along(x: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _extend(xp: Any, x: NDArray[Any], axis: int, before: int, after: int, mode: str) -> NDArray[Any]:
    size = x.shape[axis]
    if mode == "reflect":
        left = xp.flip(_along(x, axis, 1, before + 1), axis)
        right = xp.flip(_along(x, axis, size - 1 - after, size - 1), axis)
    elif mode == "circular":
        left, right = _along(x, axis, size - before, size), _along(x, axis, 0, after)
    else:
        # Not xp.repeat, whose result is row-major and would decide the memory layout of the whole.
        left = _repeated(xp, _along(x, axis, 0, 1), axis, before)
        right = _repeated(xp, _along(x, axis, size - 1, size), axis, after)
    y: NDArray[Any] = xp.concatenate([left, x, right], axis=axis)
    return y


def _repeated(xp: Any, edge: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    view: NDArray[Any] = xp.broadcast_to(edge, (*edge.shape[:axis], count, *edge.shape[axis + 1 :]))
    return view


def _fold(xp: Any, g: NDArray[Any], axis: int, before: int, after: int, mode: str) -> NDArray[Any]:
    """Adjoint of ``_extend``: add the borders to the elements they were read from."""
    size = g.shape[axis] - before - after
    left, right = _along(g, axis, 0, before), _along(g, axis, before + size, g.shape[axis])
    grad = _along(g, axis, before, before + size).copy(order="K")
    if mode == "reflect":
        targets = (_along(grad, axis, 1, before + 1), _along(grad, axis, size - 1 - after, size - 1))
        left, right = xp.flip(left, axis), xp.flip(right, axis)
    elif mode == "circular":
        targets = (_along(grad, axis, size - before, size), _along(grad, axis, 0, after))
    else:
        targets = (_along(grad, axis, 0, 1), _along(grad, axis, size - 1, size))
        left, right = left.sum(axis=axis, keepdims=True), right.sum(axis=axis, keepdims=True)
    for target, border in zip(targets, (left, right), strict=True):
        target += border
    return grad
