"""Kernels: array code that has a portable definition and may have faster bodies per device.

A kernel takes the array module first (``xp``: NumPy or CuPy) and plain arrays after it. The body registered without
a device is the definition; one registered for a device has the same signature and must give the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Kernel", "kernel", "registered"]

_DEVICE_OF_MODULE = {"numpy": "cpu", "cupy": "cuda"}
_REGISTRY: dict[str, Kernel] = {}


class Kernel:
    """A named kernel: call it with ``xp`` first and the body for that array module's device runs.

    Args:
        name: The name bodies are registered under.
        portable: The definition, for any device.
    """

    def __init__(self, name: str, portable: Callable[..., Any]) -> None:
        self.name = name
        self.portable = portable
        self.bodies: dict[str, Callable[..., Any]] = {}
        self.__doc__ = portable.__doc__

    def __call__(self, xp: Any, *args: Any, **kwargs: Any) -> Any:
        return self.body(_DEVICE_OF_MODULE.get(xp.__name__, ""))(xp, *args, **kwargs)

    def body(self, device: str) -> Callable[..., Any]:
        """The function that serves ``device`` ("cpu" or "cuda")."""
        return self.bodies.get(device, self.portable)

    def __repr__(self) -> str:
        return f"<kernel {self.name}: portable{''.join(f', {device}' for device in sorted(self.bodies))}>"


def kernel(name: str, *, device: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Register a kernel's portable body (no ``device``) or a faster body for one device.

    The portable body's name becomes the :class:`Kernel`; a device body stays a plain function, so that a test can
    call it beside ``Kernel.portable``.

    Raises:
        ValueError: the name or the (name, device) is taken, the device is unknown, or the portable body is missing.
    """
    if device is not None and device not in _DEVICE_OF_MODULE.values():
        raise ValueError(f"kernel {name!r}: expected device 'cpu' or 'cuda', got {device!r}")

    def register(function: Callable[..., Any]) -> Any:
        if device is None:
            if name in _REGISTRY:
                raise ValueError(f"kernel {name!r}: a portable body is already registered")
            _REGISTRY[name] = Kernel(name, function)
            return _REGISTRY[name]
        if name not in _REGISTRY:
            raise ValueError(f"kernel {name!r}: register the portable body before one for {device!r}")
        if device in _REGISTRY[name].bodies:
            raise ValueError(f"kernel {name!r}: a body for {device!r} is already registered")
        _REGISTRY[name].bodies[device] = function
        return function

    return register


def registered() -> dict[str, Kernel]:
    """All kernels by name."""
    return dict(_REGISTRY)
