"""In which order the elements of a tensor lie in memory. It never changes values or shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.ops.elementwise import clone as copy_of

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class memory_format:
    """An order of elements in memory, a value like a dtype.

    Args:
        name: Name in this package.
        ndim: Number of dims of the tensors that can have it; None for any.
    """

    __slots__ = ("name", "ndim")

    def __init__(self, name: str, ndim: int | None = None) -> None:
        self.name: Final = name
        self.ndim: Final = ndim

    def __repr__(self) -> str:
        return f"flownn.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def order(self, ndim: int) -> tuple[int, ...]:
        """The dims from the one with the largest stride to the one with the smallest.

        Raises:
            ShapeError: a tensor with so many dims cannot have this format.
        """
        if self.ndim is None:
            return tuple(range(ndim))
        if ndim != self.ndim:
            raise ShapeError(f"memory_format: {self} is for {self.ndim} dims, got {ndim}")
        return (0, *range(2, ndim), 1)


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last", 4)
channels_last_3d = memory_format("channels_last_3d", 5)


def require_format(name: str, value: Any) -> memory_format:
    """Refuse what is no memory format.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, memory_format):
        raise TypeError(f"{name}: expected a memory format such as flownn.channels_last, got {value!r}")
    return value


def has_format(x: Array, wanted: memory_format) -> bool:
    """Whether the elements lie dense in this order; a tensor with another number of dims does not."""
    if wanted.ndim not in (None, x.ndim):
        return False
    return bool(x.transpose(wanted.order(x.ndim)).flags.c_contiguous)


@op
def _arrange(xp: Any, x: Array, *, order: tuple[int, ...]) -> Any:
    y = x.transpose(order).copy(order="C")
    return y.transpose([order.index(axis) for axis in range(x.ndim)]), lambda g: (g,)


def contiguous(x: Tensor, memory_format: memory_format = contiguous_format) -> Tensor:
    """The tensor itself if its elements lie in this order, else a copy in that order.

    Args:
        x: Any shape.
        memory_format: ``contiguous_format`` (row-major), ``channels_last`` (4 dims) or ``channels_last_3d`` (5).

    Raises:
        ShapeError: the format is for another number of dims.
        ValueError: ``preserve_format``, which asks for no order.
    """
    if require_format("contiguous", memory_format) is preserve_format:
        raise ValueError("contiguous: expected a format with an order, got flownn.preserve_format")
    order = memory_format.order(x.data.ndim)
    return x if has_format(x.data, memory_format) else _arrange(x, order=order)


def clone(x: Tensor, *, memory_format: memory_format = preserve_format) -> Tensor:
    """A copy in memory of its own, in the order of the original or in another one.

    Args:
        x: Any shape.
        memory_format: ``preserve_format`` keeps the order.

    Raises:
        ShapeError: the format is for another number of dims.
    """
    if require_format("clone", memory_format) is preserve_format:
        return copy_of(x)
    return _arrange(x, order=memory_format.order(x.data.ndim))
