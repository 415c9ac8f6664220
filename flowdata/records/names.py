"""What the files of a data set are called."""

from __future__ import annotations

FILE_NAME = "dataset.json"


def part_name(index: int, prefix: str = "part-", suffix_length: int = 5) -> str:
    """Name of a part file: the prefix, then the number padded with zeros to at least ``suffix_length`` digits.

    A negative ``suffix_length`` means no padding, as in OneFlow.

    >>> part_name(3), part_name(10, suffix_length=-1), part_name(123, "p", 2)
    ('part-00003', 'part-10', 'p123')
    """
    return f"{prefix}{index:0{max(suffix_length, 0)}d}"
