"""Distances and lengths of vectors as functions."""

from __future__ import annotations

from flownn.ops.loss import distance
from flownn.tensor import Tensor

__all__ = ["cosine_similarity", "normalize", "pairwise_distance"]


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dim; shapes broadcast.

    Args:
        x1: Vectors (..., D).
        x2: Others.
        p: Order of the norm; positive, ``inf`` included.
        eps: Added to each difference, so that the gradient of a distance of 0 is finite.
        keepdim: Keep the last dim with size 1.

    Raises:
        ShapeError: the shapes do not broadcast.
        ValueError: ``p`` is not positive.
    """
    return distance.pairwise_distance(x1, x2, p=p, eps=eps, keepdim=keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along ``dim`` of the common shape.

    Args:
        x1: Vectors, floating point.
        x2: Others; shapes broadcast.
        dim: Dim that holds a vector's elements.
        eps: Lengths below it count as this.

    Raises:
        ShapeError: the shapes do not broadcast, or there is no such dim.
        DtypeError: neither is floating point.
    """
    return distance.cosine_similarity(x1, x2, dim=dim, eps=eps)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along ``dim`` divided by their p-norm, or by ``eps`` where that is larger.

    Args:
        input: Vectors, floating point.
        p: Order of the norm; positive, ``inf`` included.
        dim: Dim that holds a vector's elements.
        eps: Keeps vectors of length 0 from becoming nan.

    Raises:
        ShapeError: there is no such dim.
        DtypeError: ``input`` is not floating point.
        ValueError: ``p`` is not positive.
    """
    return distance.normalize(input, p=p, dim=dim, eps=eps)
