"""Sizes of windows, for what takes windows of an input."""

from __future__ import annotations

from typing import Any


def each(n: int, value: Any) -> tuple[int, ...]:
    """One number or several as n of them."""
    return tuple(value) * (n if len(value) == 1 else 1) if isinstance(value, tuple) else (value,) * n


def windows_fit(n: int, c: Any, dilation: Any = 1) -> bool:
    """Dims, padding of at most half a window, and at least one window in every dim."""
    if len(c.shape) not in (n + 1, n + 2):
        return False
    kernel, padding, dilations = each(n, c.kernel_size), each(n, c.padding), each(n, dilation)
    stride = kernel if c.stride is None else each(n, c.stride)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return False
    for size, k, s, p, d in zip(c.shape[-n:], kernel, stride, padding, dilations, strict=True):
        slack = size + 2 * p - d * (k - 1) - 1
        if slack < 0 and not (c.ceil_mode and slack > -s):
            return False
    return True


def exceeds_bare_input(n: int, c: Any) -> bool:
    """Windows fit, but only because of the padding or of ``ceil_mode``."""
    return windows_fit(n, c) and any(k > s for k, s in zip(each(n, c.kernel_size), c.shape[-n:], strict=True))
