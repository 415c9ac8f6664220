"""Which ranks hold a global tensor, and how they are arranged."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist.env import has_rank_variables, rank_info
from flowdist.errors import PlacementError

__all__ = ["DEVICE_TYPES", "Placement"]

DEVICE_TYPES = ("cpu", "cuda")


class Placement:
    """A mesh of ranks, each with one device of a type: a value that can be compared, hashed and pickled.

    Args:
        type: ``"cpu"`` or ``"cuda"``; on a host, rank ``r`` uses the device of its number on that host.
        ranks: Ranks in a sequence, a nested sequence or an array of integers; its shape is the shape of the mesh. The
            order counts: a rank's place in the mesh decides which part of a split tensor it holds.

    Raises:
        PlacementError: an unknown type, no ranks, a negative or repeated one, or one that the job does not have (where
            a launcher said how large the job is).
        TypeError: the ranks are no integers, or form no regular mesh.

    Reference:
        ``oneflow.placement``. Different on purpose: ranks keep their order, and mistakes are noticed here, not when the
        placement is used.

    >>> placement = Placement("cpu", [[0, 1], [2, 3]])
    >>> placement, placement.shape, placement.index(2), placement.sub_group(0, rank=3)
    (placement(type="cpu", ranks=[[0, 1], [2, 3]]), (2, 2), 2, (1, 3))
    """

    __slots__ = ("_flat", "_shape", "_type")

    def __init__(self, type: str, ranks: Any) -> None:
        if type not in DEVICE_TYPES:
            raise PlacementError(f"placement: expected type {' or '.join(map(repr, DEVICE_TYPES))}, got {type!r}")
        mesh = _mesh(ranks)
        flat = tuple(mesh.reshape(-1).tolist())
        if not flat:
            raise PlacementError(f"placement: expected one rank or more, got {ranks!r}")
        if min(flat) < 0:
            raise PlacementError(f"placement: expected ranks of 0 or more, got {min(flat)} in {mesh.tolist()}")
        if len(set(flat)) < len(flat):
            twice = next(rank for rank in flat if flat.count(rank) > 1)
            raise PlacementError(f"placement: expected each rank once, got rank {twice} repeatedly in {mesh.tolist()}")
        if has_rank_variables(os.environ) and max(flat) >= rank_info().world_size:
            raise PlacementError(
                f"placement: there is no rank {max(flat)}: the job has {rank_info().world_size} ranks, numbered from 0"
            )
        self._type, self._flat, self._shape = type, flat, mesh.shape

    @classmethod
    def all(cls, type: str) -> Placement:
        """Every rank of this process's job in one dimension; for ``"cuda"`` those ranks of each host that have a GPU.

        Raises:
            PlacementError: unknown type, or ``"cuda"`` where there is no GPU.
        """
        if type not in DEVICE_TYPES:
            raise PlacementError(f"placement.all: expected type {' or '.join(map(repr, DEVICE_TYPES))}, got {type!r}")
        info = rank_info()
        with_device = info.local_world_size
        if type == "cuda":
            with_device = min(with_device, cuda_device_count())
            if not with_device:
                raise PlacementError('placement.all: this host has no GPU that can be used; use type "cpu"')
        return cls(type, [rank for rank in range(info.world_size) if rank % info.local_world_size < with_device])

    @property
    def type(self) -> str:
        """Type of the devices."""
        return self._type

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The ranks in the shape of the mesh; a copy."""
        return np.array(self._flat, np.int64).reshape(self._shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the mesh; an sbp says one thing for each of them."""
        return self._shape

    @property
    def size(self) -> int:
        """Number of ranks."""
        return math.prod(self._shape)

    @property
    def device_type(self) -> str:
        """Old name of `type`."""
        warnings.warn("placement.device_type is the old name of placement.type", DeprecationWarning, stacklevel=2)
        return self._type

    @property
    def hierarchy(self) -> tuple[int, ...]:
        """Old name of `shape`."""
        warnings.warn("placement.hierarchy is the old name of placement.shape", DeprecationWarning, stacklevel=2)
        return self._shape

    def __contains__(self, rank: object) -> bool:
        return rank in self._flat

    def index(self, rank: int) -> int:
        """Position of a rank in the mesh, row by row.

        Raises:
            PlacementError: it is not part of the placement.
        """
        if rank not in self._flat:
            raise PlacementError(f"placement: rank {rank} is not part of {self!r}")
        return self._flat.index(rank)

    def sub_group(self, axis: int, rank: int) -> tuple[int, ...]:
        """The ranks along one axis of the mesh through ``rank``, in the order of the mesh.

        Raises:
            PlacementError: the mesh has no such axis, or ``rank`` is not part of the placement.
        """
        if not 0 <= axis < len(self._shape):
            raise PlacementError(
                f"placement: expected an axis from 0 to {len(self._shape) - 1} of the mesh {self._shape}, got {axis}"
            )
        place: list[Any] = list(np.unravel_index(self.index(rank), self._shape))
        place[axis] = slice(None)
        return tuple(self.ranks[tuple(place)].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> Any:
        return Placement, (self._type, self.ranks)

    def __repr__(self) -> str:
        return f'placement(type="{self._type}", ranks={self.ranks.tolist()})'

    def _key(self) -> tuple[Any, ...]:
        return self._type, self._shape, self._flat


def _mesh(ranks: Any) -> NDArray[np.int64]:
    """The ranks as an array with one dim or more.

    Raises:
        TypeError: they are no integers, or nested sequences of different lengths.
    """
    if isinstance(ranks, range):
        ranks = list(ranks)
    try:
        mesh = np.atleast_1d(np.asarray(ranks))
    except ValueError as error:  # nested sequences of different lengths
        raise TypeError(f"placement: expected ranks that form a regular mesh, got {ranks!r} ({error})") from None
    if mesh.dtype.kind not in "iu" and mesh.size:
        raise TypeError(f"placement: expected ranks as integers, got {ranks!r}")
    return mesh.astype(np.int64)


@functools.cache
def cuda_device_count() -> int:
    """Number of GPUs that the CUDA driver lets this process use; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
