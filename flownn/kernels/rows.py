"""Adding rows to where they belong, several to one place: the adjoint of picking rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel

__all__ = ["add_rows"]


@kernel("add_rows")
def add_rows(xp: Any, rows: NDArray[Any], places: NDArray[Any], count: int) -> NDArray[Any]:
    """Sum rows (n, D) to an array (count, D): row i is added to the result's row ``places[i]``.

    The rows are sorted by place and the runs summed, which is fast also where many belong to one place.
    """
    total: NDArray[Any] = xp.zeros((count, rows.shape[1]), rows.dtype)
    if places.size:
        order = xp.argsort(places, kind="stable")
        ordered = places[order]
        starts = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]))
        total[ordered[starts]] = xp.add.reduceat(rows[order], starts, axis=0)
    return total


@kernel("add_rows", device="cpu")
def _add_rows_cpu(xp: Any, rows: NDArray[Any], places: NDArray[Any], count: int) -> NDArray[Any]:
    """The product with a sparse matrix that has a 1 in each column: one pass, nothing is sorted."""
    import scipy.sparse  # not at the top: it is slow to import, and few programs come here

    n = len(places)
    ones = np.ones(n, rows.dtype)
    total: NDArray[Any] = scipy.sparse.csc_matrix((ones, places, np.arange(n + 1)), shape=(count, n)) @ rows
    return total
