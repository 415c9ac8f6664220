"""How the ranks of a placement hold a global tensor: each a part of it, all the same, or a summand.

A signature says one of the three for each axis of the placement's mesh: the first entry divides the tensor over mesh
axis 0, the second divides each result over mesh axis 1, and so on.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from flowdist.errors import PlacementError
from flowdist.placement import Placement

__all__ = ["MAX_DIMS", "Broadcast", "Layout", "PartialSum", "Split", "broadcast", "partial_sum", "sbp", "split"]

MAX_DIMS = 6


class sbp:
    """Base class of the three; they are values that can be compared, hashed and pickled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class Split(sbp):
    """Each rank holds a part along one dim of the tensor, by the balanced rule: the first ranks get one more.

    Args:
        dim: Which dim, from 0.

    Raises:
        TypeError: ``dim`` is no integer.
        PlacementError: ``dim`` is negative or too large.
    """

    dim: int

    def __post_init__(self) -> None:
        if type(self.dim) is not int:
            raise TypeError(f"sbp.split: expected dim as an int, got {self.dim!r}")
        if not 0 <= self.dim < MAX_DIMS:
            raise PlacementError(f"sbp.split: expected dim from 0 to {MAX_DIMS - 1}, got {self.dim}")

    def __repr__(self) -> str:
        return f"S({self.dim})"


class _Single(sbp):
    """A kind of which there is one value; calling it gives it again."""

    __slots__ = ()
    _letter: str
    _name: str

    def __call__(self) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __reduce__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return self._letter


class Broadcast(_Single):
    """Every rank holds the whole tensor."""

    __slots__ = ()
    _letter, _name = "B", "broadcast"


class PartialSum(_Single):
    """Every rank holds an array of the tensor's shape; the tensor is their sum."""

    __slots__ = ()
    _letter, _name = "P", "partial_sum"


broadcast: Final = Broadcast()
partial_sum: Final = PartialSum()


def split(dim: int | None = None, *, axis: int | None = None) -> Split:
    """Hold parts along one dim of the tensor.

    Args:
        dim: Which dim, from 0.
        axis: Old name of ``dim``.

    Raises:
        TypeError: none or both are given, or no integer.
        PlacementError: the dim is negative or too large.

    >>> split(1), split(1) == split(1), broadcast(), partial_sum
    (S(1), True, B, P)
    """
    if (dim is None) == (axis is None):
        raise TypeError(f"sbp.split: expected one dim, got dim={dim} and axis={axis}")
    if axis is not None:
        warnings.warn("sbp.split: axis is the old name of dim", DeprecationWarning, stacklevel=2)
        dim = axis
    return Split(dim)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Layout:
    """A placement and what its ranks hold.

    Args:
        placement: Which ranks.
        sbp: One entry for each axis of the mesh; a single one stands for a mesh of one axis.

    Raises:
        TypeError: an entry is no sbp.
        PlacementError: another number of entries than the mesh has axes.

    >>> Layout(Placement("cpu", [[0, 1], [2, 3]]), (split(0), broadcast)).sbp
    (S(0), B)
    """

    placement: Placement
    sbp: tuple[sbp, ...]

    def __post_init__(self) -> None:
        entries: Sequence[Any] = tuple(self.sbp) if isinstance(self.sbp, (tuple, list)) else (self.sbp,)
        for entry in entries:
            if not isinstance(entry, sbp):
                raise TypeError(f"sbp: expected sbp.split(dim), sbp.broadcast or sbp.partial_sum, got {entry!r}")
        axes = len(self.placement.shape)
        if len(entries) != axes:
            raise PlacementError(
                f"sbp: expected {axes} entries, one for each axis of the mesh {self.placement.shape}, got "
                f"{len(entries)}: {entries}"
            )
        object.__setattr__(self, "sbp", entries)

    def check(self, shape: Sequence[int]) -> None:
        """Refuse a split along a dim that a tensor of this shape does not have.

        Raises:
            PlacementError: there is such a split.
        """
        for entry in self.sbp:
            if isinstance(entry, Split) and entry.dim >= len(shape):
                raise PlacementError(
                    f"sbp: expected split dims in [0, {len(shape)}) for a tensor of shape {tuple(shape)}, got {entry}"
                )
