"""Even splits of samples, parts and batches over ranks."""

from __future__ import annotations

from dataclasses import dataclass


def split_sizes(size: int, count: int) -> list[int]:
    """Sizes of ``count`` parts of ``size`` items: the first ``size % count`` parts get one more.

    >>> split_sizes(20, 6)
    [4, 4, 3, 3, 3, 3]
    """
    small, larger = divmod(size, count)
    return [small + (part < larger) for part in range(count)]


def split_range(size: int, count: int, part: int) -> range:
    """The items of part ``part`` under the rule of :func:`split_sizes`; empty when there are too few.

    >>> [list(split_range(5, 3, k)) for k in range(3)]
    [[0, 1], [2, 3], [4]]
    """
    small, larger = divmod(size, count)
    start = part * small + min(part, larger)
    return range(start, start + small + (part < larger))


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """Which of ``count`` equal consumers this is; the default is the only one.

    Raises:
        ValueError: ``index`` is not in ``range(count)``.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"ShardSpec: expected 0 <= index < count, got index {self.index} of {self.count}")
