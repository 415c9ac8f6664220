"""Product of two matrices by the library's ``sgemm``.

It packs its operands as it reads them, so a transposed one costs no more, which the matmul primitive copies first; it
writes into memory with any row length, and can add to what is there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.onednn.library import load
from flownn.kernels.onednn.primitives import thread_count

__all__ = ["multiply"]

Matrix = NDArray[np.float32]


def multiply(x: Matrix, y: Matrix, out: Matrix, *, add: bool = False) -> None:
    """Write x (M, K) times y (K, N) into ``out`` (M, N), or add it to what is there.

    All are float32 and not empty. Operands with other strides than those of dense rows or columns, with gaps between
    these or not, are copied; so is what lies between such an ``out`` and the product.

    Raises:
        MemoryError: the library found no memory to pack the operands.
    """
    if not _is_by_row(out):
        if _is_by_row(out.T):
            multiply(y.T, x.T, out.T, add=add)
            return
        dense = np.empty(out.shape, np.float32)
        multiply(x, y, dense)
        np.add(out, dense, out=out) if add else np.copyto(out, dense)
        return
    thread_count()  # tells OpenMP
    library = load()
    (m, k), n = x.shape, y.shape[1]
    transposed_x, step_x, x = _operand(x)
    transposed_y, step_y, y = _operand(y)
    status = library.dnnl_sgemm(
        transposed_x,
        transposed_y,
        m,
        n,
        k,
        1.0,
        x.ctypes.data,
        step_x,
        y.ctypes.data,
        step_y,
        1.0 if add else 0.0,
        out.ctypes.data,
        _step(out),
    )
    library.check("dnnl_sgemm", status)


def _is_by_row(matrix: Matrix) -> bool:
    """Whether the numbers of a row are neighbours, and rows follow each other."""
    by_row, by_column = matrix.strides
    rows, columns = matrix.shape
    neighbours = columns == 1 or by_column == matrix.itemsize
    return neighbours and (rows == 1 or (by_row >= columns * matrix.itemsize and not by_row % matrix.itemsize))


def _step(matrix: Matrix) -> int:
    """From row to row, in numbers."""
    return matrix.shape[1] if matrix.shape[0] == 1 else matrix.strides[0] // matrix.itemsize


def _operand(matrix: Matrix) -> tuple[bytes, int, Matrix]:
    """Whether it is transposed, its step, and the matrix or a copy, which the caller holds until the call is over."""
    if _is_by_row(matrix):
        return b"N", _step(matrix), matrix
    if _is_by_row(matrix.T):
        return b"T", _step(matrix.T), matrix
    copy = np.ascontiguousarray(matrix)
    return b"N", copy.shape[1], copy
