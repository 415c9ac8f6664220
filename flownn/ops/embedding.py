"""Looking up rows of a table by number, and numbers as rows of a one-hot table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import mark_overwritten, op, wrap
from flownn.backend import Array, array_module
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.rows import add_rows
from flownn.ops.distance import norm

if TYPE_CHECKING:
    from flownn.tensor import Tensor

__all__ = ["embedding", "one_hot", "renormalize_rows"]


@op
def embedding(
    xp: Any, weight: Array, index: Array, *, padding_idx: int | None = None, scale_grad_by_freq: bool = False
) -> Any:
    """The rows of weight (V, D) with the numbers in index (...), as an array (..., D).

    Args:
        xp: NumPy or CuPy.
        weight: The table.
        index: Integers from 0 to V - 1.
        padding_idx: Number of a row that gets no gradient.
        scale_grad_by_freq: Divide the gradient of every row by how often its number occurs in ``index``.

    Raises:
        ShapeError: ``weight`` does not have 2 dims.
        DtypeError: ``index`` holds no integers.
        IndexError: a number is out of range.
    """
    _check_index(weight, index)
    count, columns = weight.shape
    wide = dtypes.accumulator(weight.dtype) or weight.dtype

    def vjp(g: Array) -> Any:
        places = index.reshape(-1)
        gradient = add_rows(xp, g.reshape(places.size, columns).astype(wide, copy=False), places, count)
        if scale_grad_by_freq:
            gradient /= xp.maximum(xp.bincount(places, minlength=count), 1).astype(wide)[:, None]
        if padding_idx is not None:
            gradient[padding_idx] = 0
        return gradient, None

    return xp.take(weight, index, axis=0), vjp


def _check_index(weight: Array, index: Array) -> None:
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected a weight (V, D), got shape {tuple(weight.shape)}")
    if dtypes.category(index.dtype) != dtypes.INTEGER:
        raise DtypeError(f"embedding: expected a tensor of integers, got {index.dtype}; convert it with .long()")
    if index.size:
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= weight.shape[0]:
            raise IndexError(
                f"embedding: expected numbers from 0 to {weight.shape[0] - 1}, got {low if low < 0 else high}"
            )


def renormalize_rows(weight: Tensor, index: Tensor, *, max_norm: float, norm_type: float = 2.0) -> None:
    """Scale the rows of weight (V, D) that ``index`` names down to ``max_norm``, in place and unrecorded.

    Args:
        weight: The table; shorter rows stay bit for bit.
        index: Integers from 0 to V - 1 of any shape.
        max_norm: Largest norm that a row may have.
        norm_type: Order of the norm.

    Raises:
        ShapeError, DtypeError, IndexError: as `embedding`.
        ValueError: ``norm_type`` is not positive.
    """
    table = weight.data
    _check_index(table, index.data)
    xp = array_module(table)
    named = xp.unique(index.data)
    norms = norm(wrap(table[named].astype(dtypes.accumulator(table.dtype) or table.dtype)), norm_type, dim=1).data
    long = norms > max_norm
    if long.any():
        factors = max_norm / (norms[long] + 1e-7)  # the same small number as in PyTorch
        table[named[long]] = (table[named[long]] * factors[:, None]).astype(table.dtype)
        mark_overwritten(table, "embedding(max_norm=...)")


@op(chooses_dtype=True)
def one_hot(xp: Any, index: Array, *, num_classes: int, on_value: float = 1, off_value: float = 0) -> Any:
    """``on_value`` at the position that index (...) holds, ``off_value`` elsewhere: an array (..., num_classes).

    It has the type of the two numbers: int64, or the default floating point type.

    Raises:
        DtypeError: ``index`` holds no integers.
        ValueError: ``num_classes`` is -1 for an empty index, or a number is not below it.
    """
    if dtypes.category(index.dtype) != dtypes.INTEGER:
        raise DtypeError(f"one_hot: expected a tensor of integers, got {index.dtype}; convert it with .long()")
    if num_classes < 0 and not index.size:
        raise ValueError("one_hot: expected num_classes for an empty tensor, which does not tell it")
    low, high = (int(index.min()), int(index.max())) if index.size else (0, -1)
    if num_classes < 0:
        num_classes = high + 1
    if low < 0 or high >= num_classes:
        raise ValueError(f"one_hot: expected numbers from 0 to {num_classes - 1}, got {low if low < 0 else high}")
    kind = dtypes.result_dtype((on_value, off_value))
    chosen = index[..., None] == xp.arange(num_classes)
    return xp.where(chosen, kind.type(on_value), kind.type(off_value)), None
