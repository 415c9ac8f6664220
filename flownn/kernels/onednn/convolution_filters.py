"""The gradient of filters by oneDNN: float32, channels-last images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.convolution import Padding
from flownn.kernels.onednn.convolution_1x1 import is_product, write_filters
from flownn.kernels.onednn.convolution_geometry import (
    DIRECT,
    MOST_TERMS_OF_ONE,
    Geometry,
    Rearranged,
    are_depthwise,
    are_supported,
    attributes_of,
    described,
    filters_layout,
    geometry_of,
    make_correlate,
)
from flownn.kernels.onednn.memory import any_layout, channels_last, descriptor, workspace
from flownn.kernels.onednn.primitives import (
    DIFF_DST,
    DIFF_WEIGHTS,
    SRC,
    Primitive,
    Reorder,
    as_channels_last,
    cached,
)

# The gradient of filters is a running float32 sum over samples and positions (for few channels; for many, one of rows
# of positions): beyond this many, samples are taken in blocks, and the blocks' sums added up. With few channels per
# group it is a 32nd of this, and blocks may be rows of one sample.
_MOST_POSITIONS = 1 << 15
_FEW_CHANNELS = 16
# The definition of depthwise layers adds up rows of at most 256 positions, and those in float64. So do blocks of four
# such rows; of short ones, eight up to so many positions; very short ones are left to it.
_MOST_POSITIONS_OF_ONE, _SHORTEST_ROW = 128, 4
_MOST_BLOCKS = 8  # whose sums are added up in float32

_Index = tuple[slice, ...]


class _FiltersGradient:
    """The primitive, and the reorders between the caller's memory and its own, where they differ.

    Strided windows of many channels are read faster from images in a layout of the library's choice, even though they
    are copied into it.
    """

    def __init__(self, geometry: Geometry) -> None:
        own_layout = max(geometry.stride) > 1 and geometry.filters[0][2] > _FEW_CHANNELS
        image, result = (
            any_layout(shape) if own_layout else descriptor(channels_last(shape))
            for shape in (geometry.image, geometry.result)
        )
        hint = cached(("correlate", geometry, False), partial(make_correlate, geometry, False))
        self.primitive = Primitive(
            "dnnl_convolution_backward_weights_primitive_desc_create",
            (
                DIRECT,
                image.handle,
                geometry.memory("filters"),
                None,
                result.handle,
                *geometry.windows(),
                hint.run.hint if hint else None,
            ),
            (SRC, DIFF_DST, DIFF_WEIGHTS),
        )
        self._image = Rearranged(self.primitive, SRC, channels_last(geometry.image), "image")
        self._result = Rearranged(self.primitive, DIFF_DST, channels_last(geometry.result), "result")
        own, filters = self.primitive.descriptor(DIFF_WEIGHTS), descriptor(geometry.filters)
        self._filters = None if own.same_as(filters) else (Reorder(own, filters), own.nbytes)

    def __call__(self, image: NDArray[Any], result: NDArray[Any], filters: NDArray[Any]) -> None:
        """Write the gradient of ``filters``, from channels-last images."""
        sources = self._image(image), self._result(result)
        if self._filters is None:
            self.primitive(*sources, filters)
            return
        reorder, nbytes = self._filters
        address = workspace("filters", nbytes)
        self.primitive(*sources, address)
        reorder(address, filters)


@kernel("correlate_filters", device="cpu", provider="onednn")
def _correlate_filters(
    xp: Any,
    y: NDArray[Any],
    x: NDArray[Any],
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
    out: NDArray[Any] | None = None,
) -> Any:
    result = np.empty(tuple(shape), np.float32) if out is None else out
    attributes = attributes_of(stride, padding, dilation)
    key = ("filters plan", y.shape, y.dtype, x.shape, *described(result, x), attributes, groups)
    plan = cached(key, partial(_plan_filters, y, x, result, attributes, groups))
    if plan is None:
        return NotImplemented
    plan(y, x, result)
    return result


def _plan_filters(
    y: NDArray[Any], x: NDArray[Any], result: NDArray[Any], attributes: Any, groups: int
) -> Callable[..., None] | None:
    """What writes the gradient for such arrays; None where that is left to the portable body."""
    filters, (stride, padding, dilation) = filters_layout(result, groups), attributes
    if filters is None or not are_supported(padding, y, x, result):
        return None
    if _is_summed_better(filters[0], y.shape):
        return None
    if is_product(filters[0], padding):
        return lambda y, x, result: write_filters(y, x, stride, result)
    blocks = []
    for of_image, of_result, zeros in _blocks(x.shape, y.shape, filters[0], *attributes):
        image, part = (np.broadcast_to(0, each.shape)[where].shape for each, where in ((x, of_image), (y, of_result)))
        doubtful = _may_lose_filters(image, result.shape, stride, zeros, dilation)
        if doubtful and stride[0] > 1:
            return None
        geometry = geometry_of(image, part, filters, stride, zeros, dilation)
        found = cached(("filters", geometry), partial(_FiltersGradient, geometry))
        if found is None or (doubtful and found.primitive.implementation.startswith("jit:avx512")):
            return None
        blocks.append((of_image, of_result, found))
    return partial(_run_filters, blocks)


def _run_filters(
    blocks: Sequence[tuple[_Index, _Index, _FiltersGradient]], y: NDArray[Any], x: NDArray[Any], result: NDArray[Any]
) -> None:
    images, gradients = as_channels_last(x), as_channels_last(y)
    # The sums of many blocks are added up in float64.
    total = None if 0 < len(blocks) <= _MOST_BLOCKS else np.zeros(result.shape)
    target = result
    for i, (of_image, of_result, run) in enumerate(blocks):
        if i == 1 and total is None:
            target = np.empty_like(result)
        run(images[of_image], gradients[of_result], target)
        if total is not None:
            total += target
        elif i:
            result += target
    if total is not None:
        result[...] = total


def _is_summed_better(filters: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether the definition adds up filters' gradients in more sums than can be made here."""
    if math.prod(filters[2:]) == 1:
        return True  # a product by a vector, which BLAS adds up in dozens of sums
    if not are_depthwise(filters):  # with one filter, too
        return filters[1] == 1 and math.prod(result) > MOST_TERMS_OF_ONE // 2 * result[1]
    # The smallest block is a row, in 3 dims a plane.
    return result[-1] < _SHORTEST_ROW or math.prod(result[3:]) > 2 * _positions_of_one(result)


