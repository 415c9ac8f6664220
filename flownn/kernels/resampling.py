"""Other numbers of positions along the spatial dims: every new one is a weighted sum of old ones, dim by dim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.blocks import cache_blocks

__all__ = ["Table", "resample_by_tables"]


class Table(NamedTuple):
    """How every new position of a dim is made: the sum of ``weights[k] * old[places[k]]``; both are (taps, new)."""

    places: NDArray[Any]
    weights: NDArray[Any]


@kernel("resample_by_tables", provided={"onednn": "flownn.kernels.onednn.resampling"}, smallest=1 << 13)
def resample_by_tables(
    xp: Any, x: NDArray[Any], dtype: np.dtype[Any], tables: Sequence[Table], is_linear: bool
) -> NDArray[Any]:
    """Apply a table to each spatial dim of x (N, C, *spatial); the result has x's dtype and is channels-last in memory.

    What is computed has ``dtype``. ``is_linear`` says that the tables are those of linear interpolation with the outer
    edges aligned.
    """
    image = xp.moveaxis(x, 1, -1)
    growth = [table.places.shape[1] / old for table, old in zip(tables, image.shape[1:-1], strict=True)]
    result = xp.empty((image.shape[0], *(table.places.shape[1] for table in tables), image.shape[-1]), x.dtype)
    for block in cache_blocks(xp, len(result), dtype.itemsize * math.prod(result.shape[1:])):
        part = image[block].astype(dtype, copy=False)
        for i in sorted(range(len(tables)), key=growth.__getitem__):  # first where that leaves least for the others
            part = _combined(xp, part, i + 1, tables[i])
        result[block] = part
    return xp.moveaxis(result, -1, 1)  # type: ignore[no-any-return]


def _combined(xp: Any, image: NDArray[Any], axis: int, table: Table) -> Any:
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
