"""Convolution and its adjoints by oneDNN: float32, channels-last images, filters in the layout that it chooses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.convolution import Padding, padded_shape
from flownn.kernels.depthwise import is_depthwise
from flownn.kernels.onednn.convolution_1x1 import image_gradient, is_product, write_filters
from flownn.kernels.onednn.library import Library, OneDNNError
from flownn.kernels.onednn.memory import (
    Descriptor,
    Layout,
    any_layout,
    channels_last,
    descriptor,
    dims,
    empty_channels_last,
    layout_of,
    plain,
    workspace,
    workspace_array,
)
from flownn.kernels.onednn.primitives import (
    BIAS,
    DIFF_DST,
    DIFF_SRC,
    DIFF_WEIGHTS,
    DST,
    FORWARD_TRAINING,
    SRC,
    WEIGHTS,
    Primitive,
    Reorder,
    as_channels_last,
    cached,
)
from flownn.kernels.windows import output_size

_DIRECT, _DECONVOLUTION_DIRECT = 1, 10  # dnnl_alg_kind_t
# A number of the result is a running float32 sum, whose error grows with the root of the number of products. Beyond
# this many, channels are cut into groups, for a grouped convolution of the same image, and the groups' sums added up.
# Of a number of channels that does not divide by 16 it is half as many.
_MOST_TERMS = 1152
# Where the definition multiplies a matrix by a vector, with one filter, BLAS keeps dozens of sums: so many are enough.
_MOST_TERMS_OF_ONE = 144
# Where the definition adds up windows of products, each position is a sum of its own: so many may be one here.
_MOST_WINDOWS = 4
# The gradient of filters is such a sum over samples and positions (for few channels; for many, one of rows of
# positions): beyond this many, samples are taken in blocks, and the blocks' sums added up. With few channels per
# group it is a 32nd of this, and blocks may be rows of one sample.
_MOST_POSITIONS = 1 << 15
# The definition of depthwise layers adds up rows of at most 256 positions, and those in float64. So do blocks of four
# such rows; of short ones, eight up to so many positions; very short ones are left to it.
_MOST_POSITIONS_OF_ONE, _SHORTEST_ROW = 128, 4
_MOST_BLOCKS = 8  # whose sums are added up in float32


class _Geometry(NamedTuple):
    """What a convolution is compiled for.

    Args:
        image: Shape (N, C, *spatial) of the side that windows are read from.
        result: Shape (N, O, *out) of the other side.
        filters: Layout of (groups, O / groups, C / groups, *kernel_size) in the caller's memory.
    """

    image: tuple[int, ...]
    result: tuple[int, ...]
    filters: Layout
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    def memory(self, which: str) -> int:
        """Handle of the descriptor of one side in channels-last memory, or of filters in any layout."""
        if which == "filters":
            return any_layout(self.filters[0]).handle
        return descriptor(channels_last(getattr(self, which))).handle

    def windows(self) -> tuple[Any, ...]:
        """Strides, dilations (0 is dense there), padding before and after, as the library takes them."""
        return (
            dims(self.stride),
            dims([d - 1 for d in self.dilation]),
            dims([before for before, _ in self.padding]),
            dims([after for _, after in self.padding]),
        )


@lru_cache(maxsize=4096)
def _geometry(
    image: tuple[int, ...],
    result: tuple[int, ...] | None,
    filters: Layout,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> _Geometry:
    if result is None:
        padded = padded_shape(image[2:], padding)[0]
        channels = filters[0][0] * filters[0][1]
        result = (image[0], channels, *map(output_size, padded, filters[0][3:], stride, dilation))
    return _Geometry(image, result, filters, stride, padding, dilation)


def _tuples(*attributes: Sequence[Any]) -> Any:
    """Stride, padding and dilation as what a key is made of."""
    stride, padding, dilation = attributes
    return tuple(stride), tuple(map(tuple, padding)), tuple(dilation)


class _Convolution:
    """A primitive, and the reorder between its layout of the filters and the caller's, where they differ."""

    def __init__(self, primitive: Primitive, filters: Layout, argument: int) -> None:
        own, other = primitive.descriptor(argument), descriptor(filters)
        self.run = primitive
        self.filter_bytes = own.nbytes
        pair: tuple[Descriptor, Descriptor] = (other, own) if argument == WEIGHTS else (own, other)
        self.reorder = None if own.same_as(other) else Reorder(*pair)

    def filters(self, weight: NDArray[Any]) -> NDArray[Any] | int:
        """The filters in the primitive's layout; valid until this thread asks for the next."""
        if self.reorder is None:
            return weight
        address = workspace("filters", self.filter_bytes)
        self.reorder(weight, address)
        return address


