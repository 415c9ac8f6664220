"""Whether ops of this thread record what a backward needs."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _Mode(threading.local):
    enabled = True
    inference = False


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether ops of this thread record what a backward needs."""
    return mode.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside an `inference_mode` block."""
    return mode.inference


class _GradMode:
    """Sets the grad mode of this thread inside a ``with`` block or a decorated function."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._before: list[tuple[bool, bool]] = []  # a stack: one object may be entered again inside its own block

    def __enter__(self) -> None:
        self._before.append((mode.enabled, mode.inference))
        self._switch()

    def _switch(self) -> None:
        mode.enabled = self._enabled and not mode.inference

    def __exit__(self, *exception: object) -> None:
        mode.enabled, mode.inference = self._before.pop()

    def _again(self) -> _GradMode:
        """A fresh object of the same setting: a decorated function may run in several threads at once."""
        return _GradMode(self._enabled)

    def __call__(self, function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        if inspect.isgeneratorfunction(function):
            return self._around_steps(function)

        @wraps(function)
        def in_mode(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            with self._again():
                return function(*args, **kwargs)

        return in_mode

    def _around_steps(self, function: Callable[_Parameters, Any]) -> Callable[_Parameters, Any]:
        """A generator whose body runs in the mode, and whose caller, between its steps, does not."""

        @wraps(function)
        def in_mode(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> Generator[Any, Any, Any]:
            steps = function(*args, **kwargs)
            resume: Callable[..., Any] = steps.send
            given: Any = None
            try:
                while True:
                    with self._again():
                        item = resume(given)
                    try:
                        resume, given = steps.send, (yield item)
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        resume, given = steps.throw, error
            except StopIteration as end:
                return end.value
            finally:
                with self._again():
                    steps.close()

        return in_mode


class _BareDecorator(_GradMode):
    """A mode that also decorates without ``()``."""

    def __new__(cls, function: Any = None) -> Self:
        """A decorated function where one is given, else the mode."""
        decorated: Any = None if function is None else cls()(function)
        return super().__new__(cls) if function is None else decorated


class no_grad(_BareDecorator):
    """Record nothing in this thread: ``with no_grad():``, or as a decorator ``@no_grad()`` or ``@no_grad``."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_BareDecorator):
    """Record again inside a `no_grad` block: ``with enable_grad():``, or as a decorator, with or without ``()``."""

    def __init__(self) -> None:
        super().__init__(True)


class inference_mode(_GradMode):
    """Record nothing in this thread, and let no `enable_grad` inside change that; a ``with`` block or a decorator.

    Args:
        mode: False for a block that records, also inside an outer `inference_mode`.

    Reference:
        ``torch.inference_mode``. Tensors made in it are ordinary ones here and may be used anywhere afterwards.
    """

    def __new__(cls, mode: Any = True) -> Self:
        """A decorated function where one is given, else the mode."""
        decorated: Any = None if isinstance(mode, bool) else cls()(mode)
        return super().__new__(cls) if isinstance(mode, bool) else decorated

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)

    def _switch(self) -> None:
        mode.enabled, mode.inference = self._enabled, not self._enabled

    def _again(self) -> _GradMode:
        return inference_mode(not self._enabled)


class set_grad_enabled(_GradMode):
    """Switch recording in this thread: at once when called, and back at the end of the block when used in ``with``.

    Args:
        enabled: Whether to record.
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__(bool(enabled))
        self._at_call: bool | None = mode.enabled
        self._switch()

    def _undo_call(self) -> None:
        if self._at_call is not None:
            mode.enabled, self._at_call = self._at_call, None

    def __enter__(self) -> None:
        self._undo_call()
        super().__enter__()

    def __call__(self, function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        self._undo_call()
        return super().__call__(function)
