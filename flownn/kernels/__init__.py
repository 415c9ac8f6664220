"""Kernels: array code that has a portable definition and may have faster bodies per device.

A kernel takes the array module first (``xp``: NumPy or CuPy) and plain arrays after it. The body registered without
a device is the definition; one registered for a device has the same signature and must give the same result. So must
one of a provider (`flownn.kernels.providers`), a library that may be missing: it serves the calls that it supports,
and gives ``NotImplemented`` for the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from flownn.kernels.providers import PROVIDERS, available, chosen

__all__ = ["Kernel", "kernel", "registered"]

_DEVICE_OF_MODULE = {"numpy": "cpu", "cupy": "cuda"}
_REGISTRY: dict[str, Kernel] = {}


class Kernel:
    """A named kernel: call it with ``xp`` first and the body for that array module's device runs.

    Args:
        name: The name bodies are registered under.
        portable: The definition, for any device.
        provided: Provider to the module that holds its body, which is imported when it is first wanted.
        smallest: Providers are not asked when the first array has fewer numbers: a library's call has its price.
    """

    def __init__(
        self, name: str, portable: Callable[..., Any], provided: Mapping[str, str] | None = None, smallest: int = 0
    ) -> None:
        self.name = name
        self.portable = portable
        self.bodies: dict[str, Callable[..., Any]] = {}
        self.smallest = smallest
        self.provided: dict[str, Callable[..., Any]] = {}
        self._modules = {PROVIDERS[provider][0]: (provider, module) for provider, module in (provided or {}).items()}
        self._serving: dict[str, Callable[..., Any] | None] = {}
        self._generation = -1
        self.__doc__ = portable.__doc__

    def __call__(self, xp: Any, *args: Any, **kwargs: Any) -> Any:
        device = _DEVICE_OF_MODULE.get(xp.__name__, "")
        if device in self._modules and (args[0].size >= self.smallest or chosen.small_arrays):
            body = self._serving[device] if self._generation == chosen.generation else self._resolve(device)
            if body is not None:
                result = body(xp, *args, **kwargs)
                if result is not NotImplemented:
                    return result
        return self.body(device)(xp, *args, **kwargs)

    def body(self, device: str) -> Callable[..., Any]:
        """The function that serves ``device`` ("cpu" or "cuda") where no provider does."""
        return self.bodies.get(device, self.portable)

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that have a body for this kernel."""
        return tuple(provider for provider, _ in self._modules.values())

    def provider_body(self, provider: str) -> Callable[..., Any]:
        """The provider's function, whatever is chosen; imports the module that holds it."""
        if provider not in self.provided:
            importlib.import_module(dict(self._modules.values())[provider])
        return self.provided[provider]

    def _resolve(self, device: str) -> Callable[..., Any] | None:
        """The provider's function for the present choice, or None."""
        if chosen.name is None:  # this reads the environment, which is a choice
            available(next(iter(PROVIDERS)))
        generation = chosen.generation
        self._serving = {
            place: self.provider_body(provider) if available(provider) else None
            for place, (provider, _) in self._modules.items()
        }
        self._generation = generation
        return self._serving[device]

    def __repr__(self) -> str:
        others = [*sorted(self.bodies), *sorted(self.providers)]
        return f"<kernel {self.name}: {', '.join(['portable', *others])}>"


def kernel(
    name: str,
    *,
    device: str | None = None,
    provider: str | None = None,
    provided: Mapping[str, str] | None = None,
    smallest: int = 0,
) -> Callable[[Callable[..., Any]], Any]:
    """Register a kernel's portable body (no ``device``), a faster body for one device, or a provider's body.

    The portable body's name becomes the :class:`Kernel`; another body stays a plain function, so that a test can
    call it beside ``Kernel.portable``. The portable body says which providers have another one and where
    (``provided``), and from which size of the first array on they are asked (``smallest``).

    Raises:
        ValueError: the name or the (name, device) is taken, the device or provider is unknown, the portable body is
            missing, or it does not announce the provider's.
    """
    if device is not None and device not in _DEVICE_OF_MODULE.values():
        raise ValueError(f"kernel {name!r}: expected device 'cpu' or 'cuda', got {device!r}")
    for unknown in {*(provided or {}), *filter(None, [provider])} - PROVIDERS.keys():
        raise ValueError(f"kernel {name!r}: expected a provider of {', '.join(PROVIDERS)}, got {unknown!r}")
    if device is not None and (provided or smallest):
        raise ValueError(f"kernel {name!r}: provided and smallest belong to the portable body")
    if provider is not None and device != PROVIDERS[provider][0]:
        raise ValueError(f"kernel {name!r}: {provider} serves device {PROVIDERS[provider][0]!r}, got {device!r}")

    def register(function: Callable[..., Any]) -> Any:
        if device is None:
            if name in _REGISTRY:
                raise ValueError(f"kernel {name!r}: a portable body is already registered")
            _REGISTRY[name] = Kernel(name, function, provided, smallest)
            return _REGISTRY[name]
        if name not in _REGISTRY:
            raise ValueError(f"kernel {name!r}: register the portable body before one for {device!r}")
        entry = _REGISTRY[name]
        if provider is not None and provider not in entry.providers:
            raise ValueError(f"kernel {name!r}: the portable body does not announce one of {provider}")
        bodies, key = (entry.bodies, device) if provider is None else (entry.provided, provider)
        if key in bodies:
            raise ValueError(f"kernel {name!r}: a body for {key!r} is already registered")
        bodies[key] = function
        return function

    return register


def registered() -> dict[str, Kernel]:
    """All kernels by name."""
    return dict(_REGISTRY)
