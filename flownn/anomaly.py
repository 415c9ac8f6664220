"""Anomaly mode: where in the forward did the op run whose gradient is not finite?"""

from __future__ import annotations

import os
import traceback
from typing import Any

from flownn import backend, dtypes
from flownn.errors import GradientError

__all__ = ["detect_anomaly", "is_anomaly_enabled", "set_detect_anomaly"]

_PACKAGE = os.path.dirname(__file__) + os.sep  # pathlib would be a tenth of the time that our import takes

enabled = False  # for the whole process: a backward may run in another thread than its forward
_check_finite = True


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return enabled


class set_detect_anomaly:
    """Switch anomaly mode on or off: at once when called, and back at the end of the block when used in ``with``.

    While it is on every op keeps the traceback of its call, which is slow, and a backward raises at the first op whose
    gradient is not finite, naming the op and the line that called it.

    Args:
        mode: On or off.
        check_nan: Look for NaN and infinities; False only adds the traceback to errors that come anyway.

    Reference:
        ``torch.autograd.set_detect_anomaly``, which looks for NaN only.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        global enabled, _check_finite
        self._before = enabled, _check_finite
        enabled, _check_finite = bool(mode), bool(check_nan)

    def __enter__(self) -> None:
        """The switch was made when the object was."""

    def __exit__(self, *exception: object) -> None:
        global enabled, _check_finite
        enabled, _check_finite = self._before


class detect_anomaly(set_detect_anomaly):
    """Anomaly mode inside a ``with`` block; see `set_detect_anomaly`.

    Args:
        check_nan: Look for NaN and infinities.
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def here() -> Any:
    """The frames that lead to this call from outside the package; formatted only if it comes to that."""
    frames = (each for each in traceback.walk_stack(None) if not each[0].f_code.co_filename.startswith(_PACKAGE))
    found = traceback.StackSummary.extract(frames, lookup_lines=False)
    found.reverse()
    return found


def called_at(trace: Any) -> str:
    """A recorded traceback as text."""
    if trace is None:
        return "it was called before anomaly mode was on"
    return "it was called here (most recent call last):\n" + "".join(trace.format())


def check(name: str, trace: Any, i: int, gradient: Any) -> None:
    """Refuse a gradient with NaN or an infinity in it.

    Raises:
        GradientError: it has; the message names the op and holds the traceback of its call.
    """
    if not _check_finite or dtypes.category(gradient.dtype) != dtypes.FLOATING:
        return
    xp = backend.array_module(gradient)
    bad = ~xp.isfinite(gradient)
    if bad.any():
        kind = "NaN" if xp.isnan(gradient).any() else "an infinity"
        raise GradientError(
            f"{name}: the gradient of input {i}, of shape {tuple(gradient.shape)}, has {kind} in {int(bad.sum())} "
            f"places; {called_at(trace)}"
        )
