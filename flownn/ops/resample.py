"""Resampling of grids: other numbers of positions along the spatial dims, by picking or weighting old ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype

__all__ = ["MODES", "resample"]

MODES = ("nearest", "nearest-exact", "linear", "cubic")
_CUBIC_A = -0.75  # the free parameter of Keys' kernel, as in PyTorch and OpenCV


class _Table(NamedTuple):
    """How every new position of a dim is made: the sum of ``weights[k] * old[places[k]]``; both are (taps, new)."""

    places: Array
    weights: Array


@op
def resample(
    xp: Any,
    x: Array,
    *,
    size: Sequence[int],
    mode: str,
    align_corners: bool = False,
    scale: Sequence[float | None] | None = None,
) -> Any:
    """Bring x (N, C, *spatial) to (N, C, *size), one dim after the other.

    Mode "nearest" takes the old position at or before the new one's start, "nearest-exact" the one at its centre,
    "linear" weights the two around it, "cubic" four (Keys, 1981); beyond the border the border's value counts.
    Positions are aligned by the outer edges of the first and last, with ``align_corners`` by their centres. ``scale``
    is the ratio of new to old positions where it is not that of the sizes.

    Raises:
        ShapeError: another number of dims, or a spatial dim without positions.
        DtypeError: the input is not floating point, nor uint8 in the "nearest" modes.
    """
    n = len(size)
    if x.ndim != n + 2 or min(*x.shape[2:], *size) < 1:
        raise ShapeError(
            f"resample: expected input (N, C, {', '.join('DHW'[-n:])}) and sizes of at least 1, "
            f"got shape {tuple(x.shape)} and size {tuple(size)}"
        )
    is_weighted = mode not in ("nearest", "nearest-exact")
    dtype = x.dtype if x.dtype == np.uint8 and not is_weighted else compute_dtype(f"resample ({mode})", x.dtype)
    # Which position is nearest is decided in the precision in which PyTorch decides it.
    exact = is_weighted or dtype == np.float64
    setups = [
        (mode, old, new, ratio, align_corners, exact)
        for old, new, ratio in zip(x.shape[2:], size, scale or (None,) * n, strict=True)
    ]

    def vjp(g: Array) -> tuple[Array]:
        return (_along_each_dim(xp, g, dtype, [_adjoint(*setup) for setup in setups]),)

    return _along_each_dim(xp, x, dtype, [_table(*setup) for setup in setups]).astype(x.dtype, copy=False), vjp


def _along_each_dim(xp: Any, x: Array, dtype: np.dtype[Any], tables: Sequence[_Table]) -> Any:
    """Apply a table to each spatial dim, channels innermost; first where that leaves least to do for the others."""
    image = xp.moveaxis(x, 1, -1).astype(dtype, copy=False)
    growth = [table.places.shape[1] / old for table, old in zip(tables, image.shape[1:-1], strict=True)]
    for i in sorted(range(len(tables)), key=growth.__getitem__):
        image = _combined(xp, image, i + 1, tables[i])
    return xp.moveaxis(image, -1, 1)


def _combined(xp: Any, image: Array, axis: int, table: _Table) -> Any:
    total = None
    for places, weight in zip(*table, strict=True):
        part = xp.take(image, xp.asarray(places), axis=axis)
        if (weight != 1).any():
            part *= xp.asarray(weight.astype(part.dtype)).reshape((-1,) + (1,) * (image.ndim - 1 - axis))
        if total is None:
            total = part
        else:
            total += part
    return total


@lru_cache(maxsize=64)
def _table(mode: str, old: int, new: int, ratio: float | None, align_corners: bool, exact: bool) -> _Table:
    target, source, weight = _triplets(mode, old, new, ratio, align_corners, exact)
    return _packed(target, source, weight, new)


@lru_cache(maxsize=64)
def _adjoint(mode: str, old: int, new: int, ratio: float | None, align_corners: bool, exact: bool) -> _Table:
    target, source, weight = _triplets(mode, old, new, ratio, align_corners, exact)
    return _packed(source, target, weight, old)


def _triplets(
    mode: str, old: int, new: int, ratio: float | None, align_corners: bool, exact: bool
) -> tuple[Array, Array, Array]:
    """New positions, old positions and weights of a dim, as three flat arrays: a sparse matrix."""
    taps = _TAPS[mode](old, new, ratio, align_corners, np.float64 if exact else np.float32)
    target = np.broadcast_to(np.arange(new), (len(taps), new))
    source, weight = (np.stack(each) for each in zip(*taps, strict=True))
    return target.ravel(), np.clip(source, 0, old - 1).ravel(), weight.ravel()


def _packed(target: Array, source: Array, weight: Array, count: int) -> _Table:
    """A table of ``count`` targets from a sparse matrix; entries in one place are added, unused taps have weight 0."""
    width = int(source.max()) + 1
    entry, inverse = np.unique(target * width + source, return_inverse=True)
    weight = np.bincount(inverse, weights=weight)
    target, source = np.divmod(entry[weight != 0], width)
    weight = weight[weight != 0]
    first = np.searchsorted(target, np.arange(count))
    slot = np.arange(len(target)) - first[target]
    taps = int(slot.max()) + 1
    table = _Table(np.zeros((taps, count), np.int64), np.zeros((taps, count)))
    table.places[:] = source[np.minimum(first, len(source) - 1)]  # an unused tap repeats a used one
    table.places[slot, target] = source
    table.weights[slot, target] = weight
    return table


# ---------------------------------------------------------------- where a new position lies among the old ones

_Taps = list[tuple[Array, Array]]  # old positions, which may lie outside, and weights, each (new,)


def _nearest(old: int, new: int, ratio: float | None, align_corners: bool, kind: Any) -> _Taps:
    if new in (old, 2 * old):
        ratio = None  # as PyTorch does for images
    return _picked(np.arange(new, dtype=kind) * _step(old, new, ratio, kind))


def _nearest_exact(old: int, new: int, ratio: float | None, align_corners: bool, kind: Any) -> _Taps:
    return _picked((np.arange(new, dtype=kind) + kind(0.5)) * _step(old, new, ratio, kind))


def _step(old: int, new: int, ratio: float | None, kind: Any) -> Any:
    return kind(1 / ratio) if ratio else kind(old) / kind(new)


def _picked(position: Array) -> _Taps:
    return [(np.floor(position.astype(np.float32)).astype(np.int64), np.ones(len(position)))]


def _centres(old: int, new: int, ratio: float | None, align_corners: bool) -> Array:
    if align_corners:
        return np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    centres: Array = (np.arange(new) + 0.5) * _step(old, new, ratio, np.float64) - 0.5
    return centres


def _linear(old: int, new: int, ratio: float | None, align_corners: bool, kind: Any) -> _Taps:
    ratio = None if new == old else ratio  # as PyTorch does: a dim that keeps its size is copied
    position = np.clip(_centres(old, new, ratio, align_corners), 0, old - 1)
    before = np.floor(position)
    after = position - before
    return [(before.astype(np.int64), 1 - after), (before.astype(np.int64) + 1, after)]


def _cubic(old: int, new: int, ratio: float | None, align_corners: bool, kind: Any) -> _Taps:
    position = _centres(old, new, ratio, align_corners)
    before = np.floor(position)
    t = position - before
    return [(before.astype(np.int64) + offset, _keys(abs(t - offset))) for offset in (-1, 0, 1, 2)]


def _keys(distance: Array) -> Array:
    """Keys' kernel: the weight of a value at this distance, up to 2."""
    a, d = _CUBIC_A, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weight: Array = np.where(d <= 1, near, far)
    return weight


_TAPS: dict[str, Callable[..., _Taps]] = {
    "nearest": _nearest,
    "nearest-exact": _nearest_exact,
    "linear": _linear,
    "cubic": _cubic,
}
