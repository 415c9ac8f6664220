"""Which gradients travel together: a plan, and the flat arrays it describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT_BYTES = 64
FIRST_BUCKET_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """What the plan needs to know about a parameter."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """One flat array of gradients.

    Args:
        dtype: Type of every gradient in it.
        parameters: Positions in the sequence the plan was made from, in the order of their slots.
        starts: First element of each slot; a multiple of 64 bytes.
        size: Elements of all slots together, gaps between them included.
    """

    dtype: np.dtype[Any]
    parameters: tuple[int, ...]
    starts: tuple[int, ...]
    size: int


def plan_buckets(
    parameters: Sequence[ParameterSpec], *, bucket_size: int | None = 10, bucket_cap_bytes: int | None = 25 << 20
) -> list[BucketPlan]:
    """Cut parameters, last one first, into buckets of one type each.

    Backward reaches the last parameters first, so theirs travel while the others are still computed. Buckets come in
    the order in which they would be complete if gradients arrived in exactly that order.

    Args:
        parameters: In the order of registration.
        bucket_size: Number of parameters at which a bucket closes; None for no such limit.
        bucket_cap_bytes: Bytes at which a bucket closes (the parameter that reaches it is still inside); None for no
            such limit. The first bucket of each type closes at 1 MiB already, so that communication starts early.

    Raises:
        ValueError: a limit is not positive.

    >>> specs = [ParameterSpec(name, (4,), np.dtype(np.float32)) for name in "abc"]
    >>> [bucket.parameters for bucket in plan_buckets(specs, bucket_size=2)]
    [(2, 1), (0,)]
    """
    for name, limit in (("bucket_size", bucket_size), ("bucket_cap_bytes", bucket_cap_bytes)):
        if limit is not None and limit <= 0:
            raise ValueError(f"plan_buckets: {name} must be positive or None, got {limit}")
    closed: list[BucketPlan] = []
    open_by_type: dict[np.dtype[Any], list[int]] = {}
    types_with_a_bucket: set[np.dtype[Any]] = set()
    for position in reversed(range(len(parameters))):
        dtype = parameters[position].dtype
        members = open_by_type.setdefault(dtype, [])
        members.append(position)
        cap = bucket_cap_bytes
        if cap is not None and dtype not in types_with_a_bucket:
            cap = min(cap, FIRST_BUCKET_BYTES)
        full = bucket_size is not None and len(members) >= bucket_size
        if full or (cap is not None and _slots(parameters, members).size * dtype.itemsize >= cap):
            closed.append(_slots(parameters, open_by_type.pop(dtype)))
            types_with_a_bucket.add(dtype)
    closed += [_slots(parameters, members) for members in open_by_type.values()]
    return sorted(closed, key=lambda bucket: -bucket.parameters[-1])


def _slots(parameters: Sequence[ParameterSpec], members: Sequence[int]) -> BucketPlan:
    dtype = parameters[members[0]].dtype
    alignment = max(1, ALIGNMENT_BYTES // dtype.itemsize)
    starts = []
    end = 0
    for position in members:
        starts.append(end)
        end += math.ceil(math.prod(parameters[position].shape) / alignment) * alignment
    return BucketPlan(dtype, tuple(members), tuple(starts), end)


class FlatBucket:
    """The memory of one bucket: slots for gradients, and behind them a tail of a few numbers that travel along."""

    def __init__(self, plan: BucketPlan, shapes: Sequence[tuple[int, ...]], tail_size: int) -> None:
        self.array = _aligned_zeros(plan.size + tail_size, plan.dtype)
        self.views = [
            self.array[start : start + math.prod(shape)].reshape(shape)
            for start, shape in zip(plan.starts, shapes, strict=True)
        ]
        self.tail = self.array[plan.size :]


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size * dtype.itemsize].view(dtype)
