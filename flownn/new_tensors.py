"""Making tensors that have the type and device of another one: its ``new_`` methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import backend, dtypes
from flownn.graph import TensorBase, wrap
from flownn.ops.axes import sizes_of

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class NewTensors(TensorBase):
    """Methods that make a tensor of the same type and on the same device, unless told otherwise.

    Each takes ``dtype``, ``device`` and ``requires_grad`` by name.
    """

    def _new(self, array: Any, device: Any, requires_grad: bool) -> Tensor:
        place = backend.device_of(self.data) if device is None else backend.device(device)
        result: Tensor = wrap(backend.to_device(array, place))
        return result.requires_grad_() if requires_grad else result

    def _kind(self, dtype: Any) -> Any:
        return self.data.dtype if dtype is None else dtypes.as_dtype(dtype).dtype

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A copy of these values: a number, nested sequences, an array or a tensor."""
        values = backend.to_device(data.data, backend.CPU) if isinstance(data, TensorBase) else data
        return self._new(np.array(values, self._kind(dtype)), device, requires_grad)

    def new_full(
        self, size: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """A tensor of one value."""
        return self._new(np.full(sizes_of("new_full", (size,)), fill_value, self._kind(dtype)), device, requires_grad)

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A tensor of zeros."""
        return self._new(np.zeros(sizes_of("new_zeros", size), self._kind(dtype)), device, requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A tensor of ones."""
        return self._new(np.ones(sizes_of("new_ones", size), self._kind(dtype)), device, requires_grad)

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A tensor whose values are whatever the memory holds."""
        return self._new(np.empty(sizes_of("new_empty", size), self._kind(dtype)), device, requires_grad)
