"""Sizes of windows, for what takes windows of an input."""

from __future__ import annotations

from typing import Any


def each(n: int, value: Any) -> tuple[int, ...]:
    """One number or several as n of them."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * (n if len(values) == 1 else 1)


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


def transposed_sizes(n: int, c: Any) -> list[int]:
    """What a transposed convolution gives per dim."""
    stride, padding, kernel = each(n, c.stride), each(n, c.padding), each(n, c.kernel_size)
    dilation, extra = each(n, c.dilation), each(n, c.output_padding)
    return [
        (size - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + extra[i] + 1
        for i, size in enumerate(c.shape[-n:])
    ]


def too_much_output_padding(n: int, c: Any) -> bool:
    """Output padding has to be less than the stride or the dilation."""
    stride, dilation, extra = each(n, c.stride), each(n, c.dilation), each(n, c.output_padding)
    return any(extra[i] >= max(stride[i], dilation[i]) for i in range(n))
