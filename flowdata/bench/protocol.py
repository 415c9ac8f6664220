"""The process that runs one side of a comparison, and what it says to the harness: standard library only.

A side is started as ``python -m MODULE SPEC.json``. It answers over its standard output with one JSON object a line:
``{"ready": …}`` or ``{"missing": why}`` once its libraries are loaded, ``{"steady": …}`` once its queues are filled,
and ``{"measured": …}`` for every line ``{"seconds": s, "batches": n}`` that it reads. It ends with its standard input.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TextIO

Arrays = dict[str, Any]


class Missing(Exception):
    """This side cannot run here; the text says what to do."""


@dataclass(frozen=True)
class Side:
    """What a side does and how to start it.

    Args:
        does: One line for people.
        start: Opens an endless iterator of batches, each a mapping of names to arrays with the samples along the
            first axis; the first value counts.
        versions: Versions of the libraries that do the work.
        ahead: Batches that it prepares, or has ready, ahead of the consumer; None where that is no number of batches.
        choice: What the side chose by measuring, to be handed to it as ``spec["choice"]`` from then on.
        observe: Begins to observe the side's workers while it is started; what it returns ends that and says what they
            did meanwhile.
    """

    does: str
    start: Callable[[], AbstractContextManager[Iterator[Arrays]]]
    versions: dict[str, str] = field(default_factory=dict)
    ahead: int | None = None
    choice: str | None = None
    observe: Callable[[], Callable[[], dict[str, Any]]] | None = None


def serve(prepare: Callable[[dict[str, Any]], Side]) -> None:
    """Run the side that ``prepare`` makes of the specification, until the harness has heard enough."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    try:
        side = prepare(spec)
    except Missing as error:
        _tell(answers, missing=str(error))
        return
    about = {"does": side.does, "versions": side.versions, "batches_ahead": side.ahead, "choice": side.choice}
    _tell(answers, ready=about)
    start = time.perf_counter()
    with side.start() as batches:
        first = [next(batches)]
        seconds = time.perf_counter() - start
        _tell(answers, steady={"first_batch_s": seconds, **_warm_up(first, batches, spec)})
        for line in sys.stdin:
            observed = side.observe() if side.observe is not None else None
            measured = _measure(batches, json.loads(line), spec.get("step_s", 0.0))
            _tell(answers, measured={**measured, "workers": observed() if observed is not None else None})


def _tell(answers: TextIO, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")


def _warm_up(first: list[Arrays], batches: Iterator[Arrays], spec: dict[str, Any]) -> dict[str, Any]:
    """Fill the queues; what the batches look like, and the digest of the first ones where it is asked for.

    The first batch is taken out of its list: one that is kept would be memory that the side cannot use again.
    """
    image = _main(first[0])
    about: dict[str, Any] = {"shape": list(image.shape), "dtype": str(image.dtype).removeprefix("torch.")}
    if "float" in about["dtype"]:
        about |= {"mean": float(image.mean()), "std": float(image.std())}
    del image
    digest = hashlib.sha256()
    count = spec.get("digest_batches", 0)
    end = time.perf_counter() + spec["warmup_s"]
    batch: Arrays | None = first.pop()
    for number in itertools.count(1):
        if batch is not None and number <= count:
            _update(digest, batch)
        batch = None  # its memory is free before the next one is asked for
        if number >= max(count, spec["warmup_batches"]) and time.perf_counter() >= end:
            break
        batch = next(batches)
    return about | ({"digest": digest.hexdigest()} if count else {})


def _update(digest: Any, batch: Arrays) -> None:
    for name in sorted(batch):
        values = batch[name] if isinstance(batch[name], list) else [batch[name]]
        for value in values:
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())


def _main(batch: Arrays) -> Any:
    value = next(iter(batch.values()))
    return value[0] if isinstance(value, list) else value


def _measure(batches: Iterator[Arrays], wanted: dict[str, Any], step_s: float) -> dict[str, Any]:
    """Take batches for so many seconds, and at least so many, working ``step_s`` on each as a training step would."""
    images = count = 0
    waited = 0.0
    start = now = time.perf_counter()
    while count < wanted["batches"] or now - start < wanted["seconds"]:
        before = now
        images += len(next(iter(next(batches).values())))
        now = time.perf_counter()
        waited += now - before
        count += 1
        if step_s:
            time.sleep(step_s)  # the device works, the process does not
            now = time.perf_counter()
    return {"images": images, "batches": count, "seconds": now - start, "waited_s": waited}