def _make_correlate(geometry: _Geometry, bias: bool) -> _Convolution:
    (channels,) = geometry.result[1:2]
    primitive = Primitive(
        "dnnl_convolution_forward_primitive_desc_create",
        (
            FORWARD_TRAINING,
            _DIRECT,
            geometry.memory("image"),
            geometry.memory("filters"),
            descriptor(plain((channels,))).handle if bias else None,
            geometry.memory("result"),
            *geometry.windows(),
        ),
        (SRC, DST, WEIGHTS, BIAS) if bias else (SRC, DST, WEIGHTS),
    )
    return _Convolution(primitive, geometry.filters, WEIGHTS)


def _make_adjoint(geometry: _Geometry) -> _Convolution:
    hint = cached(("correlate", geometry, False), partial(_make_correlate, geometry, False))
    primitive = Primitive(
        "dnnl_convolution_backward_data_primitive_desc_create",
        (
            _DIRECT,
            geometry.memory("image"),
            geometry.memory("filters"),
            geometry.memory("result"),
            *geometry.windows(),
            hint.run.hint if hint else None,
        ),
        (DIFF_DST, DIFF_SRC, WEIGHTS),
    )
    return _Convolution(primitive, geometry.filters, WEIGHTS)


def _make_deconvolution(geometry: _Geometry, bias: bool, onto: bool) -> _Convolution:
    """The adjoint with a bias, or added to what there is: to the library a convolution of its own, the other way round.

    Raises:
        OneDNNError: the library would add them afterwards, which takes longer than NumPy.
    """

    def add(library: Library, operations: int) -> None:
        library.check("append a sum", library.dnnl_post_ops_append_sum(operations, 1.0, 0, 0))

    (groups, filters, channels, *kernel_size), (first, of_filter, of_channel, *steps) = geometry.filters
    turned = ((groups, channels, filters, *kernel_size), (first, of_channel, of_filter, *steps))
    primitive = Primitive(
        "dnnl_deconvolution_forward_primitive_desc_create",
        (
            FORWARD_TRAINING,
            _DECONVOLUTION_DIRECT,
            geometry.memory("result"),
            any_layout(turned[0]).handle,
            descriptor(plain((groups * channels,))).handle if bias else None,
            geometry.memory("image"),
            *geometry.windows(),
        ),
        (SRC, DST, WEIGHTS, BIAS) if bias else (SRC, DST, WEIGHTS),
        post_ops=add if onto else None,
    )
    if primitive.implementation.startswith("conv:any"):
        raise OneDNNError("onednn: no deconvolution that adds on the way")
    return _Convolution(primitive, turned, WEIGHTS)


def _make_filters(geometry: _Geometry) -> _Convolution:
    hint = cached(("correlate", geometry, False), partial(_make_correlate, geometry, False))
    primitive = Primitive(
        "dnnl_convolution_backward_weights_primitive_desc_create",
        (
            _DIRECT,
            geometry.memory("image"),
            geometry.memory("filters"),
            None,
            geometry.memory("result"),
            *geometry.windows(),
            hint.run.hint if hint else None,
        ),
        (SRC, DIFF_DST, DIFF_WEIGHTS),
    )
    return _Convolution(primitive, geometry.filters, DIFF_WEIGHTS)


