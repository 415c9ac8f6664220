"""Gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flownn import autograd
from flownn.autograd import no_grad
from flownn.tensor import Tensor


def outputs_of(result: Any) -> list[Tensor]:
    """The tensors that an op returned, one or several."""
    return [result] if isinstance(result, Tensor) else list(result)


def is_float(array: Any) -> bool:
    return array is not None and np.issubdtype(array.dtype, np.floating)


def gradients_of(function: Callable[..., Any], arrays: list[Any], seeds: list[Any]) -> list[Any]:
    """Gradient arrays of the inputs, None for integers and absent ones, with ``seeds`` at the floating outputs."""
    tensors = leaves(arrays)
    roots = [each for each in outputs_of(function(*tensors)) if each.requires_grad]
    autograd.backward(roots, seeds[: len(roots)])
    return [None if each is None or each.grad is None else each.grad.data for each in tensors]


def leaves(arrays: list[Any]) -> list[Any]:
    """A tensor over each array, that requires a gradient if it can; None stays None."""
    return [None if each is None else autograd.wrap(each).requires_grad_(is_float(each)) for each in arrays]


def check_vjp(
    function: Callable[..., Any], *arrays: Any, rng: np.random.Generator, step: float = 1e-6, rtol: float = 1e-5
) -> None:
    """Compare the gradient of each float64 input, along one random direction, with a central difference.

    ``function`` takes tensors and returns one or several; each floating output gets a random gradient, so that
    ``sum(gradient * output)`` is the scalar whose derivative is checked.
    """
    inputs = [None if each is None else np.array(each) for each in arrays]
    with no_grad():
        floats = [each.data for each in outputs_of(function(*map(constant, inputs))) if is_float(each.data)]
    seeds = [rng.standard_normal(each.shape) for each in floats]
    gradients = gradients_of(function, inputs, seeds)

    def scalar(changed: list[Any]) -> float:
        with no_grad():
            ys = [each.data for each in outputs_of(function(*map(constant, changed))) if is_float(each.data)]
        return float(sum((seed * y).sum() for seed, y in zip(seeds, ys, strict=True)))

    checked = 0
    for i, array in enumerate(inputs):
        if not is_float(array):
            continue
        assert gradients[i] is not None, f"input {i} has no gradient"
        assert gradients[i].shape == array.shape
        assert gradients[i].dtype == array.dtype
        direction = rng.standard_normal(array.shape)
        ahead, behind = list(inputs), list(inputs)
        ahead[i], behind[i] = array + step * direction, array - step * direction
        numeric = (scalar(ahead) - scalar(behind)) / (2 * step)
        analytic = float((gradients[i] * direction).sum())
        scale = float(np.abs(gradients[i] * direction).sum()) + 1e-3
        assert abs(numeric - analytic) <= rtol * scale, f"input {i}: central difference {numeric}, vjp {analytic}"
        checked += 1
    assert checked, "no floating point input to check"


def constant(array: Any) -> Any:
    """A tensor over this array that requires no gradient; None stays None."""
    return None if array is None else autograd.wrap(array)
