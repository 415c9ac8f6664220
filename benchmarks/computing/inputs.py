"""The arrays that every side computes with: the same values, drawn with NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def training_batch(part: str, sizes: Mapping[str, Any], seed: int = 0) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Input and labels of a training step."""
    rng = np.random.default_rng(seed)
    batch = sizes["batch"]
    if part == "mlp":
        return rng.standard_normal((batch, sizes["widths"][0]), np.float32), rng.integers(0, sizes["widths"][-1], batch)
    if part == "transformer":
        text = rng.integers(0, sizes["vocabulary"], (batch, sizes["context"] + 1))
        return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    image = rng.standard_normal((batch, 3, sizes["image"], sizes["image"]), np.float32)
    return image, rng.integers(0, sizes["classes"], batch)


def layer_arrays(batch: int, layer: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Input, weight and the gradient of the output; padding is half the kernel."""
    channels, size, out, kernel, stride = layer
    rng = np.random.default_rng(0)
    after = (size + 2 * (kernel // 2) - kernel) // stride + 1
    shapes = (batch, channels, size, size), (out, channels, kernel, kernel), (batch, out, after, after)
    x, weight, gradient = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, weight / np.float32(np.sqrt(channels * kernel * kernel)), gradient
