"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from flownn.errors import ShapeError
from flownn.ops.shape import cat
from flownn.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, one after the other, in one vector; with gradient.

    Args:
        parameters: Tensors on one device.

    Reference:
        ``torch.nn.utils.parameters_to_vector``.

    >>> import flownn as flow
    >>> parameters_to_vector([flow.ones(1, 2), flow.zeros(1)])
    tensor([1., 1., 0.], dtype=flownn.float32)
    """
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the values of a vector, as views of it.

    Args:
        vec: As many elements as the parameters have together, on their device.
        parameters: Whose values; their element types become that of the vector.

    Raises:
        ShapeError: ``vec`` is no vector or has another number of elements; then nothing was changed.

    Reference:
        ``torch.nn.utils.vector_to_parameters``, which passes over elements that are left.
    """
    chosen = list(parameters)
    sizes = [parameter.numel() for parameter in chosen]
    if vec.data.shape != (sum(sizes),):
        raise ShapeError(f"vector_to_parameters: expected shape ({sum(sizes)},), got {tuple(vec.data.shape)}")
    start = 0
    for parameter, size in zip(chosen, sizes, strict=True):
        parameter.data = vec.data[start : start + size].reshape(parameter.data.shape)
        start += size
