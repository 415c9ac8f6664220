"""Nearest positions and linear interpolation by oneDNN: float32, channels-last. The gradients are no faster there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.flat import is_finite
from flownn.kernels.onednn.memory import channels_last, descriptor, empty_channels_last
from flownn.kernels.onednn.primitives import DST, FORWARD_INFERENCE, SRC, Primitive, as_channels_last, cached
from flownn.kernels.resampling import Table

_KINDS = {"nearest": 0x2FFF0, "linear": 0x2FFF1}  # dnnl_alg_kind_t


def _make(mode: str, shape: tuple[int, ...], size: tuple[int, ...]) -> Primitive:
    return Primitive(
        "dnnl_resampling_forward_primitive_desc_create",
        (
            FORWARD_INFERENCE,
            _KINDS[mode],
            None,
            descriptor(channels_last(shape)).handle,
            descriptor(channels_last((*shape[:2], *size))).handle,
        ),
        (SRC, DST),
    )


@kernel("resample_by_tables", device="cpu", provider="onednn")
def _resample(xp: Any, x: NDArray[Any], dtype: np.dtype[Any], tables: Sequence[Table], mode: str) -> Any:
    size = tuple(table.places.shape[1] for table in tables)
    if mode not in _KINDS or x.dtype != np.float32 or not x.size:
        return NotImplemented
    for old, new, table in zip(x.shape[2:], size, tables, strict=True):
        # The library computes positions in float32: they are exact where a step is a small multiple of a power of two.
        if mode == "linear" and (16 * old % new or old > 1 << 16):
            return NotImplemented
        # It takes the position at the new one's centre, which is that at its start where every old one is repeated.
        if mode == "nearest" and (new % old or (table.places != np.arange(new) // (new // old)).any()):
            return NotImplemented
    run = cached(("resample", mode, x.shape, size), partial(_make, mode, x.shape, size))
    if run is None:
        return NotImplemented
    y = empty_channels_last((*x.shape[:2], *size))
    run(as_channels_last(x), y)
    # It reads positions of weight 0 as well, and 0 times inf is nan: leave what has any to the definition.
    return y if mode == "nearest" or is_finite(y.ravel("K")) else NotImplemented
