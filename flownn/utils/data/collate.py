"""What becomes of the samples of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.creation import as_tensor, tensor
from flownn.errors import ShapeError
from flownn.ops.shape import stack
from flownn.tensor import Tensor

__all__ = ["default_collate", "default_convert"]


def default_collate(batch: Sequence[Any]) -> Any:
    """Put samples of equal structure together, with the batch as a new first dim.

    Tensors and arrays are stacked, numbers become a tensor (float64, int64 or bool), strings and bytes stay as they
    are; mappings, tuples and lists are gone through and keep their kind, but that a plain tuple becomes a list.

    Args:
        batch: The samples.

    Raises:
        ShapeError: tensors of different shapes, or lists of different lengths.
        TypeError: something else.

    Reference:
        ``torch.utils.data.default_collate``.

    >>> default_collate([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
    {'x': tensor([1.5000, 2.5000], dtype=flownn.float64), 'name': ['a', 'b']}
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch))
    if isinstance(first, (np.ndarray, np.generic)) or backend.is_array(first):
        if first.dtype.kind in "SUO":
            raise TypeError(f"default_collate: arrays of {first.dtype} cannot become a tensor; pass a collate_fn")
        arrays = backend.array_module(first)
        try:
            return as_tensor(arrays.stack(list(batch)))
        except ValueError as error:
            raise ShapeError(f"default_collate: {error}; pass a collate_fn that pads or crops") from None
    if isinstance(first, float):
        return tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        merged = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return _alike(type(first), merged)
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in batch}
        if len(lengths) > 1:
            raise ShapeError(f"default_collate: samples have different lengths {sorted(lengths)}; pass a collate_fn")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        if isinstance(first, tuple):
            return type(first)(*columns) if hasattr(first, "_fields") else columns
        return _alike(type(first), columns)
    raise TypeError(
        "default_collate: expected tensors, arrays, numbers, strings, mappings or sequences of them, got "
        f"{type(first).__name__}; pass a collate_fn"
    )


def default_convert(data: Any) -> Any:
    """One sample, with its arrays as tensors: what a loader without batches delivers.

    Args:
        data: The sample.

    Reference:
        ``torch.utils.data.default_convert``.

    >>> default_convert({"x": np.ones(2, np.float32), "n": 3})
    {'x': tensor([1., 1.], dtype=flownn.float32), 'n': 3}
    """
    if isinstance(data, (np.ndarray, np.generic)) or backend.is_array(data):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _alike(type(data), {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple):
        values = [default_convert(value) for value in data]
        return type(data)(*values) if hasattr(data, "_fields") else values
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _alike(type(data), [default_convert(value) for value in data])
    return data


def _alike(kind: Any, values: Any) -> Any:
    """``values`` as the given kind of container, where that can be made from them."""
    try:
        return kind(values)
    except TypeError:
        return values
