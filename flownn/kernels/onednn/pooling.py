"""Pooling by oneDNN: float32, channels-last. Its workspace of a maximum is the winners' numbers, as defined here.

The maximum is its for finite inputs alone: the library passes nan over, and is never below the lowest finite number.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.flat import flat, is_finite
from flownn.kernels.onednn.memory import channels_last, descriptor, dims, empty_channels_last
from flownn.kernels.onednn.primitives import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    WORKSPACE,
    Primitive,
    as_channels_last,
    cached,
)
from flownn.kernels.pooling import PoolWindow

_MAX, _AVG_WITH_PADDING, _AVG_WITHOUT = 0x1FF, 0x2FF, 0x3FF


def _after(window: PoolWindow, spatial: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    """Padding behind the input, as far as the last window reaches."""
    return tuple(
        max(0, (o - 1) * s + d * (k - 1) + 1 - size - p)
        for size, o, k, s, p, d in zip(spatial, out, *window, strict=True)
    )


def _geometry(window: PoolWindow, shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[Any, ...]:
    """Strides, windows, dilations (0 is dense there), padding before and after, as the library takes them."""
    return (
        dims(window.stride),
        dims(window.kernel_size),
        dims([d - 1 for d in window.dilation]),
        dims(window.padding),
        dims(_after(window, shape[2:], out)),
    )


def _make_forward(
    kind: int, window: PoolWindow, shape: tuple[int, ...], out: tuple[int, ...], train: bool
) -> Primitive:
    made = Primitive(
        "dnnl_pooling_forward_primitive_desc_create",
        (
            FORWARD_TRAINING if train else FORWARD_INFERENCE,
            kind,
            descriptor(channels_last(shape)).handle,
            descriptor(channels_last((*shape[:2], *out))).handle,
            *_geometry(window, shape, out),
        ),
        (SRC, DST, WORKSPACE) if train and kind == _MAX else (SRC, DST),
    )
    return made


def _make_backward(kind: int, window: PoolWindow, shape: tuple[int, ...], out: tuple[int, ...]) -> Primitive:
    hint = _make_forward(kind, window, shape, out, True)
    return Primitive(
        "dnnl_pooling_backward_primitive_desc_create",
        (
            kind,
            descriptor(channels_last(shape)).handle,
            descriptor(channels_last((*shape[:2], *out))).handle,
            *_geometry(window, shape, out),
            hint.hint,
        ),
        (DIFF_DST, DIFF_SRC, WORKSPACE) if kind == _MAX else (DIFF_DST, DIFF_SRC),
    )


@kernel("max_pool_forward", device="cpu", provider="onednn")
def _max_pool_forward(xp: Any, x: NDArray[Any], window: PoolWindow, out: tuple[int, ...], keep_winners: bool) -> Any:
    if x.dtype != np.float32 or np.prod(window.kernel_size) > 255 or not x.size:
        return NotImplemented
    image = as_channels_last(x)
    vector = flat(image)
    if vector is None or not is_finite(vector):
        return NotImplemented
    key = (_MAX, window, x.shape, out, keep_winners)
    run = cached(("pool", key), partial(_make_forward, *key))
    if run is None:
        return NotImplemented
    y = empty_channels_last((*x.shape[:2], *out))
    if not keep_winners:
        run(image, y)
        return y, None
    winners = empty_channels_last(y.shape, np.uint8)
    if run.nbytes(WORKSPACE) != winners.nbytes:
        return NotImplemented
    run(image, y, winners)
    return y, winners


@kernel("max_pool_backward", device="cpu", provider="onednn")
def _max_pool_backward(
    xp: Any, g: NDArray[Any], winners: NDArray[Any], window: PoolWindow, shape: tuple[int, ...]
) -> Any:
    if g.dtype != np.float32 or winners.dtype != np.uint8 or not g.size:
        return NotImplemented
    key = (_MAX, window, shape, g.shape[2:])
    run = cached(("pool_backward", key), partial(_make_backward, *key))
    if run is None or run.nbytes(WORKSPACE) != winners.nbytes:
        return NotImplemented
    result = empty_channels_last(shape)
    run(as_channels_last(g), result, winners)
    return result


def _average(window: PoolWindow, spatial: tuple[int, ...], out: tuple[int, ...], count_include_pad: bool) -> int | None:
    """The library's kind of mean that divides as the definition does, None if neither does."""
    if not count_include_pad or not any(window.padding):
        return _AVG_WITHOUT
    # Theirs counts the whole window, also where it hangs over the padding, as the last may with ceil_mode.
    hanging = any(after > p for after, p in zip(_after(window, spatial, out), window.padding, strict=True))
    return None if hanging else _AVG_WITH_PADDING


@kernel("avg_pool_forward", device="cpu", provider="onednn")
def _avg_pool_forward(
    xp: Any, x: NDArray[Any], window: PoolWindow, out: tuple[int, ...], count_include_pad: bool, divisor_override: int
) -> Any:
    kind = _average(window, x.shape[2:], out, count_include_pad)
    if x.dtype != np.float32 or divisor_override or kind is None or not x.size:
        return NotImplemented
    key = (kind, window, x.shape, out, False)
    run = cached(("pool", key), partial(_make_forward, *key))
    if run is None:
        return NotImplemented
    y = empty_channels_last((*x.shape[:2], *out))
    run(as_channels_last(x), y)
    return y


@kernel("avg_pool_backward", device="cpu", provider="onednn")
def _avg_pool_backward(
    xp: Any,
    g: NDArray[Any],
    window: PoolWindow,
    shape: tuple[int, ...],
    count_include_pad: bool,
    divisor_override: int,
) -> Any:
    kind = _average(window, shape[2:], g.shape[2:], count_include_pad)
    if g.dtype != np.float32 or divisor_override or kind is None or not g.size:
        return NotImplemented
    key = (kind, window, shape, g.shape[2:])
    run = cached(("pool_backward", key), partial(_make_backward, *key))
    if run is None:
        return NotImplemented
    result = empty_channels_last(shape)
    run(as_channels_last(g), result)
    return result
