"""`Tensor`: an array, its place in the recorded graph, and the operators, each of which calls an op."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from flownn import backend, dtypes
from flownn.attributes import Attributes
from flownn.engine import HookHandle, add_gradients
from flownn.errors import DeviceError, DtypeError, GradientError, ShapeError
from flownn.graph import Hook, TensorBase, register_tensor_class, wrap
from flownn.new_tensors import NewTensors
from flownn.operators import Operators
from flownn.ops import layout
from flownn.ops.axes import axis_of
from flownn.ops.elementwise import cast, clone, move
from flownn.ops.shape import permute, transpose, unbind
from flownn.printing import tensor_text


class Size(tuple[int, ...]):
    """The sizes of a tensor's dims; a tuple that prints as one of them.

    >>> Size((2, 3)), Size((2, 3)).numel(), Size((2, 3)) == (2, 3)
    (flownn.Size([2, 3]), 6, True)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"flownn.Size([{', '.join(map(str, self))}])"

    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for size in self:
            count *= size
        return count


class Tensor(Operators, NewTensors, Attributes):
    """An n-dim array of one element type that can remember how it was computed.

    `flownn.tensor` is the usual way to make one; this constructor always gives the default floating point type.

    Args:
        *data: Nested sequences, an array or a tensor to copy; or sizes, for a tensor of zeros.
        device: Where to keep it.

    Attributes:
        data: The NumPy or CuPy array itself. Changing it is not recorded; `flownn.autograd.mark_overwritten` tells a
            pending backward about it.
        grad: Gradient of a leaf, None before the first backward.
        grad_fn: The recorded op that computed it, None for a leaf.

    >>> Tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]], dtype=flownn.float32)
    """

    # Arrays leave operators to us: ndarray + Tensor is a Tensor.
    __array_ufunc__ = None
    __hash__ = object.__hash__

    grad: Tensor | None

    def __init__(self, *data: Any, device: Any = None) -> None:
        kind = dtypes.get_default_dtype().dtype
        if all(hasattr(each, "__index__") and not isinstance(each, (np.ndarray, TensorBase)) for each in data):
            array: Any = np.zeros([int(each) for each in data] or 0, kind)
        elif len(data) == 1:
            array = host_array("Tensor", data[0], kind)
        else:
            raise DtypeError(f"Tensor: expected sizes, or one array, sequence or tensor, got {len(data)} values")
        self.data = backend.to_device(array, backend.device(device or "cpu"))
        self._requires_grad = False
        self.grad_fn = None

    # ------------------------------------------------------------ attributes

    @property
    def shape(self) -> Size:
        """Size of each dim."""
        return Size(self.data.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """Element type."""
        return dtypes.as_dtype(self.data.dtype)

    @property
    def device(self) -> backend.device:
        """Where the elements are."""
        return backend.device_of(self.data)

    @property
    def ndim(self) -> builtins.int:
        """Number of dims."""
        return int(self.data.ndim)

    @property
    def requires_grad(self) -> builtins.bool:
        """Whether ops on this tensor are recorded. May be set on leaves of floating point type."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        if value and dtypes.category(self.data.dtype) != dtypes.FLOATING:
            raise GradientError(f"requires_grad: only floating point tensors have gradients, this one is {self.dtype}")
        if self.grad_fn is not None and not value:
            raise GradientError("requires_grad: can be switched off for leaves only; use detach() for a result")
        self._requires_grad = bool(value)

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether it was made by the user, not computed by a recorded op."""
        return self.grad_fn is None

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether it is on a GPU."""
        return self.device.type == "cuda"

    @property
    def T(self) -> Tensor:
        """The dims in reverse order, as a view."""
        return permute(self, tuple(range(self.data.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        """The last two dims swapped, as a view."""
        if self.data.ndim < 2:
            raise ShapeError(f"mT: expected two dims or more, got shape {tuple(self.data.shape)}")
        return transpose(self, -1, -2)

    def size(self, dim: builtins.int | None = None) -> Any:
        """Size of one dim, or of all of them."""
        return self.shape if dim is None else self.shape[axis_of("size", self.ndim, dim)]

    def dim(self) -> builtins.int:
        """Number of dims."""
        return self.ndim

    def numel(self) -> builtins.int:
        """Number of elements."""
        return int(self.data.size)

    nelement = numel

    def element_size(self) -> builtins.int:
        """Bytes per element."""
        return int(self.data.itemsize)

    def stride(self) -> tuple[builtins.int, ...]:
        """Elements of memory between neighbours along each dim."""
        return tuple(step // self.data.itemsize for step in self.data.strides)

    def is_contiguous(self, memory_format: layout.memory_format = layout.contiguous_format) -> builtins.bool:
        """Whether the elements lie dense in this order, row-major unless said otherwise."""
        return layout.has_format(self.data, layout.require_format("is_contiguous", memory_format))

    def data_ptr(self) -> builtins.int:
        """Address of the first element."""
        return backend.address(self.data)

    def is_floating_point(self) -> builtins.bool:
        """Whether the element type holds fractions."""
        return self.dtype.is_floating_point

    # ------------------------------------------------------------ gradients

    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool = False,
        create_graph: builtins.bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the ``grad`` of every leaf it was computed from.

        Args:
            gradient: Gradient of some scalar with respect to this tensor; None means 1, for one element.
            retain_graph: Keep what the ops saved, so that another backward can follow.
            create_graph: Not available.
            inputs: Tensors whose ``grad`` alone is added to.

        Raises:
            GradientError: it requires no gradient, the graph was freed, or a saved value was overwritten in place.
            ShapeError: ``gradient`` has another shape.
            NotImplementedError: ``create_graph`` is true.
        """
        wanted = (inputs,) if isinstance(inputs, TensorBase) else inputs
        add_gradients((self,), (gradient,), wanted, retain_graph=retain_graph, create_graph=create_graph)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Set `requires_grad`, and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """A tensor over the same memory that is not part of the graph."""
        result: Tensor = wrap(self.data)
        return result

    def retain_grad(self) -> None:
        """Store the gradient of this result in ``grad`` during backward, as leaves do."""
        if self.grad_fn is not None:

            def store(g: Tensor) -> None:
                self.grad = g.clone() if self.grad is None else self.grad + g

            self.register_hook(store)

    def register_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(gradient)`` when a backward has the whole gradient of this tensor.

        Args:
            hook: Takes a tensor, which it must not change; what it returns, if not None, replaces it.

        Raises:
            GradientError: the tensor requires no gradient.
        """
        if not self._requires_grad:
            raise GradientError("register_hook: this tensor requires no gradient, the hook would never be called")
        owner: Any = self if self.grad_fn is None else self.grad_fn
        name = "_hooks" if self.grad_fn is None else "hooks"
        if getattr(owner, name) is None:
            setattr(owner, name, {})
        return HookHandle(getattr(owner, name), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> HookHandle:
        """Call ``hook(tensor)`` after a backward has added to the ``grad`` of this leaf.

        Args:
            hook: Takes the tensor.

        Raises:
            GradientError: the tensor is no leaf that requires a gradient.
        """
        if self.grad_fn is not None or not self._requires_grad:
            raise GradientError("register_post_accumulate_grad_hook: only leaves that require a gradient have one")
        if self._accumulate_hooks is None:
            self._accumulate_hooks = {}
        return HookHandle(self._accumulate_hooks, hook)

    # ------------------------------------------------------------ conversion

    def numpy(self) -> Any:
        """The NumPy array itself: changes show in both. Not for tensors on a GPU.

        Raises:
            DeviceError: the tensor is on a GPU.
        """
        if not isinstance(self.data, np.ndarray):
            raise DeviceError(f"numpy: this tensor is on {self.device}; use .cpu().numpy()")
        return self.data

    def item(self) -> Any:
        """The only element as a Python number.

        Raises:
            ShapeError: there is not exactly one element.
        """
        if self.data.size != 1:
            raise ShapeError(f"item: expected one element, got shape {tuple(self.data.shape)}")
        return self._widened().item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers, one number for a 0-dim tensor."""
        return self._widened().tolist()

    def _widened(self) -> Any:
        """The array, with bfloat16, which knows no Python number, as float32."""
        return self.data.astype(np.float32) if self.data.dtype == dtypes.BFLOAT16 else self.data

    def to(
        self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        copy: builtins.bool = False,
        memory_format: layout.memory_format = layout.preserve_format,
    ) -> Tensor:
        """This tensor with another element type, on another device or in another memory order; itself if it is so.

        Args:
            *args: A dtype, a device, both in any order, or a tensor to be like.
            dtype: The same by name.
            device: The same by name.
            copy: Copy in any case.
            memory_format: Order of the elements in memory, which changes no value.

        Raises:
            ShapeError: the memory format is for another number of dims.
            DeviceError: there is no such device here; the message says what is missing.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, backend.device) or (isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda")):
                device = arg
            else:
                dtype = dtypes.as_dtype(arg)
        result = self
        if device is not None and backend.device(device) != self.device:
            result = move(result, target=backend.device(device))
        if dtype is not None and dtypes.as_dtype(dtype).dtype != self.data.dtype:
            result = cast(result, dtype=dtype)
        if memory_format is not layout.preserve_format:
            result = layout.contiguous(result, memory_format)
        return clone(result) if copy and result is self else result

    def type(self, dtype: Any = None) -> Any:
        """With a dtype, `to`; without, the name of this tensor's."""
        return str(self.dtype) if dtype is None else self.to(dtype=dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor with the element type of another one."""
        return self.to(dtype=other.dtype)

    def cpu(self) -> Tensor:
        """This tensor in host memory."""
        return self.to(device="cpu")

    def cuda(self, device: builtins.int | None = None) -> Tensor:
        """This tensor on a GPU.

        Args:
            device: Number of the GPU.

        Raises:
            DeviceError: there is none here; the message says what is missing.
        """
        return self.to(device=backend.device("cuda", device))

    def float(self) -> Tensor:
        """This tensor as float32."""
        return self.to(dtype=dtypes.float32)

    def double(self) -> Tensor:
        """This tensor as float64."""
        return self.to(dtype=dtypes.float64)

    def half(self) -> Tensor:
        """This tensor as float16."""
        return self.to(dtype=dtypes.float16)

    def bfloat16(self) -> Tensor:
        """This tensor as bfloat16."""
        return self.to(dtype=dtypes.bfloat16)

    def byte(self) -> Tensor:
        """This tensor as uint8."""
        return self.to(dtype=dtypes.uint8)

    def char(self) -> Tensor:
        """This tensor as int8."""
        return self.to(dtype=dtypes.int8)

    def short(self) -> Tensor:
        """This tensor as int16."""
        return self.to(dtype=dtypes.int16)

    def long(self) -> Tensor:
        """This tensor as int64."""
        return self.to(dtype=dtypes.int64)

    def int(self) -> Tensor:
        """This tensor as int32."""
        return self.to(dtype=dtypes.int32)

    def bool(self) -> Tensor:
        """This tensor as bool: whether each element is not 0."""
        return self.to(dtype=dtypes.bool_)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.numpy(), dtype=dtypes.as_dtype(dtype).dtype if dtype is not None else None, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        device: tuple[Any, Any] = self.data.__dlpack_device__()
        return device

    @property
    def __cuda_array_interface__(self) -> Any:
        if isinstance(self.data, np.ndarray):
            raise AttributeError("__cuda_array_interface__: this tensor is in host memory")
        return self.data.__cuda_array_interface__

    def __bool__(self) -> builtins.bool:
        if self.data.size != 1:
            raise ShapeError(f"bool: the truth of {self.data.size} elements is not defined; use any() or all()")
        return bool(self.item())

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __int__(self) -> builtins.int:
        return int(self.item())

    def __index__(self) -> builtins.int:
        if dtypes.category(self.data.dtype) == dtypes.FLOATING:
            raise DtypeError(f"index: only integers can be an index, got {self.dtype}")
        return int(self.item())

    def __len__(self) -> builtins.int:
        if not self.data.ndim:
            raise TypeError("len: a 0-dim tensor has no length")
        return int(self.data.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self.data.ndim:
            raise TypeError("iter: a 0-dim tensor has no elements to go through")
        return iter(unbind(self))

    def __contains__(self, value: Any) -> builtins.bool:
        return bool((self == value).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.data.size == 1 else repr(self)

    def __repr__(self) -> str:
        notes = [] if self.device.type == "cpu" else [f"device='{self.device}'"]
        notes.append(f"dtype={self.dtype}")
        if self.grad_fn is not None:
            notes.append(f"grad_fn={self.grad_fn}")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return tensor_text(backend.to_device(self.data, backend.CPU), notes)

    def __reduce__(self) -> Any:
        if self.grad_fn is not None:
            raise GradientError("pickle, copy: only leaves can be copied whole; use detach() or clone()")
        return _leaf, (type(self), self.data, self._requires_grad)

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Self:
        if self.grad_fn is not None:
            raise GradientError("deepcopy: only leaves can be copied whole; use detach().clone()")
        copied: Self = _leaf(type(self), self.data.copy(order="K"), self._requires_grad)
        memo[id(self)] = copied
        if self.grad is not None:
            copied.grad = wrap(self.grad.data.copy(order="K"))
        return copied


def _leaf(cls: type[Any], array: Any, requires_grad: bool) -> Any:
    result = object.__new__(cls)
    result.data, result._requires_grad, result.grad_fn = array, requires_grad, None
    return result


def host_array(name: str, values: Any, kind: np.dtype[Any] | None) -> Any:
    """A new array with the values of a tensor, an array, a number or nested sequences of these.

    Args:
        name: Who asks, for messages.
        values: The values.
        kind: Element type; None keeps that of tensors and arrays and gives Python floats the default type.

    Raises:
        DtypeError: the values are of a type that tensors cannot hold.
        ShapeError: nested sequences have different lengths.
    """
    values = _without_tensors(values)
    if backend.is_array(values) or isinstance(values, np.generic):
        found = values
    else:
        try:
            found = np.asarray(values)
        except ValueError as error:
            raise ShapeError(f"{name}: nested sequences must have equal lengths at each depth: {error}") from None
        if found.dtype == np.float64:
            found = found.astype(kind or dtypes.get_default_dtype().dtype)
    if kind is None:
        kind = dtypes.as_dtype(found.dtype).dtype
    elif found.dtype != kind:
        dtypes.as_dtype(found.dtype)
    return backend.array_module(found).array(found, dtype=kind)


def _without_tensors(values: Any) -> Any:
    if isinstance(values, TensorBase):
        return values.data
    if isinstance(values, (list, tuple)):
        return [_without_tensors(each) for each in values]
    return values


register_tensor_class(Tensor)
