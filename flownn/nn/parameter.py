"""Parameter: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.errors import DtypeError
from flownn.tensor import Tensor

__all__ = ["Parameter", "empty_parameter"]


class Parameter(Tensor):
    """A tensor that becomes part of a module's state when it is assigned to an attribute.

    Args:
        data: The tensor or array whose memory it takes over.
        requires_grad: Whether it is trained; needs a floating point type.

    Reference:
        ``torch.nn.Parameter``.

    >>> import flownn as flow
    >>> Parameter(flow.ones(2))
    Parameter containing:
    tensor([1., 1.], dtype=flownn.float32, requires_grad=True)
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        if not isinstance(requires_grad, (bool, np.bool_)):
            raise DtypeError(f"Parameter: expected requires_grad as True or False, got {requires_grad!r}")
        array = data.data if isinstance(data, Tensor) else data
        if not backend.is_array(array):
            raise DtypeError(f"Parameter: expected a tensor or an array, got {type(data).__name__}")
        if requires_grad and dtypes.category(array.dtype) != dtypes.FLOATING:
            raise DtypeError(
                f"Parameter: expected a floating point type, got {array.dtype}; or pass requires_grad=False"
            )
        self.data = array
        self._requires_grad = requires_grad
        self.grad_fn = None

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def empty_parameter(*sizes: int) -> Parameter:
    """A parameter of the default type whose values are still to be set."""
    return Parameter(np.empty(sizes, dtypes.get_default_dtype().dtype))
