"""What a rank believes the model to be, and where two ranks' beliefs first differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flowdist.collective import rank_ranges
from flowdist.comm import Communicator
from flowdist.errors import DistributedModelMismatchError


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter or buffer; dtypes by name, so that manifests compare and print the same everywhere."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that must be equal on all ranks for their gradients to mean the same."""

    class_name: str
    options: tuple[tuple[str, Any], ...]
    parameters: tuple[Entry, ...]
    buffers: tuple[Entry, ...]

    def digest(self) -> bytes:
        """32 bytes that are equal exactly if the manifests are."""
        return hashlib.sha256(repr(self).encode()).digest()


def check_equal_on_all_ranks(comm: Communicator, manifest: Manifest) -> None:
    """Raise the same error on every rank if the ranks hold different models; one small exchange if they do not.

    Raises:
        DistributedModelMismatchError: names the first difference and which ranks have what.
    """
    if len(set(comm.allgather_object(manifest.digest()))) > 1:
        manifests = comm.allgather_object(manifest)
        raise DistributedModelMismatchError(
            f"DistributedDataParallel: the model is not the same on all ranks: {first_difference(manifests)}"
        )


def first_difference(manifests: Sequence[Manifest]) -> str:
    """The first thing in which the ranks' manifests differ, with the ranks on each side; "" if there is none.

    >>> one, two = (Manifest("Net", (), (Entry("weight", (n, 2), "float32", True),), ()) for n in (3, 4))
    >>> first_difference([one, one, two])
    "shape of parameter 'weight': (3, 2) on ranks 0-1; (4, 2) on rank 2"
    """
    for what, values in _questions(manifests):
        if any(value != values[0] for value in values):
            ranks_by_value: dict[Any, list[int]] = {}
            for rank, value in enumerate(values):
                ranks_by_value.setdefault(value, []).append(rank)
            return f"{what}: " + "; ".join(
                f"{value} on {rank_ranges(ranks)}" for value, ranks in ranks_by_value.items()
            )
    return ""


def _questions(manifests: Sequence[Manifest]) -> Iterable[tuple[str, list[Any]]]:
    """What to compare, in order; a later question is asked only if the earlier ones had one answer."""
    yield "class of the module", [manifest.class_name for manifest in manifests]
    for index, (option, _) in enumerate(manifests[0].options):
        yield f"option {option}", [manifest.options[index][1] for manifest in manifests]
    yield from _entry_questions("parameter", [manifest.parameters for manifest in manifests])
    yield from _entry_questions("buffer", [manifest.buffers for manifest in manifests])


def _entry_questions(kind: str, entries: Sequence[tuple[Entry, ...]]) -> Iterable[tuple[str, list[Any]]]:
    details: list[tuple[str, Callable[[Entry], Any]]] = [
        ("shape", lambda entry: entry.shape),
        ("dtype", lambda entry: entry.dtype),
        ("requires_grad", lambda entry: entry.requires_grad),
    ]
    # Where the counts differ, the first name that is not everybody's says more than the counts.
    for index in range(max(len(of_rank) for of_rank in entries)):
        names = [repr(of_rank[index].name) if index < len(of_rank) else "none" for of_rank in entries]
        counts = rank_counts(len(of_rank) for of_rank in entries)
        yield f"{kind} number {index} (of {counts})", names
        for detail, get in details:
            yield f"{detail} of {kind} {names[0]}", [get(of_rank[index]) for of_rank in entries]


def rank_counts(counts: Iterable[int]) -> str:
    """Different numbers in few words: "3" or "3 or 4"."""
    return " or ".join(str(count) for count in sorted(set(counts)))
