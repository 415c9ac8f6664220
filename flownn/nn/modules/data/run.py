"""Running one stage of `flowdata` over the samples of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowdata.errors import RecordError
from flowdata.sample import Sample, SampleKey, Specs
from flowdata.seeding import NO_STREAM, sample_rng
from flownn.autograd import wrap
from flownn.dtypes import dtype, tensor_buffer
from flownn.errors import DtypeError
from flownn.host_tensor import HostTensor
from flownn.tensor import Tensor

__all__ = ["host_tensor", "run_stage", "samples_of"]


def host_tensor(kind: dtype, samples: Sequence[Sample], value: str) -> HostTensor:
    """One value of each sample as a tensor whose elements know the sample."""
    return HostTensor(kind, [each[value] for each in samples], [(each.key, each.origin) for each in samples])


def samples_of(module: str, tensor: Any, kind: dtype, value: str) -> list[Sample]:
    """The elements of a tensor that `host_tensor` made, as samples again.

    Raises:
        DtypeError: it is a tensor of another type, or none.
    """
    if not isinstance(tensor, HostTensor) or tensor.dtype is not kind:
        got = f"one of type {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise DtypeError(f"{module}: expected a tensor of type {kind}, got {got}")
    return [
        Sample(key, {value: element}, origin)
        for element, (key, origin) in zip(tensor.values, tensor.origins, strict=True)
    ]


def plain_samples(rows: Any, value: str) -> list[Sample]:
    """The rows of an array as samples that come from nowhere."""
    return [Sample(SampleKey(0, index), {value: row}, f"row {index}") for index, row in enumerate(rows)]


def run_stage(
    module: str, stage: Any, specs: Specs, samples: Sequence[Sample], output: str, seed: int | None = None
) -> Tensor:
    """Take every sample through a stage, as `flowdata.Pipeline` does.

    Args:
        module: Who asks, for messages.
        stage: The stage.
        specs: What the samples hold.
        samples: The samples.
        output: Name of the value to return.
        seed: Seed of the stage's random streams; None for a stage that draws nothing.

    Returns:
        One array if all results have the same shape by specification, else a ``tensor_buffer``.

    Raises:
        RecordError: a sample is bad; the message says which and where it came from.
    """
    spec = stage.output_spec(specs)[output]
    if not spec.fixed:
        made = [np.require(_one(module, stage, each, output, seed), requirements=["C", "W"]) for each in samples]
        return HostTensor(tensor_buffer, made, [(each.key, each.origin) for each in samples])
    batch = np.empty((len(samples), *spec.fixed_shape), spec.dtype)
    for row, sample in enumerate(samples):
        target = batch[row, ...]
        sample.rows = {output: target}
        value = _one(module, stage, sample, output, seed)
        if value is not target:
            target[...] = value
    result: Tensor = wrap(batch)
    return result


def _one(module: str, stage: Any, sample: Sample, output: str, seed: int | None) -> Any:
    key = sample.key
    rng = NO_STREAM if seed is None else sample_rng(seed, key.epoch, key.index, stage.stage_name)
    try:
        return stage(sample, rng)[output]
    except RecordError as error:
        raise RecordError(f"{module}: record {key.index} ({sample.origin}): {error}") from error
