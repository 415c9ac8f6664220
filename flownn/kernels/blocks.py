"""Cutting an array into pieces that stay in a core's cache while several steps are done to them."""

from __future__ import annotations

from typing import Any

from flownn.kernels import kernel

__all__ = ["cache_blocks"]

# A few arrays of this size fit into the second-level cache, and its calls cost little beside its arithmetic.
_BLOCK_BYTES = 256 << 10


@kernel("cache_blocks")
def cache_blocks(xp: Any, count: int, item_bytes: int) -> list[slice]:
    """Slices that cut ``count`` items of ``item_bytes`` each: here one; of none there is none."""
    return [slice(0, count)] if count else []


@kernel("cache_blocks", device="cpu")
def _cache_blocks_cpu(xp: Any, count: int, item_bytes: int) -> list[slice]:
    step = max(1, _BLOCK_BYTES // max(1, item_bytes))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]
