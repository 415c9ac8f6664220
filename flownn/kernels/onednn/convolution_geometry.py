"""What convolutions by oneDNN share: what they are compiled for, and the layouts of their filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.convolution import Padding, padded_shape
from flownn.kernels.depthwise import is_depthwise
from flownn.kernels.onednn.memory import (
    Layout,
    any_layout,
    channels_last,
    descriptor,
    dims,
    layout_of,
    plain,
    workspace,
)
from flownn.kernels.onednn.primitives import (
    BIAS,
    DST,
    FORWARD_TRAINING,
    SRC,
    WEIGHTS,
    Primitive,
    Reorder,
)
from flownn.kernels.windows import output_size

__all__ = [
    "DIRECT",
    "MOST_TERMS_OF_ONE",
    "Convolution",
    "Geometry",
    "Rearranged",
    "are_depthwise",
    "are_supported",
    "attributes_of",
    "described",
    "filters_layout",
    "geometry_of",
    "make_correlate",
]

DIRECT = 1  # dnnl_convolution_direct
# Where the definition multiplies a matrix by a vector, with one filter, BLAS keeps dozens of sums: so many products are
# enough for one of several sums, and half of it for the only one.
MOST_TERMS_OF_ONE = 144


class Geometry(NamedTuple):
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


def geometry_of(
    image: tuple[int, ...],
    result: tuple[int, ...] | None,
    filters: Layout,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Geometry:
    """The geometry; with None the result's shape follows from the rest."""
    if result is None:
        padded = padded_shape(image[2:], padding)[0]
        channels = filters[0][0] * filters[0][1]
        result = (image[0], channels, *map(output_size, padded, filters[0][3:], stride, dilation))
    return Geometry(image, result, filters, stride, padding, dilation)


def attributes_of(stride: Sequence[int], padding: Padding, dilation: Sequence[int]) -> Any:
    """Stride, padding and dilation as what a key is made of."""
    return tuple(stride), tuple(map(tuple, padding)), tuple(dilation)


def described(array: NDArray[Any], other: NDArray[Any] | None) -> tuple[Any, ...]:
    """What a plan for such arrays depends on: shape, strides and dtype of one, the dtype of another if there is one."""
    return array.shape, array.strides, array.dtype, None if other is None else other.dtype


class Rearranged:
    """What brings an argument of a primitive from the caller's layout to the primitive's, where they differ.

    Args:
        primitive: The primitive.
        argument: Number of the argument.
        given: The caller's layout.
        name: Of the workspace for copies.
    """

    def __init__(self, primitive: Primitive, argument: int, given: Layout, name: str) -> None:
        source, own = descriptor(given), primitive.descriptor(argument)
        self._reorder = None if own.same_as(source) else Reorder(source, own)
        self._name, self._nbytes = name, own.nbytes

    def __call__(self, array: NDArray[Any]) -> NDArray[Any] | int:
        """The array, or the address of a copy; valid until this thread asks for another of that name."""
        if self._reorder is None:
            return array
        address = workspace(self._name, self._nbytes)
        self._reorder(array, address)
        return address


class Convolution:
    """A primitive that takes filters, and what brings them to its layout."""

    def __init__(self, primitive: Primitive, filters: Layout) -> None:
        self.run = primitive
        self.filters = Rearranged(primitive, WEIGHTS, filters, "filters")


def make_correlate(geometry: Geometry, bias: bool) -> Convolution:
    """The forward convolution; the others take its description as a hint.

    Raises:
        OneDNNError: the library has no fast implementation.
    """
    (channels,) = geometry.result[1:2]
    primitive = Primitive(
        "dnnl_convolution_forward_primitive_desc_create",
        (
            FORWARD_TRAINING,
            DIRECT,
            geometry.memory("image"),
            geometry.memory("filters"),
            descriptor(plain((channels,))).handle if bias else None,
            geometry.memory("result"),
            *geometry.windows(),
        ),
        (SRC, DST, WEIGHTS, BIAS) if bias else (SRC, DST, WEIGHTS),
    )
    return Convolution(primitive, geometry.filters)


def are_depthwise(filters: tuple[int, ...]) -> bool:
    """Whether filters (groups, O / groups, C / groups, *kernel_size) are those of a depthwise layer."""
    groups, per_group, channels, *_ = filters
    return is_depthwise((groups, per_group, channels))


def are_supported(padding: Padding, *arrays: NDArray[Any] | None) -> bool:
    """Whether everything is float32 and not empty, and nothing is cropped."""
    return min(map(min, padding)) >= 0 and all(
        array is None or (array.dtype == np.float32 and array.size) for array in arrays
    )


def filters_layout(weight: NDArray[Any], groups: int) -> Layout | None:
    """The weight as the library's (groups, O / groups, C / groups, *kernel_size)."""
    found = layout_of(weight)
    if found is None:
        return None
    (filters, *shape), (first, *strides) = found
    per_group = filters // groups
    return (groups, per_group, *shape), (first * per_group, first, *strides)
