"""Code that a configuration names: modules to import, and ``module:Class`` in place of a built-in name.

A configuration file may come from anywhere, and importing a module runs it; so it happens only where the caller said
that it may.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

from flowdata.config import Config, arguments_model, check
from flowdata.errors import ConfigError


def look_here() -> None:
    """Let modules be found in the current directory, as scripts that are started there find them."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)


def import_module(name: str, allow_imports: bool) -> ModuleType:
    """The module of that name.

    Raises:
        ConfigError: modules may not be imported, or there is none of that name.
    """
    if not allow_imports:
        raise ConfigError(
            f"{name!r} runs code of that module; if you trust it, add --allow-imports to the command or "
            "allow_imports=True in Python"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # one that the user's module needs: the traceback says more
        raise ConfigError(f"there is no module {error.name!r} on Python's path") from None


def load(name: str, allow_imports: bool) -> Any:
    """The object that ``module:name`` names.

    Raises:
        ConfigError: the module may not be imported, or it or the object is missing.
    """
    module_name, _, path = name.partition(":")
    found: Any = import_module(module_name, allow_imports)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise ConfigError(f"module {module_name!r} has no {path!r}")
        found = getattr(found, attribute)
    if not callable(found):
        raise ConfigError(f"expected a class or function, but {name} is {found!r}")
    return found


def build(target: Any, name: str, arguments: Config, problems: list[str], *, call: bool = False) -> Any:
    """An instance of a class, or a function with arguments filled in.

    Args:
        target: The class or function.
        name: What the configuration calls it.
        arguments: A mapping of keyword arguments; those of a dataclass are checked against its fields.
        problems: Where to add what is wrong with them.
        call: Call a function too, rather than fill in its arguments.

    Returns:
        The object, or None where something was added to ``problems``.
    """
    given = arguments.tree
    if inspect.isclass(target) and is_dataclass(target):
        checked = check(arguments_model(target), arguments, problems)
        if checked is None:
            return None
        given = {each: getattr(checked, each) for each in checked.model_fields_set}
    elif not isinstance(given, Mapping):
        problems.append(arguments.message(f"expected a mapping of arguments, got {given!r}"))
        return None
    elif not inspect.isclass(target) and not call:
        return functools.partial(target, **given) if given else target
    try:
        inspect.signature(target).bind(**given)
    except TypeError as error:
        problems.append(arguments.message(str(error)))
        return None
    try:
        return target(**given)
    except ConfigError as error:
        problems.append(arguments.message(str(error).removeprefix(f"{name}: ")))
        return None
    except Exception as error:
        error.add_note(f"It was made for {arguments.message(name)}.")
        raise
