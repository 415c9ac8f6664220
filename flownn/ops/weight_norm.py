"""Weights as a length times a direction."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from flownn.autograd import op
from flownn.kernels.channels import compute_dtype

__all__ = ["norm_except", "weight_norm"]


def norm_except(xp: Any, v: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Euclidean norms over all axes but one, kept with size 1; with None the norm over all of them, 0-dim."""
    values = v.astype(compute_dtype("weight_norm", v.dtype), copy=False)
    norm: NDArray[Any] = xp.asarray(xp.sqrt(_sum(values * values, axis)))
    return norm


@op
def weight_norm(xp: Any, v: NDArray[Any], g: NDArray[Any], *, axis: int | None) -> Any:
    """``g * v / ||v||``, with the norm over all axes but ``axis`` (Salimans & Kingma, 2016)."""
    norm = norm_except(xp, v, axis)

    def vjp(grad: NDArray[Any]) -> tuple[Any, ...]:
        direction = v / norm
        along = _sum(grad * direction, axis)
        return lambda: (g / norm * (grad - direction * along)).astype(v.dtype), along.astype(g.dtype)

    return (v * (g / norm)).astype(v.dtype), vjp


def _sum(values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    axes = tuple(i for i in range(values.ndim) if i != axis)
    total: NDArray[Any] = values.sum(axis=axes, keepdims=axis is not None)
    return total
