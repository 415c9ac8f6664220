"""The register of networks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from flownn.nn.modules.module import Module

__all__ = ["create", "names", "register"]

_Factory = TypeVar("_Factory", bound=Callable[..., Module])
_REGISTRY: dict[str, Callable[..., Module]] = {}


def register(name: str) -> Callable[[_Factory], _Factory]:
    """Make a function or class that builds a module available as ``name``.

    Raises:
        ValueError: the name is taken.
    """

    def add(factory: _Factory) -> _Factory:
        if name in _REGISTRY:
            raise ValueError(f"models.register: there already is a model {name!r}")
        _REGISTRY[name] = factory
        return factory

    return add


def names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_REGISTRY)


def create(name: str, **args: Any) -> Module:
    """Build the model ``name`` with ``args``.

    Raises:
        ValueError: no such model, or arguments that it does not take; the message names what there is.

    >>> from flownn import models
    >>> models.create("lenet", num_classes=10).fc3
    Linear(in_features=84, out_features=10, bias=True)
    """
    factory = _REGISTRY.get(name)
    if factory is None:
        close = difflib.get_close_matches(name, _REGISTRY, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"model {name!r}: {hint}there are {', '.join(names())}")
    try:
        inspect.signature(factory).bind(**args)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}; it takes {inspect.signature(factory)}") from error
    return factory(**args)
