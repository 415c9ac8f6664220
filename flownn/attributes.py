"""Less common attributes of tensors."""

from __future__ import annotations

from typing import Any, Self

from flownn import backend, dtypes
from flownn.errors import GradientError, ShapeError
from flownn.graph import TensorBase, base_of


class Attributes(TensorBase):
    """What is rarely asked of a tensor."""

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return int(self.data.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.data.nbytes)

    def ndimension(self) -> int:
        """Number of dims."""
        return int(self.data.ndim)

    def get_device(self) -> int:
        """Number of the GPU; -1 for a tensor in host memory."""
        place = backend.device_of(self.data)
        return -1 if place.type == "cpu" else place.index

    def storage_offset(self) -> int:
        """Elements between the start of the tensor that this one is a view of and its own start."""
        base = base_of(self)
        return (backend.address(self.data) - backend.address(base.data)) // int(self.data.itemsize)

    def is_signed(self) -> bool:
        """Whether the element type holds negative numbers."""
        return dtypes.category(self.data.dtype) == dtypes.FLOATING or self.data.dtype.kind == "i"

    def is_nonzero(self) -> bool:
        """Whether the only element is not 0.

        Raises:
            ShapeError: there is not exactly one element.
        """
        if self.data.size != 1:
            raise ShapeError(f"is_nonzero: expected one element, got shape {tuple(self.data.shape)}")
        return bool((self.data != 0).all())

    def is_same_size(self, other: Any) -> bool:
        """Whether another tensor has the same shape."""
        return bool(self.data.shape == other.data.shape)

    def detach_(self) -> Self:
        """Leave the graph: be a leaf that requires no gradient.

        Raises:
            GradientError: it is a view, whose base would stay in the graph.
        """
        if self._base is not None:
            raise GradientError("detach_: a view cannot leave the graph without its base; use detach()")
        self.grad_fn, self._requires_grad = None, False
        return self
