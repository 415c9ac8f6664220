"""Where we differ from PyTorch on purpose: the reviewed lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

# Documented names that compute nothing PyTorch computes.
WITHOUT_COUNTERPART = {
    "COCOReader": "reads files; tests/flowdata compares with pycocotools",
    "CoinFlip": "random numbers of our own stream",
    "OFRecordBytesDecoder": "decodes records of files",
    "OFRecordImageDecoder": "decodes records of files",
    "OFRecordImageDecoderRandomCrop": "decodes records of files",
    "OFRecordRawDecoder": "decodes records of files",
    "OFRecordReader": "reads files",
}


@dataclass(frozen=True)
class Difference:
    """Cases in which one of the two refuses and the other does not."""

    names: str  # of rows, separated by spaces
    when: Callable[[Any], bool]
    here: Literal["refused", "accepted"]
    reason: str


DIFFERENCES: list[Difference] = [
    Difference(
        "Embedding", lambda c: c.sparse, "refused", "design: sparse gradients are NotImplementedError"
    ),
]  # fmt: skip


def difference(name: str, c: Any) -> Difference | None:
    """The entry for this case, if there is one."""
    return next((each for each in DIFFERENCES if name in each.names.split() and each.when(c)), None)
