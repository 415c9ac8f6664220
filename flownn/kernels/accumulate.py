"""Adding values at places that may be named more than once: the adjoint of picking by index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.dtypes import accumulator

__all__ = ["along_axis", "sum_at"]


def along_axis(xp: Any, index: NDArray[Any], axis: int) -> tuple[Any, ...]:
    """The key that picks, at each place of ``index``, position ``index[place]`` of ``axis``."""
    if not index.ndim:
        return ()
    grid = xp.ix_(*(xp.arange(size) for size in index.shape))
    return (*grid[:axis], index, *grid[axis + 1 :])


def sum_at(xp: Any, shape: tuple[int, ...], key: Any, values: NDArray[Any]) -> Any:
    """Zeros of ``shape`` with ``values`` added at ``key``, all of them where a place is named several times.

    Half precision is summed in float32. NumPy's ``add.at`` is fast for one flat index only, and slower than sorting
    where each index names a whole row.
    """
    total = xp.zeros(shape, accumulator(values.dtype) or values.dtype)
    if xp is not np:
        xp.add.at(total, key, values)
        return total.astype(values.dtype, copy=False)
    rows = _rows(key, shape)
    if rows is not None:
        _add_rows(total.reshape(shape[0], -1), rows, values.reshape(rows.size, -1))
    else:
        places = np.arange(total.size).reshape(shape)[key]
        np.add.at(total.reshape(-1), places.reshape(-1), values.reshape(-1).astype(total.dtype, copy=False))
    return total.astype(values.dtype, copy=False)


def _rows(key: Any, shape: tuple[int, ...]) -> Any:
    """The flat positions along the first dim, if that is all the key names, and its rows have several elements."""
    first, *rest = key if isinstance(key, tuple) else (key,)
    whole = all(isinstance(each, slice) and each == slice(None) for each in rest)
    if not whole or not isinstance(first, np.ndarray) or first.dtype.kind not in "iu" or not first.size:
        return None
    return first.reshape(-1) % shape[0] if np.prod(shape[1:], dtype=int) > 1 else None


def _add_rows(total: NDArray[Any], rows: NDArray[Any], values: NDArray[Any]) -> None:
    order = np.argsort(rows, kind="stable")
    in_order = rows[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    total[in_order[starts]] = np.add.reduceat(values[order].astype(total.dtype, copy=False), starts, axis=0)
