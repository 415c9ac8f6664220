"""What one collective is: its description for messages and checks, and which buffers it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist.errors import DistError

DEFAULT_TIMEOUT_S = 1800.0

# By name: bfloat16 comes from ml_dtypes, which this package need not import to recognise it.
_HALF_TYPES = frozenset({"float16", "bfloat16"})
_SUMMABLE_TYPES = _HALF_TYPES | {"float32", "float64", "int32", "int64", "uint8"}


@dataclass(frozen=True, slots=True)
class Collective:
    """One call that every rank makes: the ``sequence``-th on its communicator, counted from 0.

    >>> str(Collective(3, "allreduce", "float32", 1024))
    'allreduce #3 (1024 x float32)'
    """

    sequence: int
    kind: str
    dtype: str = ""
    count: int = 0
    root: int | None = None

    def __str__(self) -> str:
        details = [f"{self.count} x {self.dtype}"] if self.dtype else []
        if self.root is not None:
            details.append(f"from rank {self.root}")
        return f"{self.kind} #{self.sequence}" + (f" ({', '.join(details)})" if details else "")


def rank_ranges(ranks: Iterable[int]) -> str:
    """Ranks in few words.

    >>> rank_ranges([0, 1, 2, 5])
    'ranks 0-2, 5'
    """
    ordered = sorted(ranks)
    runs: list[list[int]] = []
    for rank in ordered:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    words = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"rank{'s' if len(ordered) > 1 else ''} {words}"


def check_summable(buffer: NDArray[Any]) -> None:
    """Refuse what an allreduce cannot sum in place.

    Raises:
        DistError: the buffer is not 1-D, contiguous and writeable, or its type has no sum.
    """
    _check_flat(buffer, "allreduce")
    if buffer.dtype.name not in _SUMMABLE_TYPES:
        raise DistError(f"allreduce: expected one of {', '.join(sorted(_SUMMABLE_TYPES))}, got {buffer.dtype}")


def check_broadcast(buffer: NDArray[Any], root: int, size: int) -> None:
    """Refuse what a broadcast cannot overwrite in place.

    Raises:
        DistError: the buffer is not 1-D, contiguous and writeable, holds Python objects, or ``root`` is no rank.
    """
    _check_flat(buffer, "broadcast")
    if buffer.dtype.hasobject:
        raise DistError(f"broadcast: expected numbers, got dtype {buffer.dtype}; use allgather_object for objects")
    if not 0 <= root < size:
        raise DistError(f"broadcast: root must be a rank from 0 to {size - 1}, got {root}")


def sums_in_float32(dtype: np.dtype[Any]) -> bool:
    """Whether sums of this type are taken in float32 and rounded once: the 16-bit floats."""
    return dtype.name in _HALF_TYPES


def store_rounded(buffer: NDArray[Any], total: NDArray[Any]) -> None:
    """Write a float32 sum back to a 16-bit buffer; what no longer fits becomes an infinity, visibly."""
    with np.errstate(over="ignore", invalid="ignore"):
        buffer[...] = total


def _check_flat(buffer: NDArray[Any], kind: str) -> None:
    if not isinstance(buffer, np.ndarray):
        raise DistError(f"{kind}: expected a NumPy array, got {type(buffer).__name__}")
    if buffer.ndim != 1 or not buffer.flags.c_contiguous or not buffer.flags.writeable:
        raise DistError(
            f"{kind}: expected a 1-D, contiguous, writeable array, got shape {buffer.shape}, strides {buffer.strides}, "
            f"writeable={buffer.flags.writeable}"
        )