def _may_lose_filters(
    image: Sequence[int], filters: Sequence[int], stride: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> bool:
    """Whether the library may give uninitialised or wrong numbers.

    Version 3.2 does for AVX-512 where, in 3 dims, filters reach past both ends of the depth at once; strided ones
    whatever the implementation is called.
    """
    if len(image) != 5 or not all(padding[0]):
        return False
    return image[2] < dilation[0] * (filters[2] - 1) + 1 + (stride[0] if stride[0] > 1 else 0)


def _positions_of_one(result: tuple[int, ...]) -> int:
    """How many positions of a depthwise layer's result to add up in float32."""
    row = min(256, result[-1])
    return max(4 * row, min(8 * row, _MOST_POSITIONS_OF_ONE))


def _blocks(
    image: tuple[int, ...],
    result: tuple[int, ...],
    filters: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Iterator[tuple[_Index, _Index, tuple[tuple[int, int], ...]]]:
    """Where in an image and in the gradient of its result to find parts, dense, which give the whole; their padding."""
    samples, per_row, rows = image[0], math.prod(result[3:]), result[2]
    few, depthwise = filters[2] <= _FEW_CHANNELS, are_depthwise(filters)
    most = max(1, _MOST_POSITIONS // 32) if few else _MOST_POSITIONS
    step = max(1, -(-samples // -(-samples * rows * per_row // most)))
    if depthwise:
        most = _positions_of_one(result)
        step = max(1, most // (rows * per_row))
    together = rows if step > 1 or not (few or depthwise) else -(-rows // -(-rows * per_row // most))
    size, before = image[2], padding[0][0]
    for start in range(0, samples, step):
        for top in range(0, rows, together):
            part, end = slice(start, start + step), min(top + together, rows)
            if together == rows:
                yield (part,), (part,), padding
                continue
            first = top * stride[0] - before
            last = (end - 1) * stride[0] - before + dilation[0] * (filters[3] - 1) + 1
            if last > 0 and first < size:  # else these rows see zeros alone
                zeros = (max(0, -first), max(0, last - size))
                window = slice(max(0, first), min(size, last))
                yield (part, slice(None), window), (part, slice(None), slice(top, end)), (zeros, *padding[1:])
