"""Linear algebra: norms, determinants, inverses, linear systems and decompositions, as ``flownn.linalg``."""

from __future__ import annotations

from flownn.ops.decompose import eigh, eigvalsh, qr, svd, svdvals
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
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "norm",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]
