"""Resampling of grids: other numbers of positions along the spatial dims, by picking or weighting old ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.kernels.resampling import Table, resample_by_tables

__all__ = ["resample"]


@op
def resample(
    xp: Any,
    x: Array,
    *,
    size: Sequence[int],
    mode: str,
    align_corners: bool = False,
    scale: Sequence[float | None] | None = None,
    antialias: bool = False,
) -> Any:
    """Bring x (N, C, *spatial) to (N, C, *size), one dim after the other.

    Mode "nearest" takes the old position at or before the new one's start, "nearest-exact" the one at its centre,
    "linear" weights the two around it, "cubic" four (Keys, 1981); beyond the border the border's value counts.
    Positions are aligned by the outer edges of the first and last, with ``align_corners`` by their centres. ``scale``
    is the ratio of new to old positions where it is not that of the sizes; the centres do without it. ``antialias``
    widens the weights where positions become fewer, so that every old one counts.

    Raises:
        ValueError: another mode, or ``align_corners`` or ``antialias`` in the "nearest" modes.
        ShapeError: another number of dims, or a spatial dim without positions.
        DtypeError: the input is not floating point, nor uint8 in the "nearest" modes.
    """
    is_weighted = mode in ("linear", "cubic")
    if mode not in _TAPS:
        raise ValueError(f"resample: expected a mode of {', '.join(_TAPS)}, got {mode!r}")
    if (align_corners or antialias) and not is_weighted:
        raise ValueError(f"resample: align_corners and antialias are for the modes linear and cubic, got {mode!r}")
    n = len(size)
    if x.ndim != n + 2 or min(*x.shape[2:], *size) < 1:
        raise ShapeError(
            f"resample: expected input (N, C, {', '.join('DHW'[-n:])}) and sizes of at least 1, "
            f"got shape {tuple(x.shape)} and size {tuple(size)}"
        )
    dtype = x.dtype if x.dtype == np.uint8 and not is_weighted else compute_dtype(f"resample ({mode})", x.dtype)
    # Which position is nearest is decided in the precision in which PyTorch decides it.
    kind = np.float64 if is_weighted or dtype == np.float64 else np.float32
    setups = [
        (mode, old, new, ratio, align_corners, antialias, kind)
        for old, new, ratio in zip(x.shape[2:], size, scale or (None,) * n, strict=True)
    ]

    is_linear = mode == "linear" and not (align_corners or antialias) and _is_ratio_of_sizes(x.shape[2:], size, scale)

    def vjp(g: Array) -> tuple[Array]:
        return (resample_by_tables(xp, g, dtype, [_table(True, *setup) for setup in setups], False),)

    return resample_by_tables(xp, x, dtype, [_table(False, *setup) for setup in setups], is_linear), vjp


def _is_ratio_of_sizes(old: Sequence[int], new: Sequence[int], scale: Sequence[float | None] | None) -> bool:
    return all(not ratio or a * ratio == b for a, b, ratio in zip(old, new, scale or (None,) * len(new), strict=True))


@lru_cache(maxsize=128)
def _table(
    adjoint: bool, mode: str, old: int, new: int, ratio: float | None, align_corners: bool, antialias: bool, kind: Any
) -> Table:
    """What makes the new positions of a dim from the old ones; or its adjoint, from new ones to old."""
    if antialias:
        taps = _antialiased(mode, old, new, ratio, align_corners)
    else:
        taps = _TAPS[mode](_positions(mode, old, new, ratio, align_corners, kind), old)
    target = np.broadcast_to(np.arange(new), (len(taps), new)).ravel()
    source, weight = (np.concatenate(each) for each in zip(*taps, strict=True))
    source = np.clip(source, 0, old - 1).astype(np.int64)
    return _packed(source, target, weight, old) if adjoint else _packed(target, source, weight, new)


def _packed(target: Array, source: Array, weight: Array, count: int) -> Table:
    """A table of ``count`` targets from the entries of a sparse matrix; those in one place are added.

    Targets with fewer entries than others repeat one with weight 0.
    """
    width = int(source.max()) + 1
    entry, inverse = np.unique(target * width + source, return_inverse=True)
    weight = np.bincount(inverse, weights=weight)
    target, source = np.divmod(entry[weight != 0], width)
    weight = weight[weight != 0]
    first = np.searchsorted(target, np.arange(count))
    slot = np.arange(len(target)) - first[target]
    taps = int(slot.max()) + 1
    table = Table(np.zeros((taps, count), np.int64), np.zeros((taps, count)))
    table.places[:] = source[np.minimum(first, len(source) - 1)]
    table.places[slot, target] = source
    table.weights[slot, target] = weight
    return table


# ---------------------------------------------------------------- where a new position lies among the old ones


def _positions(mode: str, old: int, new: int, ratio: float | None, align_corners: bool, kind: Any) -> Array:
    """Where the new positions lie on the line of the old ones, whose centres are 0, 1, 2, ..."""
    line = np.arange(new, dtype=kind)
    if align_corners:
        position: Array = line * kind((old - 1) / max(new - 1, 1))
        return position
    if (new == old and mode in ("nearest", "linear")) or (new == 2 * old and mode == "nearest"):
        ratio = None  # PyTorch does without the factor here
    step = kind(1 / ratio) if ratio else kind(old) / kind(new)
    if mode == "nearest":
        position = line * step
    else:
        position = (line + kind(0.5)) * step - kind(0.0 if mode == "nearest-exact" else 0.5)
    return position


_Taps = list[tuple[Array, Array]]  # old positions, which may lie outside, and their weights


def _nearest(position: Array, old: int) -> _Taps:
    return [(np.floor(position.astype(np.float32)), np.ones(len(position)))]


def _linear(position: Array, old: int) -> _Taps:
    inside = np.clip(position, 0, old - 1)
    before = np.floor(inside)
    return [(before, 1 - (inside - before)), (before + 1, inside - before)]


def _cubic(position: Array, old: int) -> _Taps:
    before = np.floor(position)
    return [(before + offset, _keys(abs(position - before - offset), -0.75)) for offset in (-1, 0, 1, 2)]


def _keys(distance: Array, a: float) -> Array:
    """Keys' kernel with the free parameter ``a``: the weight of a value at this distance, 0 from 2 on."""
    d = np.minimum(distance, 2)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weight: Array = np.where(d <= 1, near, far)
    return weight


