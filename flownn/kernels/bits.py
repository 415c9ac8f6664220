"""Masks kept as bits between a forward and its backward: an eighth of the bytes of an array of bools."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = ["PackedMask", "pack", "unpack"]


class PackedMask(NamedTuple):
    """A mask of ``shape`` as bits, in the order of its dims in memory, that with the largest step first."""

    bits: NDArray[Any]
    shape: tuple[int, ...]
    order: tuple[int, ...]


def pack(xp: Any, mask: NDArray[Any]) -> PackedMask:
    """Pack a mask with any strides."""
    order = tuple(sorted(range(mask.ndim), key=lambda axis: (-abs(mask.strides[axis]), axis)))
    return PackedMask(xp.packbits(xp.ascontiguousarray(mask.transpose(order)).reshape(-1)), mask.shape, order)


def unpack(xp: Any, packed: PackedMask) -> NDArray[Any]:
    """The mask as bools, in the memory layout that it had."""
    flat = xp.unpackbits(packed.bits)[: math.prod(packed.shape)].view(bool)
    dense = flat.reshape([packed.shape[axis] for axis in packed.order])
    mask: NDArray[Any] = dense.transpose([packed.order.index(axis) for axis in range(len(packed.shape))])
    return mask
