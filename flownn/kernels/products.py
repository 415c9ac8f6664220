"""Products of matrices."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from flownn.kernels import kernel

__all__ = ["matrix_product"]


@kernel("matrix_product", provided={"onednn": "flownn.kernels.onednn.products"}, smallest=1024)
def matrix_product(xp: Any, x: NDArray[Any], y: NDArray[Any], bias: NDArray[Any] | None = None) -> NDArray[Any]:
    """``x @ y + bias`` for x (..., n, k), y (..., k, m) and a row bias (m,); the dims before broadcast."""
    result: NDArray[Any] = x @ y
    if bias is not None:
        result += bias
    return result
