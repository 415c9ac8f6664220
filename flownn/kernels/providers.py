"""Who computes: libraries that serve some kernels faster than the portable bodies, and the choice between them.

A provider is a package below `flownn.kernels`. It is imported, and its library loaded, when the first kernel that it
has a body for is called with arrays large enough to be worth it, or when somebody asks what serves.
"""

from __future__ import annotations

import importlib
import os
from types import TracebackType

from flownn.backend import is_available
from flownn.errors import DeviceError

__all__ = ["Unavailable", "available", "backends", "can_load", "chosen", "status", "use_kernels"]

ENVIRONMENT_VARIABLE = "FLOWNN_KERNELS"
# provider -> the device that it serves and the package whose ``describe()`` loads it
PROVIDERS = {"onednn": ("cpu", "flownn.kernels.onednn")}


class Unavailable(Exception):
    """A provider cannot serve here; the message is one line: why, and what to do about it."""


class _Choice:
    """The process-wide choice. Kernels compare ``generation`` with the one that they resolved their bodies for."""

    def __init__(self) -> None:
        self.name: str | None = None  # None: not chosen yet, the environment decides
        self.generation = 0
        self.small_arrays = False  # whether providers are asked whatever the sizes

    def set(self, name: str | None) -> None:
        self.name = name
        self.small_arrays = name in PROVIDERS
        self.generation += 1


chosen = _Choice()
_loaded: dict[str, str | Unavailable] = {}


def _describe(provider: str) -> str:
    """Load a provider, once, and give its name and version.

    Raises:
        Unavailable: it cannot be loaded.
    """
    if provider not in _loaded:
        try:
            _loaded[provider] = importlib.import_module(PROVIDERS[provider][1]).describe()
        except Unavailable as reason:
            _loaded[provider] = reason
    result = _loaded[provider]
    if isinstance(result, Unavailable):
        raise result.with_traceback(None)
    return result


def available(provider: str) -> bool:
    """Whether the provider is wanted and can be loaded; loads it."""
    if chosen.name is None:
        _choose(os.environ.get(ENVIRONMENT_VARIABLE) or "auto", f"environment variable {ENVIRONMENT_VARIABLE}")
    return chosen.name in ("auto", provider) and can_load(provider)


def status(provider: str) -> str:
    """Name and version of the provider's library, or why it cannot be loaded; loads it, whatever is chosen."""
    try:
        return _describe(provider)
    except Unavailable as reason:
        return str(reason)


def can_load(provider: str) -> bool:
    """Whether the provider's library loads here, whatever is chosen; loads it."""
    status(provider)
    return not isinstance(_loaded[provider], Unavailable)


def _choose(name: str, who: str) -> None:
    names = ["auto", "portable", *PROVIDERS]
    if name not in names:
        raise DeviceError(f"{who}: expected {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, got {name!r}")
    if name in PROVIDERS:
        try:
            _describe(name)
        except Unavailable as reason:
            raise DeviceError(f"{who}: {name} cannot serve here: {reason}") from reason
    chosen.set(name)


class use_kernels:
    """Choose who computes, for the whole process; in a ``with`` statement, until its end.

    Args:
        name: ``"auto"`` (the default: a provider's library where it loads and the arrays are large enough to gain
            by it), ``"portable"`` (NumPy and CuPy alone), or a provider such as ``"onednn"``, which is then used
            whatever the sizes. Cases that the provider does not support are computed by the portable kernels.

    Raises:
        DeviceError: there is no such choice, or the named provider cannot be loaded; the message says why.

    The environment variable ``FLOWNN_KERNELS`` holds the choice of a process that makes none.

    >>> with use_kernels("portable"):
    ...     print(backends()["cpu"])
    numpy
    """

    def __init__(self, name: str) -> None:
        self._before = chosen.name
        _choose(name, "use_kernels")

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        chosen.set(self._before)


def backends() -> dict[str, str]:
    """What computes on each device of this machine; where a library could but does not serve, why and what to do.

    Loads the libraries that are wanted.

    >>> sorted(backends())[0]
    'cpu'
    """
    found = {"cpu": "numpy"} | ({"cuda": "cupy"} if is_available() else {})
    for provider, (device, _) in PROVIDERS.items():
        if device not in found:
            continue
        if available(provider):
            found[device] = status(provider)
        elif chosen.name != "portable":
            found[device] += f" ({provider}: {status(provider)})"
    return found