@kernel("correlate", device="cpu", provider="onednn")
def _correlate(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> Any:
    filters = _filters_layout(weight, groups)
    if filters is None or not _supported(padding, x, weight, bias):
        return NotImplemented
    attributes = _tuples(stride, padding, dilation)
    parts = _parts(filters[0], 2, math.prod(weight.shape[2:]))
    if not parts:
        return NotImplemented
    if parts > 1:
        filters = _cut(filters, 2, parts)
    geometry = _geometry(x.shape, None, filters, *attributes)
    if x.shape[0] * math.prod(geometry.result[2:]) == 1:
        return NotImplemented  # one position: a product by a vector
    found = cached(("correlate", geometry, bias is not None), partial(_make_correlate, geometry, bias is not None))
    if found is None:
        return NotImplemented
    channels, out = weight.shape[0], geometry.result[2:]
    result = empty_channels_last((x.shape[0], channels, *out))
    last: tuple[Any, ...] = ()
    if bias is not None:
        row = np.zeros(parts * channels, np.float32)
        row[:channels] = bias
        last = (row,)
    sums = result if parts == 1 else workspace_array("parts", (x.shape[0] * math.prod(out), parts, channels))
    found.run(as_channels_last(x), sums, found.filters(weight), *last)
    if parts > 1:
        _add_up(sums, result)
    return result


@kernel("correlate_adjoint", device="cpu", provider="onednn")
def _correlate_adjoint(
    xp: Any,
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    spatial: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
    onto: NDArray[Any] | None = None,
) -> Any:
    filters = _filters_layout(weight, groups)
    if filters is None or not _supported(padding, y, weight, bias):
        return NotImplemented
    image = (y.shape[0], weight.shape[1] * groups, *spatial)
    geometry = _geometry(image, y.shape, filters, *_tuples(stride, padding, dilation))
    add = onto is not None and onto.dtype == np.float32 and layout_of(onto) == channels_last(image)
    if is_product(filters[0], padding) and max(stride) == 1:
        result = image_gradient(y, weight, bias, onto if add else None)
        return result if add or onto is None else np.add(onto, result, out=onto)
    reach = math.prod(-(-k // s) for k, s in zip(weight.shape[2:], stride, strict=True))  # windows over one element
    parts = _parts(filters[0], 1, reach, -(-reach // _MOST_WINDOWS) if _scatters(filters[0], stride) else 1)
    if not parts or (parts > 1 and _is_alone(filters[0], 2)):  # for one channel the definition is faster, too
        return NotImplemented
    if parts == 1 and (add or bias is not None):
        of_which = (geometry, bias is not None, add)
        found = cached(("deconvolution", of_which), partial(_make_deconvolution, *of_which))
        if found is not None:
            result = onto if add and onto is not None else empty_channels_last(image)
            last = () if bias is None else (np.ascontiguousarray(bias),)
            found.run(as_channels_last(y), result, found.filters(weight), *last)
            return result if add or onto is None else np.add(onto, result, out=onto)
    if parts > 1:
        cut = (image[0], parts * image[1], *spatial)
        geometry = _geometry(cut, y.shape, _cut(filters, 1, parts), *_tuples(stride, padding, dilation))
    found = cached(("adjoint", geometry), partial(_make_adjoint, geometry))
    if found is None:
        return NotImplemented
    result = empty_channels_last(image)
    sums = result if parts == 1 else workspace_array("parts", (image[0] * math.prod(spatial), parts, image[1]))
    found.run(as_channels_last(y), sums, found.filters(weight))
    if parts > 1:
        _add_up(sums, result)
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(spatial))
    return result if onto is None else np.add(onto, result, out=onto)


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
    if not _supported(padding, y, x, out):
        return NotImplemented
    result = np.empty(tuple(shape), np.float32) if out is None else out
    filters = _filters_layout(result, groups)
    if not result.size or filters is None:
        return NotImplemented
    if _is_summed_better(filters[0], y.shape):
        return NotImplemented
    if is_product(filters[0], padding):
        write_filters(y, x, stride, result)
        return result
    images, gradients = as_channels_last(x), as_channels_last(y)
    attributes = _tuples(stride, padding, dilation)
    blocks = list(_blocks(images, gradients, filters[0], *attributes))
    doubtful = any(_may_lose_filters(image.shape, shape, stride, zeros, dilation) for image, _, zeros in blocks)
    if doubtful and stride[0] > 1:
        return NotImplemented
    # The sums of many blocks are added up in float64.
    total = None if 0 < len(blocks) <= _MOST_BLOCKS else np.zeros(result.shape)
    target = result
    for i, (image, gradient, zeros) in enumerate(blocks):
        if i == 1 and total is None:
            target = np.empty_like(result)
        geometry = _geometry(image.shape, gradient.shape, filters, attributes[0], zeros, attributes[2])
        found = cached(("filters", geometry), partial(_make_filters, geometry))
        if found is None or (doubtful and found.run.implementation.startswith("jit:avx512")):
            return NotImplemented
        if found.reorder is None:
            found.run(image, gradient, target)
        else:
            address = workspace("filters", found.filter_bytes)
            found.run(image, gradient, address)
            found.reorder(address, target)
        if total is not None:
            total += target
        elif i:
            result += target
    if total is not None:
        result[...] = total
    return result


def _is_summed_better(filters: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether the definition adds up filters' gradients in more sums than can be made here."""
    if math.prod(filters[2:]) == 1:
        return True  # a product by a vector, which BLAS adds up in dozens of sums
    if not _is_depthwise(filters):  # with one filter, too
        return filters[1] == 1 and math.prod(result) > _MOST_TERMS_OF_ONE * result[1]
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
    images: NDArray[Any],
    gradients: NDArray[Any],
    filters: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Iterator[tuple[NDArray[Any], NDArray[Any], tuple[tuple[int, int], ...]]]:
    """Pairs of image and gradient, each dense, whose gradients of filters add up to the whole; with their padding."""
    samples, per_row, rows = len(images), math.prod(gradients.shape[3:]), gradients.shape[2]
    few, depthwise = filters[2] <= 16, _is_depthwise(filters)
    most = max(1, _MOST_POSITIONS // 32) if few else _MOST_POSITIONS
    step = max(1, -(-samples // -(-samples * rows * per_row // most)))
    if depthwise:
        most = _positions_of_one(gradients.shape)
        step = max(1, most // (rows * per_row))
    together = rows if step > 1 or not (few or depthwise) else -(-rows // -(-rows * per_row // most))
    size, before = images.shape[2], padding[0][0]
    for start in range(0, samples, step):
        for top in range(0, rows, together):
            part, end = slice(start, start + step), min(top + together, rows)
            if together == rows:
                yield images[part], gradients[part], padding
                continue
            first = top * stride[0] - before
            last = (end - 1) * stride[0] - before + dilation[0] * (filters[3] - 1) + 1
            if last > 0 and first < size:  # else these rows see zeros alone
                zeros = (max(0, -first), max(0, last - size))
                window = slice(max(0, first), min(size, last))
                yield images[part, :, window], gradients[part, :, top:end], (zeros, *padding[1:])


def _parts(filters: tuple[int, ...], axis: int, positions: int, fewest: int = 1) -> int:
    """Into how many parts to cut the channels that are summed over (axis 1 or 2 of the filters) beside positions.

    Unless one part is short enough for anything there are at least ``fewest``. 0 where channels cannot be cut so.
    """
    groups, channels = filters[0], filters[axis]
    terms = channels * positions
    if terms <= _MOST_TERMS_OF_ONE:
        return 1
    most = _MOST_TERMS if positions > 1 else 2 * _MOST_TERMS  # 1x1: the library itself adds up blocks
    if channels % 16:
        most //= 2
    fewest = max(fewest, -(-terms // (_MOST_TERMS_OF_ONE if _is_alone(filters, 3 - axis) else most)))
    if fewest == 1:
        return 1
    if groups > 1:
        return 0
    return next((parts for parts in range(fewest, 2 * fewest + 1) if channels % (16 * parts) == 0), 0)


def _is_alone(filters: tuple[int, ...], axis: int) -> bool:
    """Whether a group has one channel on this axis of the filters, so that the definition multiplies by a vector."""
    return filters[axis] == 1 and not _is_depthwise(filters)


def _scatters(filters: tuple[int, ...], stride: Sequence[int]) -> bool:
    """Whether the definition of the adjoint adds up windows of products."""
    _, per_group, channels, *kernel_size = filters
    if _is_depthwise(filters) or math.prod(kernel_size) == 1:
        return False
    return max(stride) > 1 or per_group > 2 * channels


def _is_depthwise(filters: tuple[int, ...]) -> bool:
    groups, per_group, channels, *_ = filters
    return is_depthwise((groups, per_group, channels))


def _cut(filters: Layout, axis: int, parts: int) -> Layout:
    """Filters of one group as those of ``parts`` groups, each with its share of the channels on this axis."""
    (_, *shape), (_, *strides) = filters
    share = shape[axis - 1] // parts
    shape[axis - 1] = share
    return (parts, *shape), (share * strides[axis - 1], *strides)


def _add_up(sums: NDArray[Any], result: NDArray[Any]) -> None:
    """Add sums (positions, parts, C) over the parts into the channels-last result."""
    rows = np.moveaxis(result, 1, -1).reshape(len(sums), -1)
    np.add(sums[:, 0], sums[:, 1], out=rows)
    for part in range(2, sums.shape[1]):
        np.add(rows, sums[:, part], out=rows)


def _supported(padding: Padding, *arrays: NDArray[Any] | None) -> bool:
    """Whether everything is float32 and not empty, and nothing is cropped."""
    return min(map(min, padding)) >= 0 and all(
        array is None or (array.dtype == np.float32 and array.size) for array in arrays
    )


def _filters_layout(weight: NDArray[Any], groups: int) -> Layout | None:
    """The weight as the library's (groups, O / groups, C / groups, *kernel_size)."""
    found = layout_of(weight)
    if found is None:
        return None
    (filters, *shape), (first, *strides) = found
    per_group = filters // groups
    return (groups, per_group, *shape), (first * per_group, first, *strides)
