"""Helpers around a training, each loaded when first used."""

from typing import Any

_SUBMODULES = ("checkpoint", "data")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
