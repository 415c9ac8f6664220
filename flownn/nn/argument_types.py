"""Arguments of the wrong type are named before anything is computed with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from flownn.errors import DtypeError

__all__ = ["check_argument_types"]

# annotation -> what it is called, and what such a value has one of
_KINDS = {
    "bool": ("True or False", ("__bool__",)),
    "int": ("an int", ("__index__",)),
    "float": ("a number", ("__float__", "__index__")),
}


@cache
def _kinds(init: Callable[..., None]) -> list[tuple[str, str, tuple[str, ...], bool]]:
    """Of each parameter: its name, what it should be, what such a value has one of, and whether None is one too."""
    found = []
    for each in list(inspect.signature(init).parameters.values())[1:]:
        kind, _, otherwise = str(each.annotation).partition(" | ")
        what, signs = _KINDS[kind] if kind in _KINDS and otherwise in ("", "None") else ("", ())
        found.append((each.name, what, signs, otherwise == "None"))
    return found


def check_argument_types(cls: type[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse what is no bool, int or number where ``cls.__init__`` is annotated as ``bool``, ``int`` or ``float``.

    Raises:
        DtypeError: there is such an argument; the message says of which class, and what was passed.
    """
    kinds = _kinds(cls.__init__)
    given = {kind[0]: value for kind, value in zip(kinds, args, strict=False)} | dict(kwargs)
    for name, what, signs, or_none in kinds:
        if what and name in given and not (or_none and given[name] is None):
            if not any(hasattr(given[name], sign) for sign in signs):
                raise DtypeError(f"{cls.__name__}: expected {name} as {what}, got {given[name]!r}")
