"""One row of a batch: what every executor does for it, whichever process it does it in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flowdata.errors import DataError, RecordError, StageError
from flowdata.failures import BadSample, is_bad
from flowdata.sample import Array, ArraySpec, Sample, SampleKey, Specs

if TYPE_CHECKING:
    from flowdata.executors.stats import StepTimes
    from flowdata.pipeline import Pipeline

MOST_BAD_IN_A_ROW = 100  # records after a bad one that may stand in for it


def prepare(
    pipeline: Pipeline, key: SampleKey, specs: Specs, rows: dict[str, Array], steps: StepTimes
) -> tuple[dict[str, Any] | None, BadSample | None]:
    """Make one sample under the pipeline's policy: what every executor does for every row of a batch.

    Args:
        pipeline: What to run; its ``on_error`` decides.
        key: Which sample.
        specs: Specs of the values in a batch.
        rows: Memory for the fixed ones.
        steps: Where to note the steps of its way.

    Returns:
        The ragged values, or None if the sample is left out; and what to report of a bad one.

    Raises:
        RecordError: the record cannot be read, with ``raise``; or too many records in a row are bad.
        StageError: a stage raised, and that is no matter of bad data, or with ``raise``.
    """
    try:
        return store(pipeline.process(key, rows, steps), specs, rows), None
    except DataError as error:
        return stand_in(pipeline, key, error, specs, rows, steps)


def stand_in(
    pipeline: Pipeline, key: SampleKey, bad: DataError, specs: Specs, rows: dict[str, Array], steps: StepTimes
) -> tuple[dict[str, Any] | None, BadSample | None]:
    """What takes the place of a sample that raised ``bad``; arguments and results otherwise as for :func:`prepare`."""
    if pipeline.on_error == "raise" or not is_bad(bad):
        raise bad
    if pipeline.on_error == "skip":
        return None, _report(pipeline, key, bad, None)
    length = len(pipeline.source)
    for distance in range(1, min(length, MOST_BAD_IN_A_ROW + 1)):
        index = (key.index + distance) % length
        try:
            values = store(pipeline.process(SampleKey(key.epoch, index), rows, steps), specs, rows)
        except DataError as error:
            if not is_bad(error):
                raise
            continue
        return values, _report(pipeline, key, bad, index)
    raise RecordError(
        f"on_error: replace: record {key.index} is bad ({bad}), and so are all that could stand in for it, the next "
        f"{min(length - 1, MOST_BAD_IN_A_ROW)}; this is no matter of single records"
    ) from bad


def _report(pipeline: Pipeline, key: SampleKey, error: DataError, replacement: int | None) -> BadSample:
    locate = getattr(pipeline.source, "origin", None)  # a source of the user's own need not say
    file, offset = locate(key.index) if locate is not None else ("", None)
    stage = error.stage if isinstance(error, StageError) else "read"
    cause = error.__cause__ if isinstance(error, StageError) else error
    return BadSample(key.epoch, key.index, str(file), offset, stage, str(cause), replacement)


def store(sample: Sample, specs: Specs, rows: dict[str, Any]) -> dict[str, Any]:
    """Put a finished sample's fixed arrays into its rows of the batch; return the ragged ones.

    Raises:
        StageError: an array has another shape or dtype than its spec.
    """
    values = {name: np.asarray(sample[name]) for name in specs}
    for name, spec in specs.items():
        value = values[name]
        if value.dtype != spec.dtype or not _matches(value.shape, spec):
            raise StageError(
                f"record {sample.key.index} ({sample.origin}): expected {name} of shape {spec.shape} and dtype "
                f"{spec.dtype} as the stages' output_spec says, got {value.shape} and {value.dtype}"
            )
    for name, row in rows.items():
        if values[name] is row:
            continue
        for other, value in values.items():  # a stage may have passed on what was written here, by another name
            if other != name and np.may_share_memory(value, row):
                values[other] = value.copy()
        row[...] = values[name]
    return {name: values[name] for name, spec in specs.items() if not spec.fixed}


def _matches(shape: tuple[int, ...], spec: ArraySpec) -> bool:
    if shape == spec.shape:
        return True
    return len(shape) == len(spec.shape) and all(
        want in (None, have) for have, want in zip(shape, spec.shape, strict=True)
    )


def without(arrays: Mapping[str, Any], kept: Array) -> dict[str, Any]:
    """The rows of a batch for which ``kept`` is true, as copies."""
    return {
        name: [row for row, keep in zip(value, kept.tolist(), strict=True) if keep]
        if isinstance(value, list)
        else value[kept]
        for name, value in arrays.items()
    }
