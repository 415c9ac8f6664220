"""Module: a function with parameters, buffers and modules of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from numpy.typing import NDArray

from flownn import backend, dtypes
from flownn.autograd import HookHandle, mark_overwritten
from flownn.errors import DtypeError, GradientError
from flownn.nn.argument_types import check_argument_types
from flownn.nn.parameter import Parameter
from flownn.tensor import Tensor

__all__ = ["IncompatibleKeys", "Module", "indented"]


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not find a use or a value for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of everything that is called on tensors and may hold parameters.

    A subclass calls ``super().__init__()`` first, assigns `Parameter` and `Module` objects as attributes, registers
    buffers, and defines ``forward``. Calling the module calls ``forward`` and the hooks around it.

    Reference:
        Behaves as ``torch.nn.Module``, names of parameters and text of ``repr`` included.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent: set[str]
    _modules: dict[str, Module | None]
    _forward_pre_hooks: dict[int, tuple[Callable[..., Any], bool]]
    _forward_hooks: dict[int, tuple[Callable[..., Any], bool]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Users' own classes mean what they like by their annotations; those of records say more than the type.
        if cls.__module__.startswith("flownn.") and not cls.__module__.startswith("flownn.nn.modules.data"):
            check_argument_types(cls, args, kwargs)
        return super().__new__(cls)

    def __init__(self) -> None:
        values: dict[str, Any] = {
            "training": True,
            "_parameters": {},
            "_buffers": {},
            "_non_persistent": set(),
            "_modules": {},
            "_forward_pre_hooks": {},
            "_forward_hooks": {},
        }
        self.__dict__.update(values)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}: define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                args, kwargs = changed if changed is not None else (args, kwargs)
            elif (changed := hook(self, args)) is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            result = result if changed is None else changed
        return result

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> HookHandle:
        """Call ``hook(module, args)`` before every ``forward``; what it returns replaces the arguments.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)`` and returns both. The result's ``remove()`` ends it.
        """
        return HookHandle(self._forward_pre_hooks, (hook, with_kwargs))

    def register_forward_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> HookHandle:
        """Call ``hook(module, args, result)`` after every ``forward``; what it returns replaces the result.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, result)``. The result's ``remove()`` ends it.
        """
        return HookHandle(self._forward_hooks, (hook, with_kwargs))

    # ------------------------------------------------------------ attributes

    def __getattr__(self, name: str) -> Any:
        for kind in ("_parameters", "_buffers", "_modules"):
            known = self.__dict__.get(kind)
            if known is None:
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before using {name!r}")
            if name in known:
                return known[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if kind is not None:
            if kind not in self.__dict__:
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
            if name not in self.__dict__[kind]:  # else it keeps its place in the order
                self._forget(name)
            self.__dict__[kind][name] = value
            return
        for holder, wanted in (("_parameters", "Parameter"), ("_modules", "Module"), ("_buffers", "Tensor")):
            if name in self.__dict__.get(holder, ()):
                if value is not None and not (holder == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(
                        f"{type(self).__name__}.{name}: expected a {wanted} or None, got {type(value).__name__}"
                    )
                self.__dict__[holder][name] = value
                return
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def _forget(self, name: str) -> bool:
        found = self.__dict__.pop(name, None) is not None
        self._non_persistent.discard(name)
        for holder in (self._parameters, self._buffers, self._modules):
            if name in holder:
                del holder[name]
                found = True
        return found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Make ``parameter`` the attribute ``name``; None keeps the name in the module but not in its state."""
        self._check_new(name, self._parameters)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"register_parameter: expected a Parameter or None, got {type(parameter).__name__}")
        self._parameters[name] = parameter

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make ``tensor`` part of the module's state without being trained; not of ``state_dict`` unless persistent."""
        self._check_new(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: expected a Tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor
        if not persistent:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Make ``module`` the attribute ``name``."""
        self._check_new(name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: expected a Module or None, got {type(module).__name__}")
        self._modules[name] = module

    register_module = add_module

    def _check_new(self, name: str, holder: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: expected a name without dots, got {name!r}")
        if name not in holder and hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: there already is an attribute {name!r}")

    # ------------------------------------------------------------ walking

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it with dotted names, each once unless told otherwise."""
        return self._walk(prefix, set() if remove_duplicate else None)

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one, each once."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, holder: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, value in module.__dict__[holder].items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names; a shared one once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters of this module and those below it, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names; a shared one once, under its first name."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers of this module and those below it, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with the dotted name ``target``; "" is this one.

        Raises:
            AttributeError: there is no such module.
        """
        module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(
                    f"{type(self).__name__}: no module {target!r}: {type(module).__name__} has no {name!r}"
                )
            module = found
        return module

    # ------------------------------------------------------------ state

    def state_dict(self, *, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, detached; they share memory with the module's."""
        state: dict[str, Tensor] = {}
        for path, module in self.named_modules(prefix.removesuffix("."), remove_duplicate=False):
            for name, value in {**module._parameters, **module._buffers}.items():
                if value is not None and name not in module._non_persistent:
                    state[f"{path}.{name}" if path else name] = value.detach()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into this module's parameters and buffers, converted to their dtypes.

        Args:
            state_dict: Tensors, arrays or PyTorch tensors by the names that `state_dict` gives them.
            strict: Whether every name must have its counterpart.

        Returns:
            The names without counterpart; none of them with ``strict``.

        Raises:
            RuntimeError: a name without counterpart, or a value of another shape (also without ``strict``). Then
                nothing was copied.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        values = {name: _array_of(state_dict[name]) for name in own if name in state_dict}
        problems = [
            f"{name}: expected shape {tuple(own[name].data.shape)}, got {tuple(value.shape)}"
            for name, value in values.items()
            if own[name].data.shape != value.shape
        ]
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        if problems:
            raise RuntimeError(f"{type(self).__name__}.load_state_dict: " + "\n  ".join(["", *problems]).strip("\n"))
        for name, value in values.items():
            target = own[name].data
            target[...] = backend.to_device(value, backend.device_of(target)).astype(target.dtype, copy=False)
            mark_overwritten(target, "load_state_dict")
        return IncompatibleKeys(missing, unexpected)

    # ------------------------------------------------------------ changing

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch norm uses the batch's statistics."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let the parameters be trained, or not."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the parameters' gradients, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.data[...] = 0

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call ``function`` on every module below, then on this one."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move all parameters and buffers to a device, and the floating point ones to a dtype.

        Args:
            args: A device, a dtype or a tensor whose device and dtype are taken.
            device: Where to, such as ``"cuda:0"``.
            dtype: A floating point dtype.

        Raises:
            DtypeError: ``dtype`` is no floating point type.
            GradientError: gradients are buckets of a data-parallel wrapper; convert before wrapping.
        """
        for value in args:
            if isinstance(value, Tensor):
                device, dtype = backend.device_of(value.data), value.data.dtype
            elif isinstance(value, backend.device) or (isinstance(value, str) and value.startswith(("cpu", "cuda"))):
                device = value
            else:
                dtype = value
        place = None if device is None else backend.device(device)
        kind = None if dtype is None else dtypes.as_dtype(dtype)
        if kind is not None and not kind.is_floating_point:
            raise DtypeError(f"{type(self).__name__}.to: expected a floating point dtype, got {kind}")

        def convert(array: NDArray[Any]) -> Any:
            if kind is not None and dtypes.category(array.dtype) == dtypes.FLOATING:
                array = array.astype(kind.dtype, copy=False)
            return array if place is None else backend.to_device(array, place)

        self._convert(convert)
        return self

    def _convert(self, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            converted = convert(tensor.data)
            if converted is tensor.data:
                continue
            if tensor.grad_sink is not None:
                raise GradientError(
                    f"{type(self).__name__}.to: the gradient of {name} is a view of a communication bucket; "
                    "convert the module before DistributedDataParallel wraps it"
                )
            tensor.data = converted
            if tensor.grad is not None:
                tensor.grad.data = convert(tensor.grad.data)

    def float(self) -> Self:
        """Convert floating point parameters and buffers to float32."""
        return self.to(dtype=dtypes.float32)

    def double(self) -> Self:
        """Convert floating point parameters and buffers to float64."""
        return self.to(dtype=dtypes.float64)

    def half(self) -> Self:
        """Convert floating point parameters and buffers to float16."""
        return self.to(dtype=dtypes.float16)

    def bfloat16(self) -> Self:
        """Convert floating point parameters and buffers to bfloat16."""
        return self.to(dtype=dtypes.bfloat16)

    def cpu(self) -> Self:
        """Move to host memory."""
        return self.to(device="cpu")

    def cuda(self, device: int | str | None = None) -> Self:
        """Move to a GPU: the first, one by number, or one by name."""
        return self.to(device=f"cuda:{device or 0}" if not isinstance(device, str) else device)

    # ------------------------------------------------------------ text

    def extra_repr(self) -> str:
        """What ``repr`` prints between the parentheses, besides the modules."""
        return ""

    def _child_lines(self) -> list[str]:
        return [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = self._child_lines()
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        return "\n".join([f"{type(self).__name__}(", *(f"  {line}" for line in lines + children), ")"])


def indented(text: str) -> str:
    """The text of a module as it stands inside another one's."""
    return text.replace("\n", "\n  ")


def _array_of(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else backend.foreign_array(value)