def _antialiased(mode: str, old: int, new: int, ratio: float | None, align_corners: bool) -> _Taps:
    """Kernels as wide as the distance of the new positions, cut off at the border; their weights sum to 1.

    As in PyTorch, ``align_corners`` changes that distance only, Keys' parameter is that of Pillow, and a dim that
    keeps its size is copied.
    """
    if align_corners:
        step = (old - 1) / (new - 1) if new > 1 else 0.0
    else:
        step = 1 / ratio if ratio and new != old else old / new
    width = max(step, 1.0)
    radius = width * (1 if mode == "linear" else 2)
    centre = (np.arange(new) + 0.5) * step
    first = np.maximum(np.floor(centre - radius + 0.5), 0)
    last = np.minimum(np.floor(centre + radius + 0.5), old)
    taps = []
    for offset in range(int((last - first).max())):
        source = first + offset
        distance = abs(source + 0.5 - centre) / width
        weight = np.maximum(1 - distance, 0) if mode == "linear" else _keys(distance, -0.5)
        taps.append((source, np.where(source < last, weight, 0)))
    total = sum(weight for _, weight in taps)
    return [(source, weight / total) for source, weight in taps]


_TAPS: dict[str, Callable[[Array, int], _Taps]] = {
    "nearest": _nearest,
    "nearest-exact": _nearest,
    "linear": _linear,
    "cubic": _cubic,
}
