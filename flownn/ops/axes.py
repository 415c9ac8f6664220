"""What users write for dims, turned into axes of an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from flownn.errors import DtypeError, ShapeError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_SAME_NAME = {"axis": "dim", "keepdims": "keepdim", "input": "x"}

Dims = int | np.integer[Any] | Sequence[int] | None


def axis_of(name: str, ndim: int, dim: int) -> int:
    """One dim as an axis from 0; a 0-dim tensor has the dims 0 and -1 as if it had one.

    Raises:
        DtypeError: ``dim`` is no integer.
        ShapeError: there is no such dim.
    """
    if not hasattr(dim, "__index__"):
        raise DtypeError(f"{name}: expected dim as an int, got {dim!r}")
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise ShapeError(f"{name}: expected a dim from {-limit} to {limit - 1}, got {dim}")
    return dim % limit


def axes_of(name: str, ndim: int, dim: Dims) -> tuple[int, ...]:
    """One or several dims as axes from 0; None or no dim at all means every one.

    Raises:
        ShapeError: there is no such dim, or one is named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    dims = (int(dim),) if isinstance(dim, (int, np.integer)) else tuple(dim)
    if not dims:
        return tuple(range(ndim))
    axes = tuple(axis_of(name, ndim, each) for each in dims)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{name}: a dim appears twice in {dims}")
    return axes if ndim else ()


def sizes_of(name: str, sizes: Sequence[int | Sequence[int]]) -> tuple[int, ...]:
    """``f(2, 3)``, ``f((2, 3))`` and ``f([2, 3])`` as (2, 3).

    Raises:
        ShapeError: a size is no integer.
    """
    given = sizes[0] if len(sizes) == 1 and not hasattr(sizes[0], "__index__") else sizes
    try:
        return tuple(each.__index__() for each in given)  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        raise ShapeError(f"{name}: expected integers, got {given!r}") from None


def also_as_in_numpy(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let a function of ``x``, ``dim`` and ``keepdim`` take NumPy's ``axis`` and ``keepdims`` too, as PyTorch's do."""

    @wraps(function)
    def renamed(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        if kwargs and not _SAME_NAME.keys().isdisjoint(kwargs):
            kwargs = {_SAME_NAME.get(name, name): value for name, value in kwargs.items()}  # type: ignore[assignment]
        return function(*args, **kwargs)

    return renamed
