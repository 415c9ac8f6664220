"""Whether ops of this thread record what a backward needs."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _Mode(threading.local):
    enabled = True


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether ops of this thread record what a backward needs."""
    return mode.enabled


class _GradMode:
    """Sets the grad mode of this thread inside a ``with`` block or a decorated function."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._before: list[bool] = []  # a stack: one object may be entered again inside its own block

    def __enter__(self) -> None:
        self._before.append(mode.enabled)
        mode.enabled = self._enabled

    def __exit__(self, *exception: object) -> None:
        mode.enabled = self._before.pop()

    def __call__(self, function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate the generator {function.__qualname__}, whose body runs "
                "between the steps of its caller; use a with block inside it"
            )
        enabled = self._enabled

        @wraps(function)
        def in_mode(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            with _GradMode(enabled):
                return function(*args, **kwargs)

        return in_mode


class no_grad(_GradMode):
    """Record nothing in this thread: ``with no_grad():``, or as a decorator ``@no_grad()``."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_GradMode):
    """Record again inside a `no_grad` block: ``with enable_grad():``, or as a decorator ``@enable_grad()``."""

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_GradMode):
    """Switch recording in this thread: at once when called, and back at the end of the block when used in ``with``.

    Args:
        enabled: Whether to record.
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__(bool(enabled))
        self._at_call: bool | None = mode.enabled
        mode.enabled = self._enabled

    def _undo_call(self) -> None:
        if self._at_call is not None:
            mode.enabled, self._at_call = self._at_call, None

    def __enter__(self) -> None:
        self._undo_call()
        super().__enter__()

    def __call__(self, function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        self._undo_call()
        return super().__call__(function)
