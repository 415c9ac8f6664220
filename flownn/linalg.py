"""Linear algebra: norms, determinants, inverses and linear systems, as ``flownn.linalg``."""

from __future__ import annotations

from flownn.ops.diagonal import diagonal
from flownn.ops.distance import matrix_norm, vector_norm
from flownn.ops.distance import ordered_norm as norm
from flownn.ops.linalg import cholesky, det, inv, slogdet, solve
from flownn.ops.matmul import matmul
from flownn.ops.products import cross

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "inv",
    "matmul",
    "matrix_norm",
    "norm",
    "slogdet",
    "solve",
    "vector_norm",
]
