"""Tensors of parsed records and of arrays with shapes of their own: what readers and decoders pass to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.errors import DeviceError, DtypeError, GradientError
from flownn.ops import layout
from flownn.tensor import Size, Tensor

_SHOWN = 6


class HostTensor(Tensor):
    """A one-dim tensor of Python objects in host memory, of the types `flownn.record` and `flownn.tensor_buffer`.

    It goes from readers to decoders and from one decoder to the next. It has no gradient and no array: every op, index
    or conversion that asks for ``data`` raises.

    Args:
        dtype: `flownn.record` or `flownn.tensor_buffer`.
        values: The elements: parsed records, or NumPy arrays.
        origins: What each element was made from, for whoever made them: random decoders draw by it.

    Raises:
        DtypeError: another type, or an element of ``tensor_buffer`` that is no array.

    >>> pictures = HostTensor(dtypes.tensor_buffer, [np.zeros((2, 3), np.uint8), np.zeros(4, np.uint8)], [None, None])
    >>> pictures, pictures.shape
    (tensor([uint8 (2, 3), uint8 (4,)], dtype=flownn.tensor_buffer), flownn.Size([2]))
    """

    def __init__(self, dtype: dtypes.dtype, values: Sequence[Any], origins: Sequence[Any]) -> None:
        if dtype not in (dtypes.record, dtypes.tensor_buffer):
            raise DtypeError(f"HostTensor: expected {dtypes.record} or {dtypes.tensor_buffer}, got {dtype}")
        if dtype is dtypes.tensor_buffer and not all(isinstance(each, np.ndarray) for each in values):
            raise DtypeError(f"HostTensor: expected NumPy arrays for {dtype}, got {[type(v).__name__ for v in values]}")
        self._dtype = dtype
        self.values = tuple(values)
        self.origins = tuple(origins)
        self._requires_grad = False
        self.grad_fn = None

    @property
    def data(self) -> Any:
        """There is none.

        Raises:
            DtypeError: always.
        """
        raise DtypeError(
            f"a tensor of type {self._dtype} holds {self._content()}, not numbers: no operator takes it; use the "
            "decoders of flownn.nn" + (", or .numpy() for the arrays" if self._dtype is dtypes.tensor_buffer else "")
        )

    def _content(self) -> str:
        return "parsed records" if self._dtype is dtypes.record else "arrays, each with a shape of its own"

    @property
    def shape(self) -> Size:
        """Number of elements, as the only dim."""
        return Size((len(self.values),))

    @property
    def dtype(self) -> dtypes.dtype:
        """`flownn.record` or `flownn.tensor_buffer`."""
        return self._dtype

    @property
    def device(self) -> backend.device:
        """The cpu."""
        return backend.CPU

    @property
    def ndim(self) -> int:
        """1."""
        return 1

    @property
    def requires_grad(self) -> bool:
        """False; these tensors have no gradient."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            raise GradientError(f"requires_grad: a tensor of type {self._dtype} has no gradient")

    def numel(self) -> int:
        """Number of elements."""
        return len(self.values)

    def detach(self) -> Tensor:
        """The tensor itself."""
        return self

    def numpy(self) -> list[Any]:
        """The arrays of a ``tensor_buffer`` tensor, as a list; changes show in the tensor.

        Raises:
            DtypeError: the elements are records.
        """
        if self._dtype is dtypes.record:
            raise DtypeError(f"numpy: {self._dtype} is no array; a decoder such as nn.OFRecordRawDecoder makes one")
        return list(self.values)

    def to(
        self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        copy: bool = False,
        memory_format: layout.memory_format = layout.preserve_format,
    ) -> Tensor:
        """The tensor itself, or a copy: there is no other type, device or memory format for it.

        Raises:
            DeviceError: another device is asked for.
            DtypeError: another type, or a memory format, is asked for.
        """
        if memory_format is not layout.preserve_format:
            raise DtypeError(f"to: {self._content()} have no memory format, got {memory_format}")
        for wanted in (*args, dtype, device):
            if isinstance(wanted, Tensor):
                self.to(wanted.device, wanted.dtype)
            elif isinstance(wanted, backend.device) or (isinstance(wanted, str) and wanted.startswith(("cpu", "cuda"))):
                if backend.device(wanted) != backend.CPU:
                    raise DeviceError(
                        f"to: a tensor of type {self._dtype} stays in host memory, got {wanted}; move what decoders "
                        "make of it"
                    )
            elif wanted is not None and dtypes.as_dtype(wanted) is not self._dtype:
                raise DtypeError(f"to: {self._content()} cannot become {wanted}; use the decoders of flownn.nn")
        if not copy:
            return self
        values = [each.copy() if isinstance(each, np.ndarray) else each for each in self.values]
        return HostTensor(self._dtype, values, self.origins)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise DtypeError(f"array: a tensor of type {self._dtype} is not one array; .numpy() lists those it holds")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if self._dtype is dtypes.record:
            text = f"<{len(self.values)} records>"
        else:
            shown = [f"{each.dtype} {each.shape}" for each in self.values[:_SHOWN]]
            text = f"[{', '.join([*shown, '...'] if len(self.values) > _SHOWN else shown)}]"
        return f"tensor({text}, dtype={self._dtype})"
