"""Convolution and its adjoints by oneDNN: float32, channels-last images, filters in the layout that it chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.convolution import Padding
from flownn.kernels.onednn.convolution_1x1 import is_product, map_pixels, matrix_of
from flownn.kernels.onednn.convolution_geometry import (
    DIRECT,
    MOST_TERMS_OF_ONE,
    Convolution,
    Geometry,
    are_depthwise,
    are_supported,
    attributes_of,
    described,
    filters_layout,
    geometry_of,
    make_correlate,
)
from flownn.kernels.onednn.library import OneDNNError
from flownn.kernels.onednn.memory import (
    Layout,
    any_layout,
    channels_last,
    descriptor,
    empty_channels_last,
    is_channels_last,
    plain,
    workspace_array,
)
from flownn.kernels.onednn.primitives import (
    BIAS,
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_TRAINING,
    SRC,
    WEIGHTS,
    Primitive,
    Reorder,
    append_sum,
    as_channels_last,
    cached,
)

_DECONVOLUTION_DIRECT = 10  # dnnl_deconvolution_direct
# A number of the result is a running float32 sum, whose error grows with the root of the number of products. Beyond
# this many, channels are cut into groups, for a grouped convolution of the same image, and the groups' sums added up.
# Of a number of channels that does not divide by 16 it is half as many.
_MOST_TERMS = 1152
# Where the definition adds up windows of products, each position is a sum of its own: so many may be one here.
_MOST_WINDOWS = 4


def _make_adjoint(geometry: Geometry) -> Convolution:
    hint = cached(("correlate", geometry, False), partial(make_correlate, geometry, False))
    primitive = Primitive(
        "dnnl_convolution_backward_data_primitive_desc_create",
        (
            DIRECT,
            geometry.memory("image"),
            geometry.memory("filters"),
            geometry.memory("result"),
            *geometry.windows(),
            hint.run.hint if hint else None,
        ),
        (DIFF_DST, DIFF_SRC, WEIGHTS),
    )
    return Convolution(primitive, geometry.filters)


def _make_deconvolution(geometry: Geometry, bias: bool, onto: bool) -> Convolution:
    """The adjoint with a bias, or added to what there is: to the library a convolution of its own, the other way round.

    Raises:
        OneDNNError: the library would add them afterwards, which takes longer than NumPy.
    """
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
        post_ops=append_sum if onto else None,
    )
    if primitive.implementation.startswith("conv:any"):
        raise OneDNNError("onednn: no deconvolution that adds on the way")
    return Convolution(primitive, turned)


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
    attributes = attributes_of(stride, padding, dilation)
    key = ("correlate plan", x.shape, x.dtype, *described(weight, bias), attributes, groups)
    plan = cached(key, partial(_plan_correlate, x, weight, bias, attributes, groups))
    return NotImplemented if plan is None else plan(x, weight, bias)


def _plan_correlate(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, attributes: Any, groups: int
) -> Callable[..., NDArray[Any]] | None:
    """What computes the convolution of such arrays; None where that is left to the portable body."""
    filters, (stride, padding, _) = filters_layout(weight, groups), attributes
    if filters is None or not are_supported(padding, x, weight, bias):
        return None
    parts = _parts(filters[0], 2, math.prod(weight.shape[2:]))
    if not parts:
        return None
    geometry = geometry_of(x.shape, None, _cut(filters, 2, parts) if parts > 1 else filters, *attributes)
    result = (x.shape[0], weight.shape[0], *geometry.result[2:])
    positions = x.shape[0] * math.prod(result[2:])
    if positions == 1:
        return None  # a product by a vector
    if is_product(filters[0], padding) and positions < max(weight.shape[:2]):
        return lambda x, weight, bias: map_pixels(x, matrix_of(weight).T, bias, stride)
    found = cached(("correlate", geometry, bias is not None), partial(make_correlate, geometry, bias is not None))
    return found and partial(_run_correlate, found, result, parts)


def _run_correlate(
    found: Convolution,
    shape: tuple[int, ...],
    parts: int,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
) -> NDArray[Any]:
    if bias is None:
        return _run_parts(found, shape, parts, x, weight)
    row = np.zeros(parts * shape[1], np.float32)
    row[: shape[1]] = bias
    return _run_parts(found, shape, parts, x, weight, row)


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
    attributes = attributes_of(stride, padding, dilation)
    image = (y.shape[0], weight.shape[1] * groups, *spatial)
    add = onto is not None and onto.dtype == np.float32 and is_channels_last(onto)
    key = ("adjoint plan", y.shape, y.dtype, *described(weight, bias), image, attributes, groups, add)
    plan = cached(key, partial(_plan_adjoint, y, weight, bias, image, attributes, groups, add))
    if plan is None:
        return NotImplemented
    result = plan(y, weight, bias, onto if add else None)
    return result if onto is None or result is onto else np.add(onto, result, out=onto)


def _plan_adjoint(
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    image: tuple[int, ...],
    attributes: Any,
    groups: int,
    add: bool,
) -> Callable[..., NDArray[Any]] | None:
    """What computes the adjoint for such arrays, and adds it where it can; None where the portable body shall."""
    filters, (stride, padding, _) = filters_layout(weight, groups), attributes
    if filters is None or not are_supported(padding, y, weight, bias):
        return None
    if is_product(filters[0], padding) and max(stride) == 1:
        return lambda y, weight, bias, onto: map_pixels(y, matrix_of(weight), bias, onto=onto)
    reach = math.prod(-(-k // s) for k, s in zip(weight.shape[2:], stride, strict=True))  # windows over one element
    parts = _parts(filters[0], 1, reach, -(-reach // _MOST_WINDOWS) if _scatters(filters[0], stride) else 1)
    if not parts or (parts > 1 and _is_alone(filters[0], 2)):  # for one channel the definition is faster, too
        return None
    if parts == 1 and (add or bias is not None):
        of_which = (geometry_of(image, y.shape, filters, *attributes), bias is not None, add)
        found = cached(("deconvolution", of_which), partial(_make_deconvolution, *of_which))
        if found is not None:
            return partial(_run_deconvolution, found, image)
    cut = (image[0], parts * image[1], *image[2:])
    geometry = geometry_of(cut, y.shape, _cut(filters, 1, parts) if parts > 1 else filters, *attributes)
    found = cached(("adjoint", geometry), partial(_make_adjoint, geometry))
    return found and partial(_run_adjoint, found, image, parts)


def _run_deconvolution(
    found: Convolution,
    image: tuple[int, ...],
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    onto: NDArray[Any] | None,
) -> NDArray[Any]:
    result = empty_channels_last(image) if onto is None else onto
    last = () if bias is None else (np.ascontiguousarray(bias),)
    found.run(as_channels_last(y), result, found.filters(weight), *last)
    return result


def _run_adjoint(
    found: Convolution,
    image: tuple[int, ...],
    parts: int,
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    onto: NDArray[Any] | None,
) -> NDArray[Any]:
    """The adjoint alone; whoever calls adds it to what there is."""
    result = _run_parts(found, image, parts, y, weight)
    if bias is not None:
        result += bias.reshape(-1, *[1] * (len(image) - 2))
    return result


def _run_parts(
    found: Convolution,
    shape: tuple[int, ...],
    parts: int,
    source: NDArray[Any],
    weight: NDArray[Any],
    *last: NDArray[Any],
) -> NDArray[Any]:
    """Run a convolution whose result has this shape, and add up the parts into which its sums are cut."""
    result = empty_channels_last(shape)
    positions = shape[0] * math.prod(shape[2:])
    sums = result if parts == 1 else workspace_array("parts", (positions, parts, shape[1]))
    found.run(as_channels_last(source), sums, found.filters(weight), *last)
    if parts > 1:
        _add_up(sums, result)
    return result


def _parts(filters: tuple[int, ...], axis: int, positions: int, fewest: int = 1) -> int:
    """Into how many parts to cut the channels that are summed over (axis 1 or 2 of the filters) beside positions.

    Unless one part is short enough for anything there are at least ``fewest``. 0 where channels cannot be cut so.
    """
    groups, channels, alone = filters[0], filters[axis], _is_alone(filters, 3 - axis)
    terms = channels * positions
    if terms <= (MOST_TERMS_OF_ONE // 2 if alone else MOST_TERMS_OF_ONE):
        return 1
    most = _MOST_TERMS if positions > 1 else 2 * _MOST_TERMS  # 1x1: the library itself adds up blocks
    if channels % 16:
        most //= 2
    fewest = max(fewest, 2 if alone else 1, -(-terms // (MOST_TERMS_OF_ONE if alone else most)))
    if fewest == 1:
        return 1
    if groups > 1:
        return 0
    return next((parts for parts in range(fewest, 2 * fewest + 1) if channels % (16 * parts) == 0), 0)


def _is_alone(filters: tuple[int, ...], axis: int) -> bool:
    """Whether a group has one channel on this axis of the filters, so that the definition multiplies by a vector."""
    return filters[axis] == 1 and not are_depthwise(filters)


def _scatters(filters: tuple[int, ...], stride: Sequence[int]) -> bool:
    """Whether the definition of the adjoint adds up windows of products."""
    _, per_group, channels, *kernel_size = filters
    if are_depthwise(filters) or math.prod(kernel_size) == 1:
        return False
    return max(stride) > 1 or per_group > 2 * channels


def _cut(filters: Layout, axis: int, parts: int) -> Layout:
    """Filters of one group as those of ``parts`` groups, each with its share of the channels on this axis."""
    (_, *shape), (_, *strides) = filters
    share = shape[axis - 1] // parts
    shape[axis - 1] = share
    return (parts, *shape), (share * strides[axis - 1], *strides)


def _add_up(sums: NDArray[Any], result: NDArray[Any]) -> None:
    """Add sums (positions, parts, C) over the parts into the channels-last result."""
    first, further = cached(("add up", sums.shape), partial(_make_sum, *sums.shape))
    address, step = sums.ctypes.data, sums.strides[1]
    first(address, result)
    for part in range(1, sums.shape[1]):
        further(address + part * step, result)


def _make_sum(positions: int, parts: int, channels: int) -> tuple[Reorder, Reorder]:
    """What copies one of the parts, and what adds it: NumPy does that on one core."""
    shape, row = (1, channels, positions, 1), parts * channels
    source, target = descriptor((shape, (row * positions, 1, row, row))), descriptor(channels_last(shape))
    return Reorder(source, target), Reorder(source, target, add=True)
