"""Adding values at places that may be named more than once: the adjoint of picking by index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import FLOATING, accumulator, category

__all__ = ["along_axis", "sum_at", "wide_dtype"]


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which values of this one are combined in place."""
    return accumulator(dtype) or (dtype if category(dtype) == FLOATING else np.dtype(np.int64))


def along_axis(xp: Any, index: NDArray[Any], axis: int) -> tuple[Any, ...]:
    """The key that picks, at each place of ``index``, position ``index[place]`` of ``axis``."""
    if not index.ndim:
        return ()
    grid = xp.ix_(*(xp.arange(size) for size in index.shape))
    return (*grid[:axis], index, *grid[axis + 1 :])


def sum_at(xp: Any, shape: tuple[int, ...], key: Any, values: NDArray[Any]) -> Any:
    """Zeros of ``shape`` with ``values`` added at ``key``, all of them where a place is named several times.

    Half precision is summed in float32, and integers as int64: CUDA adds no smaller ones in place. NumPy's ``add.at``
    is fast for a single index array; several are made one.
    """
    total = xp.zeros(shape, wide_dtype(values.dtype))
    added = values.astype(total.dtype, copy=False)
    if xp is np and isinstance(key, tuple):
        places = np.arange(total.size).reshape(shape)[key]
        np.add.at(total.reshape(-1), places.reshape(-1), added.reshape(-1))
    else:
        xp.add.at(total, key, added)
    return total.astype(values.dtype, copy=False)
