"""Linear interpolation by oneDNN: float32, channels-last. Its gradient and nearest positions are no faster there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.memory import channels_last, descriptor, empty_channels_last
from flownn.kernels.onednn.primitives import DST, FORWARD_INFERENCE, SRC, Primitive, as_channels_last, cached
from flownn.kernels.resampling import Table

_LINEAR = 0x2FFF1  # dnnl_resampling_linear


def _make(shape: tuple[int, ...], size: tuple[int, ...]) -> Primitive:
    return Primitive(
        "dnnl_resampling_forward_primitive_desc_create",
        (
            FORWARD_INFERENCE,
            _LINEAR,
            None,
            descriptor(channels_last(shape)).handle,
            descriptor(channels_last((*shape[:2], *size))).handle,
        ),
        (SRC, DST),
    )


@kernel("resample_by_tables", device="cpu", provider="onednn")
def _resample(xp: Any, x: NDArray[Any], dtype: np.dtype[Any], tables: Sequence[Table], is_linear: bool) -> Any:
    size = tuple(table.places.shape[1] for table in tables)
    if not is_linear or x.dtype != np.float32 or not x.size:
        return NotImplemented
    # The library computes positions in float32: they are exact where a step is a small multiple of a power of two.
    if any(16 * old % new or old > 1 << 16 for old, new in zip(x.shape[2:], size, strict=True)):
        return NotImplemented
    run = cached(("resample", x.shape, size), partial(_make, x.shape, size))
    if run is None:
        return NotImplemented
    y = empty_channels_last((*x.shape[:2], *size))
    run(as_channels_last(x), y)
    return y
