"""Products of matrices."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from flownn.kernels import kernel

__all__ = ["matrix_product"]


@kernel("matrix_product", provided={"onednn": "flownn.kernels.onednn.products"}, smallest=1024)
def matrix_product(xp: Any, x: NDArray[Any], y: NDArray[Any], bias: NDArray[Any] | None = None) -> NDArray[Any]:
    """``x @ y + bias`` for x (..., n, k), y (..., k, m) and a row bias (m,); the dims before broadcast."""
    result: NDArray[Any]
    if y.ndim == 2 and x.ndim > 2 and x.shape[-1] and x.flags.c_contiguous:
        # One large product instead of one per matrix, which would be a vector's if n is 1.
        result = (x.reshape(-1, x.shape[-1]) @ y).reshape(*x.shape[:-1], y.shape[-1])
    else:
        result = x @ y
    if bias is not None:
        result += bias
    return result
